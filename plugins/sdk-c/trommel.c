// The hooks as the generated bindings want them: texts copied both ways, so that a filter owns nothing.
#include "trommel.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef filter_component_list_u8_t bytes;

// What was allocated since the hook began.
typedef struct block {
    struct block *next;
    max_align_t data[];
} block;
static block *blocks;

void *trommel_alloc(size_t size) {
    block *fresh = malloc(sizeof(block) + size);
    if (!fresh) abort();
    fresh->next = blocks;
    blocks = fresh;
    return fresh->data;
}

static void end(void) {
    while (blocks) {
        block *next = blocks->next;
        free(blocks);
        blocks = next;
    }
}

trommel_text trommel_literal(const char *text) { return (trommel_text){(uint8_t *)text, strlen(text)}; }

trommel_text trommel_format(const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    size_t length = vsnprintf(NULL, 0, format, arguments);
    char *text = trommel_alloc(length + 1);
    vsnprintf(text, length + 1, format, again);
    va_end(again);
    va_end(arguments);
    return (trommel_text){(uint8_t *)text, length};
}

bool trommel_is(trommel_text text, const char *other) {
    return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

trommel_text trommel_header(const trommel_event *event, const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < event->header_count; i++) {
        trommel_pair header = event->headers[i];
        if (header.f0.len == length && !strncasecmp((const char *)header.f0.ptr, name, length)) return header.f1;
    }
    return (trommel_text){0};
}

trommel_result trommel_drop(void) { return (trommel_result){DROP}; }
trommel_result trommel_keep(void) { return (trommel_result){KEEP}; }
trommel_result trommel_replace(trommel_text payload) { return (trommel_result){REPLACE, payload}; }
trommel_result trommel_emit(const trommel_emission *emissions, size_t count) {
    return (trommel_result){EMIT, .emissions = emissions, .count = count};
}
trommel_result trommel_malformed(trommel_text why) { return (trommel_result){MALFORMED, why}; }
trommel_result trommel_retry(uint32_t ms, trommel_text why) { return (trommel_result){RETRY, why, ms}; }
trommel_result trommel_failed(trommel_text why) { return (trommel_result){FAILED, why}; }
trommel_result trommel_broken(trommel_text why) { return (trommel_result){BROKEN, why}; }

// What the bindings free after the router has read it.
static void *own(size_t count, size_t size) {
    void *memory = count ? calloc(count, size) : NULL;
    if (count && !memory) abort();
    return memory;
}

static trommel_text copy(trommel_text text) {
    trommel_text copied = {own(text.len, 1), text.len};
    if (text.len) memcpy(copied.ptr, text.ptr, text.len);
    return copied;
}

static trommel_pair *copy_pairs(const trommel_pair *pairs, size_t count) {
    trommel_pair *copied = own(count, sizeof(trommel_pair));
    for (size_t i = 0; i < count; i++) copied[i] = (trommel_pair){copy(pairs[i].f0), copy(pairs[i].f1)};
    return copied;
}

// Copies a text that the router handed over, which then is the bindings' to free, until the hook returns.
static trommel_text keep(trommel_text text) {
    trommel_text kept = {trommel_alloc(text.len), text.len};
    if (text.len) memcpy(kept.ptr, text.ptr, text.len);
    return kept;
}

static trommel_text maybe(filter_component_option_string_t option) {
    return option.is_some ? (trommel_text){option.val.ptr ? option.val.ptr : (uint8_t *)"", option.val.len}
                          : (trommel_text){0};
}

static trommel_event view(const trommel_filter_types_event_t *event) {
    return (trommel_event){
        .type = event->event_type,
        .id = maybe(event->id),
        .subject = maybe(event->subject),
        .source_time = maybe(event->source_time),
        .observed_at = event->observed_at,
        .attempt = event->attempt,
        .headers = event->headers.is_some ? event->headers.val.ptr : NULL,
        .header_count = event->headers.is_some ? event->headers.val.len : 0,
        .payload = maybe((filter_component_option_string_t){
            event->payload.is_some, {event->payload.val.ptr, event->payload.val.len}}),
    };
}

static void fail(trommel_result result, trommel_filter_types_failure_t *failure) {
    failure->tag = result.kind - MALFORMED;
    if (result.kind == RETRY) {
        failure->val.retry.f0 = result.after;
        failure->val.retry.f1 = copy(result.text);
    } else {
        failure->val.failed = copy(result.text); // the same place for all three
    }
}

