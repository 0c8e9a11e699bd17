// The filter of ../README.md in C.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trommel.h"

static const char *const MODES[] = {"keep", "drop", "text", "emit", "malformed", "retry", "failed", "broken", "log",
    "state", "api", "echo", "fields", "trap", "edit", "outputs", "coded", "defer", "swap", "many", "measure"};

// What one route needs: its params, parsed.
typedef struct {
    const char *mode;
    bool has_threshold;
    char threshold[24];
    char *reads; // names with a NUL behind each, and one more at the end; NULL without the param
} route;

static void drop(void *self) {
    free(((route *)self)->reads);
    free(self);
}

static char *split(trommel_text names) {
    char *copied = calloc(names.len + 2, 1), *out = copied;
    for (size_t i = 0; i < names.len; i++)
        if (names.ptr[i] != ' ') *out++ = (char)names.ptr[i];
        else if (out > copied && out[-1]) *out++ = 0;
    return copied;
}

static void *parse(trommel_text key, trommel_params params, trommel_text *problem) {
    route *parsed = calloc(1, sizeof(route));
    parsed->mode = "keep";
    for (size_t i = 0; i < params.count; i++) {
        trommel_text name = params.pairs[i].f0, value = params.pairs[i].f1;
        if (trommel_is(name, "mode")) {
            parsed->mode = NULL;
            for (size_t m = 0; m < sizeof(MODES) / sizeof(*MODES); m++)
                if (trommel_is(value, MODES[m])) parsed->mode = MODES[m];
            if (!parsed->mode) *problem = trommel_format("`mode` is not known: `%.*s`", SHOW(value));
        } else if (trommel_is(name, "threshold")) {
            trommel_text digits = value;
            while (digits.len && *digits.ptr == ' ') digits.ptr++, digits.len--;
            while (digits.len && digits.ptr[digits.len - 1] == ' ') digits.len--;
            const char *text = (const char *)trommel_format("%.*s", SHOW(digits)).ptr;
            size_t sign = *text == '+' || *text == '-';
            errno = 0;
            long long number = strtoll(text, NULL, 10);
            if (errno || digits.len == sign || strspn(text + sign, "0123456789") != digits.len - sign)
                *problem = trommel_format("`threshold` is no integer: `%.*s`", SHOW(value));
            parsed->has_threshold = true;
            strcpy(parsed->threshold, (const char *)trommel_format("%lld", number).ptr);
        } else if (trommel_is(name, "reads")) {
            parsed->reads = split(value);
        } else {
            *problem = trommel_format("unknown param `%.*s`", SHOW(name));
        }
        if (problem->ptr) break;
    }
    return parsed;
}

static trommel_result normalize(trommel_text key, trommel_params params, trommel_params *normal) {
    trommel_text problem = {0};
    route *parsed = parse(key, params, &problem);
    trommel_pair *pairs = trommel_alloc(3 * sizeof(trommel_pair));
    size_t count = 0;
    pairs[count++] = (trommel_pair){trommel_literal("mode"), trommel_literal(parsed->mode ? parsed->mode : "")};
    for (size_t i = 0; i < params.count; i++)
        if (trommel_is(params.pairs[i].f0, "reads")) pairs[count++] = params.pairs[i];
    if (parsed->has_threshold)
        pairs[count++] = (trommel_pair){trommel_literal("threshold"), trommel_format("%s", parsed->threshold)};
    *normal = (trommel_params){pairs, count};
    drop(parsed);
    return problem.ptr ? trommel_malformed(problem) : trommel_keep();
}

static void refine(const void *self, trommel_interest *interest) {
    const route *route = self;
    if (route->has_threshold)
        interest->condition = trommel_c_string(trommel_format("/amount >= %s || header:force", route->threshold));
    size_t count = 1;
    for (const char *name = route->reads; name && *name; name += strlen(name) + 1) count++;
    const char **reads = trommel_alloc((count + 1) * sizeof(char *));
    reads[0] = "payload";
    reads[count] = NULL;
    const char *name = route->reads;
    for (size_t i = 1; i < count; i++, name += strlen(name) + 1) reads[i] = name;
    interest->process_reads = reads;
}

static bool matches(const void *self, const trommel_event *event) {
    return !trommel_is(trommel_get(event, "event-type"), "skip") && !trommel_is(trommel_get(event, "header:skip"), "yes");
}

// What the payload asks for.
typedef struct {
    trommel_text text, path;
    int64_t n;
} order;

