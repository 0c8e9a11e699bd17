// The filter of ../README.md in C.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "trommel.h"

static const char *const MODES[] = {"keep", "drop", "text", "emit", "malformed", "retry", "failed", "broken", "log",
    "state", "api", "echo", "fields", "trap"};

// What one route needs: its params, parsed.
typedef struct {
    const char *mode;
    bool has_threshold;
    char threshold[24];
} route;

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
    trommel_pair *pairs = trommel_alloc(2 * sizeof(trommel_pair));
    pairs[0] = (trommel_pair){trommel_literal("mode"), trommel_literal(parsed->mode ? parsed->mode : "")};
    pairs[1] = (trommel_pair){trommel_literal("threshold"), trommel_format("%s", parsed->threshold)};
    *normal = (trommel_params){pairs, parsed->has_threshold ? 2 : 1};
    free(parsed);
    return problem.ptr ? trommel_malformed(problem) : trommel_keep();
}

static size_t conditions(const void *self, const trommel_conditions **any) {
    const route *route = self;
    if (!route->has_threshold) return 0;
    trommel_condition *tests = trommel_alloc(2 * sizeof(trommel_condition));
    tests[0] = (trommel_condition){trommel_literal("/amount"), TROMMEL_FILTER_TYPES_COMPARISON_GREATER_OR_EQUAL,
        trommel_literal(route->threshold)};
    tests[1] = (trommel_condition){trommel_literal("header:force"), TROMMEL_FILTER_TYPES_COMPARISON_EXISTS, {0}};
    trommel_conditions *lists = trommel_alloc(2 * sizeof(trommel_conditions));
    lists[0] = (trommel_conditions){&tests[0], 1};
    lists[1] = (trommel_conditions){&tests[1], 1};
    *any = lists;
    return 2;
}

static bool matches(const void *self, const trommel_event *event) {
    if (trommel_is(event->type, "skip")) return false;
    if (trommel_is(event->type, "projection"))
        return !event->id.ptr && !event->subject.ptr && !event->source_time.ptr && !event->payload.ptr;
    for (size_t i = 0; i < event->header_count; i++)
        if (trommel_is(event->headers[i].f0, "skip") && trommel_is(event->headers[i].f1, "yes")) return false;
    return true;
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

// Counts, and remembers the text until the next time.
static trommel_result keep(order order) {
    trommel_text previous, problem;
    int64_t sum;
    if (!trommel_get("last", &previous, &problem) || !trommel_add("sum", order.n, 60000, &sum, &problem)
        || !(order.text.len ? trommel_set("last", order.text, 0, &problem) : trommel_delete("last", &problem)))
        return trommel_failed(trommel_format("state: %.*s", SHOW(problem)));
    if (!previous.ptr) previous = trommel_literal("none");
    trommel_text head = trommel_format("%lld ", sum);
    uint8_t *answer = trommel_alloc(head.len + previous.len);
    memcpy(answer, head.ptr, head.len);
    memcpy(answer + head.len, previous.ptr, previous.len);
    return trommel_replace((trommel_text){answer, head.len + previous.len});
}

static trommel_result fields(const trommel_event *event) {
    trommel_text lines = trommel_format("type=%.*s\nid=%.*s\nsubject=%.*s\ntime=%.*s\nobserved=%llu\nattempt=%u\n",
        SHOW(event->type), SHOW(event->id), SHOW(event->subject), SHOW(event->source_time),
        event->observed_at / 1000000, event->attempt);
    for (size_t i = 0; i < event->header_count; i++)
        lines = trommel_format("%.*sheader %.*s=%.*s\n", SHOW(lines), SHOW(event->headers[i].f0), SHOW(event->headers[i].f1));
    return trommel_replace(trommel_format("%.*spayload=%zu bytes\n", SHOW(lines), event->payload.len));
}

static trommel_result execute(trommel_text action, order order, const trommel_event *event) {
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
    if (trommel_is(action, "api")) {
        trommel_text answer, body = order.text.len ? order.text : (trommel_text){0};
        if (trommel_call("POST", order.path, body, &answer)) return trommel_replace(answer);
        return trommel_failed(trommel_format("api: %.*s", SHOW(answer)));
    }
    if (trommel_is(action, "echo")) return trommel_replace(event->payload);
    if (trommel_is(action, "fields")) return fields(event);
    if (trommel_is(action, "trap")) __builtin_trap();
    return trommel_failed(trommel_format("no such action: `%.*s`", SHOW(action)));
}

static trommel_result process(const void *self, const trommel_event *event) {
    const route *route = self;
    trommel_text action = trommel_literal(route->mode);
    order order = {0};
    if (trommel_is(action, "echo") || trommel_is(action, "fields") || trommel_is(action, "trap"))
        return execute(action, order, event);
    if (!trommel_is_object(event->payload)) return trommel_malformed(trommel_literal("the payload is no JSON object"));
    // A member of another type counts as absent.
    trommel_string(trommel_member(event->payload, "text"), &order.text);
    trommel_string(trommel_member(event->payload, "path"), &order.path);
    if (!trommel_integer(trommel_member(event->payload, "n"), &order.n)) order.n = 0;
    trommel_string(trommel_member(event->payload, "do"), &action);
    return execute(action, order, event);
}

const trommel_filter trommel = {
    .name = "conformance",
    .version = "1.0.0",
    .description = "The same filter in every language",
    .match_reads = TROMMEL_FILTER_TYPES_FIELDS_HEADERS,
    .process_reads = TROMMEL_FILTER_TYPES_FIELDS_ID | TROMMEL_FILTER_TYPES_FIELDS_SUBJECT
        | TROMMEL_FILTER_TYPES_FIELDS_SOURCE_TIME | TROMMEL_FILTER_TYPES_FIELDS_HEADERS
        | TROMMEL_FILTER_TYPES_FIELDS_PAYLOAD,
    .capabilities = (const char *const[]){"api", "state", NULL},
    .make = parse,
    .normalize = normalize,
    .conditions = conditions,
    .matches = matches,
    .process = process,
};
