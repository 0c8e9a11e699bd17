// What a filter calls: the log, its metrics, the API and the state.
#include "kit.h"

typedef filter_component_list_u8_t bytes;
typedef filter_component_list_tuple2_string_string_t pair_list;

bool trommel_log_enabled(trommel_filter_log_level_t level) { return trommel_filter_log_enabled(level); }

void trommel_log(trommel_filter_log_level_t level, trommel_text message) { trommel_log_fields(level, message, NULL, 0); }

void trommel_log_fields(trommel_filter_log_level_t level, trommel_text message, const trommel_pair *fields, size_t count) {
    pair_list list = {(trommel_pair *)fields, count};
    trommel_filter_log_write(level, &message, &list);
}

void trommel_measure(const char *metric, double value) {
    trommel_text name = trommel_literal(metric);
    trommel_filter_telemetry_measure(&name, value);
}

void trommel_annotate(const char *name, trommel_text value) {
    trommel_text label = trommel_literal(name);
    trommel_filter_telemetry_annotate(&label, &value);
}

bool trommel_call(const trommel_request *request, trommel_response *response, trommel_text *problem) {
    trommel_filter_api_request_t asked = {
        .api = {request->api != NULL, request->api ? trommel_literal(request->api) : (trommel_text){0}},
        .method = trommel_literal(request->method),
        .path = request->path,
        .headers = {(trommel_pair *)request->headers, request->header_count},
        .body = {request->body.ptr != NULL, {request->body.ptr, request->body.len}},
    };
    trommel_filter_api_response_t got;
    trommel_filter_api_api_error_t error;
    if (trommel_filter_api_call(&asked, &got, &error)) {
        trommel_pair *headers = trommel_alloc(got.headers.len * sizeof(trommel_pair));
        for (size_t i = 0; i < got.headers.len; i++)
            headers[i] = (trommel_pair){
                trommel_keep_text(got.headers.ptr[i].f0), trommel_keep_text(got.headers.ptr[i].f1)};
        trommel_text body = trommel_keep_text((trommel_text){got.body.ptr, got.body.len});
        *response = (trommel_response){got.status, headers, got.headers.len, body};
        trommel_filter_api_response_free(&got);
        return true;
    }
    switch (error.tag) {
    case TROMMEL_FILTER_API_API_ERROR_DENIED:
        *problem = trommel_format("denied: %.*s", SHOW(error.val.denied));
        break;
    case TROMMEL_FILTER_API_API_ERROR_BUDGET:
        *problem = trommel_literal("budget");
        break;
    case TROMMEL_FILTER_API_API_ERROR_TIMEOUT:
        *problem = trommel_literal("timeout");
        break;
    default:
        *problem = trommel_format("failed: %.*s", SHOW(error.val.failed));
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

static trommel_text keep_optional(filter_component_option_list_u8_t value) {
    return value.is_some ? trommel_keep_text((trommel_text){value.val.ptr, value.val.len}) : (trommel_text){0};
}

bool trommel_state_get(const char *key, trommel_text *value, trommel_text *problem) {
    return trommel_state_get_many(&key, 1, value, problem);
}

static filter_component_list_string_t names_of(const char *const *keys, size_t count) {
    filter_component_list_string_t names = {trommel_alloc(count * sizeof(trommel_text)), count};
    for (size_t i = 0; i < count; i++) names.ptr[i] = trommel_literal(keys[i]);
    return names;
}

bool trommel_state_get_many(const char *const *keys, size_t count, trommel_text *values, trommel_text *problem) {
    filter_component_list_string_t names = names_of(keys, count);
    filter_component_list_option_list_u8_t got;
    trommel_filter_state_state_error_t error;
    if (!told(trommel_filter_state_get_many(&names, &got, &error), &error, problem)) return false;
    for (size_t i = 0; i < count; i++) values[i] = keep_optional(got.ptr[i]);
    filter_component_list_option_list_u8_free(&got);
    return true;
}

bool trommel_state_set(const char *key, trommel_text value, uint64_t ttl, trommel_text *problem) {
    trommel_text name = trommel_literal(key);
    bytes list = {value.ptr, value.len};
    trommel_filter_state_state_error_t error;
    return told(trommel_filter_state_set(&name, &list, ttl ? &ttl : NULL, &error), &error, problem);
}

bool trommel_state_set_many(const char *const *keys, const trommel_text *values, size_t count, uint64_t ttl, trommel_text *problem) {
    filter_component_list_tuple2_string_list_u8_t pairs = {trommel_alloc(count * sizeof *pairs.ptr), count};
    for (size_t i = 0; i < count; i++) {
        pairs.ptr[i].f0 = trommel_literal(keys[i]);
        pairs.ptr[i].f1 = (bytes){values[i].ptr, values[i].len};
    }
    trommel_filter_state_state_error_t error;
    return told(trommel_filter_state_set_many(&pairs, ttl ? &ttl : NULL, &error), &error, problem);
}

bool trommel_state_delete(const char *key, trommel_text *problem) {
    return trommel_state_delete_many(&key, 1, problem);
}

bool trommel_state_delete_many(const char *const *keys, size_t count, trommel_text *problem) {
    filter_component_list_string_t names = names_of(keys, count);
    trommel_filter_state_state_error_t error;
    return told(trommel_filter_state_delete_many(&names, &error), &error, problem);
}

bool trommel_state_keys(const char *prefix, const trommel_text **keys, size_t *count, trommel_text *problem) {
    trommel_text begin = trommel_literal(prefix);
    filter_component_list_string_t got;
    trommel_filter_state_state_error_t error;
    if (!told(trommel_filter_state_keys(&begin, &got, &error), &error, problem)) return false;
    trommel_text *kept = trommel_alloc(got.len * sizeof(trommel_text));
    for (size_t i = 0; i < got.len; i++) kept[i] = trommel_keep_text(got.ptr[i]);
    *keys = kept;
    *count = got.len;
    filter_component_list_string_free(&got);
    return true;
}

bool trommel_state_increment(const char *key, int64_t delta, uint64_t ttl, int64_t *sum, trommel_text *problem) {
    trommel_text name = trommel_literal(key);
    trommel_filter_state_state_error_t error;
    return told(trommel_filter_state_increment(&name, delta, ttl ? &ttl : NULL, sum, &error), &error, problem);
}

bool trommel_state_swap(const char *key, trommel_text old, trommel_text value, uint64_t ttl, trommel_text *problem) {
    trommel_text name = trommel_literal(key);
    bytes before = {old.ptr, old.len}, after = {value.ptr, value.len};
    trommel_filter_state_state_error_t error;
    return told(trommel_filter_state_swap(&name, old.ptr ? &before : NULL, &after, ttl ? &ttl : NULL, &error), &error, problem);
}