void exports_trommel_filter_filter_describe(trommel_filter_types_manifest_t *manifest) {
    size_t wishes = 0;
    while (trommel.capabilities && trommel.capabilities[wishes]) wishes++;
    *manifest = (trommel_filter_types_manifest_t){
        .name = copy(trommel_literal(trommel.name)),
        .version = copy(trommel_literal(trommel.version)),
        .description = copy(trommel_literal(trommel.description ? trommel.description : "")),
        .hooks = TROMMEL_FILTER_TYPES_HOOKS_NORMALIZE_PARAMS
            | (trommel.conditions ? TROMMEL_FILTER_TYPES_HOOKS_CONDITIONS : 0)
            | (trommel.matches ? TROMMEL_FILTER_TYPES_HOOKS_MATCHES : 0)
            | (trommel.process ? TROMMEL_FILTER_TYPES_HOOKS_PROCESS : 0),
        .match_reads = trommel.match_reads,
        .process_reads = trommel.process_reads,
        .capabilities = {own(wishes, sizeof(trommel_text)), wishes},
    };
    for (size_t i = 0; i < wishes; i++) manifest->capabilities.ptr[i] = copy(trommel_literal(trommel.capabilities[i]));
}

static void release(void *route) {
    if (!route) return;
    if (trommel.drop) trommel.drop(route);
    else free(route);
}

bool exports_trommel_filter_filter_normalize_params(trommel_text *key, trommel_filter_types_params_t *params,
    trommel_filter_types_params_t *ret, trommel_filter_types_failure_t *err) {
    trommel_params given = {params->ptr, params->len}, normal = given;
    trommel_result result = trommel_keep();
    if (trommel.normalize) {
        result = trommel.normalize(*key, given, &normal);
    } else {
        trommel_text problem = {0};
        release(trommel.make(*key, given, &problem));
        if (problem.ptr) result = trommel_malformed(problem);
    }
    bool is_fine = result.kind < MALFORMED;
    if (is_fine) *ret = (trommel_filter_types_params_t){copy_pairs(normal.pairs, normal.count), normal.count};
    else fail(result, err);
    filter_component_string_free(key);
    trommel_filter_types_params_free(params);
    end();
    return is_fine;
}

// Params that `make` refused never come here, for normalize-params refused them. Should they, nothing goes out unseen.
struct exports_trommel_filter_filter_subscription_t {
    void *route;
    trommel_text problem;
};

exports_trommel_filter_filter_own_subscription_t exports_trommel_filter_filter_constructor_subscription(
    trommel_text *key, trommel_filter_types_params_t *params) {
    exports_trommel_filter_filter_subscription_t *self = own(1, sizeof(*self));
    trommel_text problem = {0};
    self->route = trommel.make(*key, (trommel_params){params->ptr, params->len}, &problem);
    if (problem.ptr) self->problem = copy(problem);
    filter_component_string_free(key);
    trommel_filter_types_params_free(params);
    end();
    return exports_trommel_filter_filter_subscription_new(self);
}

void exports_trommel_filter_filter_subscription_destructor(exports_trommel_filter_filter_subscription_t *self) {
    release(self->route);
    free(self->problem.ptr);
    free(self);
}

void exports_trommel_filter_filter_method_subscription_conditions(
    exports_trommel_filter_filter_subscription_t *self, exports_trommel_filter_filter_list_list_condition_t *ret) {
    const trommel_conditions *any = NULL;
    size_t count = self->problem.ptr ? 0 : trommel.conditions(self->route, &any);
    *ret = (exports_trommel_filter_filter_list_list_condition_t){own(count, sizeof(*ret->ptr)), count};
    for (size_t i = 0; i < count; i++) {
        ret->ptr[i].ptr = own(any[i].count, sizeof(trommel_condition));
        ret->ptr[i].len = any[i].count;
        for (size_t j = 0; j < any[i].count; j++) {
            trommel_condition one = any[i].all[j];
            ret->ptr[i].ptr[j] = (trommel_condition){copy(one.field), one.comparison, copy(one.value)};
        }
    }
    end();
}

bool exports_trommel_filter_filter_method_subscription_matches(
    exports_trommel_filter_filter_subscription_t *self, trommel_filter_types_event_t *event) {
    trommel_event seen = view(event);
    bool matches = self->problem.ptr || trommel.matches(self->route, &seen);
    trommel_filter_types_event_free(event);
    end();
    return matches;
}