static trommel_result emissions(order order) {
    if (order.n < 0) order.n = 0;
    trommel_emission *list = trommel_alloc(order.n * sizeof(trommel_emission));
    memset(list, 0, order.n * sizeof(trommel_emission));
    for (int64_t i = 0; i < order.n; i++) {
        trommel_text part = trommel_format("%lld", i);
        list[i].payload = order.text;
        if (i % 2) list[i].subject = trommel_format("part.%lld", i);
        if (!i) continue;
        trommel_pair *headers = trommel_alloc(2 * sizeof(trommel_pair));
        headers[0] = (trommel_pair){trommel_literal("part"), part};
        headers[1] = (trommel_pair){trommel_literal("text"), order.text};
        list[i].headers = headers;
        list[i].header_count = 2;
    }
    return trommel_emit(list, order.n);
}

static trommel_result edits(order order) {
    trommel_edits edits = {0};
    trommel_edit_set(&edits, "/text", trommel_string_of(order.text));
    trommel_edit_set(&edits, "/n", trommel_format("%lld", order.n));
    trommel_edit_remove(&edits, "/gone");
    trommel_edit_rename(&edits, "/old", "new");
    if (order.path.len) {
        trommel_edit_set(&edits, "subject", order.path);
        trommel_edit_set(&edits, "header:text", order.text);
        trommel_edit_remove(&edits, "header:gone");
    }
    return trommel_edit(edits);
}

static trommel_result outputs(order order) {
    trommel_pair *headers = trommel_alloc(2 * sizeof(trommel_pair));
    headers[0] = (trommel_pair){trommel_literal("gone"), {0}};
    headers[1] = (trommel_pair){trommel_literal("text"), order.text};
    trommel_emission *list = trommel_alloc(3 * sizeof(trommel_emission));
    list[0] = (trommel_emission){.payload = order.text, .sink = trommel_literal("a"), .id = order.path};
    list[1] = (trommel_emission){.payload = order.text, .headers = headers, .header_count = 2};
    list[2] = (trommel_emission){
        .payload = order.text, .is_buried = true, .code = trommel_literal("no_use"), .detail = order.text};
    return trommel_emit(list, 3);
}

static trommel_text joined(trommel_text head, trommel_text tail) {
    uint8_t *text = trommel_alloc(head.len + tail.len);
    memcpy(text, head.ptr, head.len);
    memcpy(text + head.len, tail.ptr, tail.len);
    return (trommel_text){text, head.len + tail.len};
}

static trommel_text or_none(trommel_text text) { return text.ptr ? text : trommel_literal("none"); }

static trommel_result refused(trommel_text problem) {
    return trommel_failed(trommel_format("state: %.*s", SHOW(problem)));
}

// Counts, and remembers the text until the next time.
static trommel_result keep(order order) {
    trommel_text previous, problem;
    int64_t sum;
    if (!trommel_state_get("last", &previous, &problem)
        || !trommel_state_increment("sum", order.n, 60000, &sum, &problem)
        || !(order.text.len ? trommel_state_set("last", order.text, 0, &problem) : trommel_state_delete("last", &problem)))
        return refused(problem);
    return trommel_replace(joined(trommel_format("%lld ", sum), or_none(previous)));
}

static trommel_result swap(order order) {
    static const char *const names[] = {"swapped", "other"};
    trommel_text problem, values[2], keys = {(uint8_t *)"", 0};
    const trommel_text *found;
    size_t count;
    if (!trommel_state_swap("swapped", order.path.len ? order.path : (trommel_text){0}, order.text, 0, &problem)
        || !trommel_state_keys("swap", &found, &count, &problem)
        || !trommel_state_get_many(names, 2, values, &problem))
        return refused(problem);
    for (size_t i = 0; i < count; i++) keys = trommel_format("%.*s%s%.*s", SHOW(keys), i ? "," : "", SHOW(found[i]));
    return trommel_replace(trommel_format("%.*s %.*s %.*s", SHOW(keys), SHOW(or_none(values[0])), SHOW(or_none(values[1]))));
}

static trommel_result many(order order) {
    static const char *const names[] = {"many/1", "many/2", "many/3"};
    trommel_text problem, values[2] = {order.text, order.path}, keys = {(uint8_t *)"", 0};
    const trommel_text *found;
    size_t count;
    if (!trommel_state_set_many(names, values, 2, 0, &problem) || !trommel_state_delete_many(names + 1, 2, &problem)
        || !trommel_state_keys("many", &found, &count, &problem)
        || !trommel_state_get_many(names, 2, values, &problem))
        return refused(problem);
    for (size_t i = 0; i < count; i++) keys = trommel_format("%.*s%s%.*s", SHOW(keys), i ? "," : "", SHOW(found[i]));
    return trommel_replace(trommel_format("%.*s %.*s %.*s", SHOW(keys), SHOW(or_none(values[0])), SHOW(or_none(values[1]))));
}

static trommel_result call(order order) {
    trommel_pair header = {trommel_literal("x-text"), trommel_literal("1")};
    trommel_request request = {.method = "POST", .path = order.path, .headers = &header, .header_count = 1};
    if (order.text.len) request.body = order.text;
    trommel_response response;
    trommel_text problem;
    if (!trommel_call(&request, &response, &problem)) return trommel_failed(trommel_format("api: %.*s", SHOW(problem)));
    if (response.status < 400) return trommel_replace(response.body);
    return trommel_failed(trommel_format("api: status %d: %.*s", response.status, SHOW(response.body)));
}

static trommel_result fields(const route *route, const trommel_event *event) {
    trommel_text lines = {(uint8_t *)"", 0};
    for (const char *name = route->reads; name && *name; name += strlen(name) + 1) {
        trommel_text value = trommel_get(event, name);
        lines = joined(lines, trommel_format(value.ptr ? "%s=" : "%s", name));
        lines = joined(joined(lines, value), trommel_literal("\n"));
    }
    return trommel_replace(lines);
}

static trommel_result execute(trommel_text action, order order, const route *route, const trommel_event *event) {
    if (trommel_is(action, "keep")) return trommel_keep();
    if (trommel_is(action, "drop")) return trommel_drop();
    if (trommel_is(action, "text")) return trommel_replace(order.text);
    if (trommel_is(action, "emit")) return emissions(order);
    if (trommel_is(action, "malformed")) return trommel_malformed(order.text);
    if (trommel_is(action, "retry")) return trommel_retry(order.n, order.text);
    if (trommel_is(action, "failed")) return trommel_failed(order.text);
    if (trommel_is(action, "broken")) return trommel_broken(order.text);
    if (trommel_is(action, "log")) {
        trommel_log(TROMMEL_FILTER_LOG_LEVEL_INFO, order.text);
        return trommel_keep();
    }
    if (trommel_is(action, "state")) return keep(order);
    if (trommel_is(action, "api")) return call(order);
    if (trommel_is(action, "echo")) return trommel_replace(trommel_get(event, "payload"));
    if (trommel_is(action, "fields")) return fields(route, event);
    if (trommel_is(action, "edit")) return edits(order);
    if (trommel_is(action, "outputs")) return outputs(order);
    if (trommel_is(action, "coded")) return trommel_coded("own_code", trommel_malformed(order.text));
    if (trommel_is(action, "defer")) return trommel_defer(order.n, order.text);
    if (trommel_is(action, "swap")) return swap(order);
    if (trommel_is(action, "many")) return many(order);
    if (trommel_is(action, "measure")) {
        trommel_measure("calls", order.n);
        trommel_annotate("text", order.text);
        return trommel_keep();
    }
    if (trommel_is(action, "trap")) __builtin_trap();
    return trommel_failed(trommel_format("no such action: `%.*s`", SHOW(action)));
}

static trommel_result process(const void *self, const trommel_event *event) {
    const route *route = self;
    trommel_text action = trommel_literal(route->mode), payload = trommel_get(event, "payload");
    order order = {{(uint8_t *)"", 0}, {(uint8_t *)"", 0}, 0};
    if (trommel_is(action, "echo") || trommel_is(action, "fields") || trommel_is(action, "trap"))
        return execute(action, order, route, event);
    if (!trommel_is_object(payload)) return trommel_malformed(trommel_literal("the payload is no JSON object"));
    // A member of another type counts as absent.
    trommel_string(trommel_member(payload, "text"), &order.text);
    trommel_string(trommel_member(payload, "path"), &order.path);
    if (!trommel_integer(trommel_member(payload, "n"), &order.n)) order.n = 0;
    trommel_string(trommel_member(payload, "do"), &action);
    return execute(action, order, route, event);
}

static const char *const match_reads[] = {"event-type", "header:skip", NULL};
static const char *const sinks[] = {"a", NULL};
static const trommel_grant grants[] = {
    {"api", "posts what the payload says"}, {"state", "counts, and remembers the last text"}, {NULL}};
static const trommel_metric metrics[] = {{"calls", "counter", "what the payload says"}, {NULL}};

const trommel_filter trommel = {
    .name = "conformance",
    .version = "1.0.0",
    .description = "The same filter in every language",
    .interest = {.match_reads = match_reads, .sinks = sinks},
    .grants = grants,
    .metrics = metrics,
    .make = parse,
    .drop = drop,
    .normalize = normalize,
    .refine = refine,
    .matches = matches,
    .process = process,
};