bool exports_trommel_filter_filter_method_subscription_process(exports_trommel_filter_filter_subscription_t *self,
    trommel_filter_types_event_t *event, trommel_filter_types_outcome_t *ret, trommel_filter_types_failure_t *err) {
    trommel_event seen = view(event);
    trommel_result result = self->problem.ptr ? trommel_broken(self->problem) : trommel.process(self->route, &seen);
    if (result.kind >= MALFORMED) {
        fail(result, err);
    } else {
        ret->tag = result.kind;
    }
    if (result.kind == REPLACE) {
        trommel_text payload = copy(result.text);
        ret->val.replace = (bytes){payload.ptr, payload.len};
    }
    if (result.kind == EMIT) {
        ret->val.emit.ptr = own(result.count, sizeof(*ret->val.emit.ptr));
        ret->val.emit.len = result.count;
    }
    for (size_t i = 0; result.kind == EMIT && i < result.count; i++) {
        const trommel_emission *one = &result.emissions[i];
        trommel_text payload = copy(one->payload);
        ret->val.emit.ptr[i] = (trommel_filter_types_emission_t){
            .payload = {payload.ptr, payload.len},
            .subject = {one->subject.ptr != NULL, copy(one->subject)},
            .headers = {copy_pairs(one->headers, one->header_count), one->header_count},
        };
    }
    trommel_filter_types_event_free(event);
    end();
    return result.kind < MALFORMED;
}

void trommel_log(trommel_filter_log_level_t level, trommel_text message) { trommel_filter_log_write(level, &message); }

bool trommel_call(const char *method, trommel_text path, trommel_text body, trommel_text *answer) {
    trommel_text verb = trommel_literal(method), got = {0};
    trommel_filter_api_api_error_t error;
    if (trommel_filter_api_call(&verb, &path, body.ptr ? &body : NULL, &got, &error)) {
        *answer = keep(got);
        filter_component_string_free(&got);
        return true;
    }
    switch (error.tag) {
    case TROMMEL_FILTER_API_API_ERROR_DENIED:
        *answer = trommel_format("denied: %.*s", SHOW(error.val.denied));
        break;
    case TROMMEL_FILTER_API_API_ERROR_BUDGET:
        *answer = trommel_literal("budget");
        break;
    case TROMMEL_FILTER_API_API_ERROR_TIMEOUT:
        *answer = trommel_literal("timeout");
        break;
    case TROMMEL_FILTER_API_API_ERROR_STATUS:
        *answer = trommel_format("status %d: %.*s", error.val.status.f0, SHOW(error.val.status.f1));
        break;
    default:
        *answer = trommel_format("failed: %.*s", SHOW(error.val.failed));
    }
    trommel_filter_api_api_error_free(&error);
    return false;
}

static bool told(bool is_fine, trommel_filter_state_state_error_t *error, trommel_text *problem) {
    if (is_fine) return true;
    switch (error->tag) {
    case TROMMEL_FILTER_STATE_STATE_ERROR_DENIED:
        *problem = trommel_literal("denied");
        break;
    case TROMMEL_FILTER_STATE_STATE_ERROR_TOO_LARGE:
        *problem = trommel_literal("too-large");
        break;
    case TROMMEL_FILTER_STATE_STATE_ERROR_CONFLICT:
        *problem = trommel_literal("conflict");
        break;
    default:
        *problem = trommel_format("unavailable: %.*s", SHOW(error->val.unavailable));
    }
    trommel_filter_state_state_error_free(error);
    return false;
}

bool trommel_get(const char *key, trommel_text *value, trommel_text *problem) {
    trommel_text name = trommel_literal(key);
    filter_component_option_list_u8_t got;
    trommel_filter_state_state_error_t error;
    if (!told(trommel_filter_state_get(&name, &got, &error), &error, problem)) return false;
    *value = got.is_some ? keep((trommel_text){got.val.ptr, got.val.len}) : (trommel_text){0};
    filter_component_option_list_u8_free(&got);
    return true;
}

bool trommel_set(const char *key, trommel_text value, uint64_t ttl, trommel_text *problem) {
    trommel_text name = trommel_literal(key);
    bytes list = {value.ptr, value.len};
    trommel_filter_state_state_error_t error;
    return told(trommel_filter_state_set(&name, &list, ttl ? &ttl : NULL, &error), &error, problem);
}

bool trommel_delete(const char *key, trommel_text *problem) {
    trommel_text name = trommel_literal(key);
    trommel_filter_state_state_error_t error;
    return told(trommel_filter_state_delete(&name, &error), &error, problem);
}

bool trommel_add(const char *key, int64_t delta, uint64_t ttl, int64_t *sum, trommel_text *problem) {
    trommel_text name = trommel_literal(key);
    trommel_filter_state_state_error_t error;
    return told(trommel_filter_state_add(&name, delta, ttl ? &ttl : NULL, sum, &error), &error, problem);
}
