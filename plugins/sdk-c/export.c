// The hooks as the generated bindings want them: texts copied both ways, so that a filter owns nothing.
#include "kit.h"

#include <stdlib.h>
#include <string.h>

typedef trommel_filter_types_params_t params_list;
typedef trommel_filter_types_failure_t failure_t;
typedef trommel_filter_types_event_batch_t batch_t;
typedef exports_trommel_filter_filter_subscription_t subscription;
typedef exports_trommel_filter_filter_result_outcome_failure_t answer_t;

// The parsed params of a route, and its interest, whose names are its own.
struct exports_trommel_filter_filter_subscription_t {
    void *route;
    trommel_interest interest;
};

static filter_component_list_u8_t own_bytes(trommel_text text) {
    text = trommel_own_text(text);
    return (filter_component_list_u8_t){text.ptr, text.len};
}

static filter_component_option_string_t own_optional(trommel_text text) {
    return (filter_component_option_string_t){text.ptr != NULL, trommel_own_text(text)};
}

static bool is_failure(trommel_result result) { return result.kind >= TROMMEL_MALFORMED; }

static void fail(trommel_result result, failure_t *failure) {
    *failure = (failure_t){
        .kind.tag = result.kind - TROMMEL_MALFORMED,
        .cause = {.code = own_optional(result.code), .detail = trommel_own_text(result.text)},
    };
    if (result.kind == TROMMEL_RETRY) failure->kind.val.retry = result.after;
    if (result.kind == TROMMEL_DEFER) failure->kind.val.defer = result.after;
}

static void release(void *route) {
    if (!route) return;
    if (trommel.drop) trommel.drop(route);
    else free(route);
}

bool exports_trommel_filter_filter_normalize_params(trommel_text *key, params_list *params, params_list *ret, failure_t *err) {
    trommel_params given = {params->ptr, params->len}, normal = given;
    trommel_result result = trommel_keep();
    if (trommel.normalize) {
        result = trommel.normalize(*key, given, &normal);
    } else {
        trommel_text problem = {0};
        release(trommel.make(*key, given, &problem));
        if (problem.ptr) result = trommel_malformed(problem);
    }
    if (is_failure(result)) {
        fail(result, err);
    } else {
        *ret = (params_list){trommel_own(normal.count, sizeof(trommel_pair)), normal.count};
        for (size_t i = 0; i < normal.count; i++)
            ret->ptr[i] = (trommel_pair){trommel_own_text(normal.pairs[i].f0), trommel_own_text(normal.pairs[i].f1)};
    }
    filter_component_string_free(key);
    trommel_filter_types_params_free(params);
    trommel_free_since(NULL);
    return !is_failure(result);
}

static size_t length(const char *const *names) {
    size_t count = 0;
    while (names && names[count]) count++;
    return count;
}

// A copy of the names in one piece of memory.
static const char *const *keep_names(const char *const *names) {
    size_t count = length(names), size = (count + 1) * sizeof(char *);
    for (size_t i = 0; i < count; i++) size += strlen(names[i]) + 1;
    const char **kept = trommel_own(1, size);
    char *text = (char *)(kept + count + 1);
    for (size_t i = 0; i < count; i++) {
        kept[i] = strcpy(text, names[i]);
        text += strlen(text) + 1;
    }
    return kept;
}

bool exports_trommel_filter_filter_constructor_subscription(
    trommel_text *key, params_list *params, exports_trommel_filter_filter_own_subscription_t *ret, failure_t *err) {
    trommel_text problem = {0};
    void *route = trommel.make(*key, (trommel_params){params->ptr, params->len}, &problem);
    if (problem.ptr) {
        release(route);
        fail(trommel_malformed(problem), err);
    } else {
        trommel_interest interest = trommel.interest;
        if (trommel.refine) trommel.refine(route, &interest);
        subscription *self = trommel_own(1, sizeof(*self));
        *self = (subscription){route, {
            .condition = strdup(interest.condition ? interest.condition : ""),
            .match_reads = keep_names(interest.match_reads),
            .process_reads = keep_names(interest.process_reads),
            .sinks = keep_names(interest.sinks),
        }};
        *ret = exports_trommel_filter_filter_subscription_new(self);
    }
    filter_component_string_free(key);
    trommel_filter_types_params_free(params);
    trommel_free_since(NULL);
    return !problem.ptr;
}

void exports_trommel_filter_filter_subscription_destructor(subscription *self) {
    release(self->route);
    free((void *)self->interest.condition);
    free((void *)self->interest.match_reads);
    free((void *)self->interest.process_reads);
    free((void *)self->interest.sinks);
    free(self);
}

static filter_component_list_string_t own_names(const char *const *names) {
    filter_component_list_string_t list = {trommel_own(length(names), sizeof(trommel_text)), length(names)};
    for (size_t i = 0; i < list.len; i++) list.ptr[i] = trommel_own_text(trommel_literal(names[i]));
    return list;
}

void exports_trommel_filter_filter_method_subscription_interest(subscription *self, trommel_filter_types_interest_t *ret) {
    *ret = (trommel_filter_types_interest_t){
        trommel_own_text(trommel_literal(self->interest.condition)),
        own_names(self->interest.match_reads),
        own_names(self->interest.process_reads),
        own_names(self->interest.sinks),
    };
}

// An event of one call.
static trommel_event view(const char *const *names, const trommel_filter_types_event_t *event) {
    trommel_text *values = trommel_alloc(event->len * sizeof(trommel_text));
    for (size_t i = 0; i < event->len; i++) {
        filter_component_option_list_u8_t value = event->ptr[i];
        values[i] = (trommel_text){value.is_some && !value.val.ptr ? (uint8_t *)"" : value.val.ptr, value.val.len};
        if (!value.is_some) values[i] = (trommel_text){0};
    }
    return (trommel_event){names, values, event->len};
}

// A number of a batch's index, the lowest byte first.
static uint32_t number(const batch_t *batch, size_t at) {
    const uint8_t *bytes = batch->index.ptr + 4 * at;
    return bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static size_t count_of(const batch_t *batch) {
    if (number(batch, 0) != 2) trommel_fault("a batch in the layout %u, which this kit does not know", number(batch, 0));
    return number(batch, 1);
}

// An event of a batch.
static trommel_event event_at(const char *const *names, const batch_t *batch, size_t at) {
    size_t fields = number(batch, 2), place = 3 + 2 * fields * at;
    trommel_text *values = trommel_alloc(fields * sizeof(trommel_text));
    for (size_t i = 0; i < fields; i++, place += 2) {
        uint32_t offset = number(batch, place);
        values[i] = offset == UINT32_MAX ? (trommel_text){0}
                                         : (trommel_text){batch->arena.ptr + offset, number(batch, place + 1)};
    }
    return (trommel_event){names, values, fields};
}

static exports_trommel_filter_filter_list_emission_t emitted(const trommel_emission *emissions, size_t count) {
    exports_trommel_filter_filter_list_emission_t list = {trommel_own(count, sizeof(*list.ptr)), count};
    for (size_t i = 0; i < count; i++) {
        const trommel_emission *one = &emissions[i];
        filter_component_list_tuple2_string_option_string_t headers = {
            trommel_own(one->header_count, sizeof(*headers.ptr)), one->header_count};
        for (size_t j = 0; j < one->header_count; j++) {
            headers.ptr[j].f0 = trommel_own_text(one->headers[j].f0);
            headers.ptr[j].f1 = own_optional(one->headers[j].f1);
        }
        list.ptr[i] = (trommel_filter_types_emission_t){
            .payload = own_bytes(one->payload),
            .sink = own_optional(one->sink),
            .id = own_optional(one->id),
            .not_before = {one->not_before != 0, one->not_before},
            .subject = own_optional(one->subject),
            .headers = headers,
        };
        if (one->is_buried) {
            list.ptr[i].fate.tag = TROMMEL_FILTER_TYPES_FATE_BURY;
            list.ptr[i].fate.val.bury =
                (trommel_filter_types_cause_t){own_optional(one->code), trommel_own_text(one->detail)};
        }
    }
    return list;
}

static trommel_filter_types_list_edit_t edited(trommel_edits edits) {
    trommel_filter_types_list_edit_t list = {trommel_own(edits.count, sizeof(*list.ptr)), edits.count};
    for (size_t i = 0; i < edits.count; i++) {
        trommel_change change = edits.changes[i];
        list.ptr[i].field = trommel_own_text(change.field);
        list.ptr[i].change.tag = change.kind;
        if (change.kind == SET) list.ptr[i].change.val.set = own_bytes(change.value);
        if (change.kind == RENAME) list.ptr[i].change.val.rename = trommel_own_text(change.value);
    }
    return list;
}

static void answer(trommel_result result, answer_t *ret) {
    ret->is_err = is_failure(result);
    if (ret->is_err) {
        fail(result, &ret->val.err);
        return;
    }
    trommel_filter_types_outcome_t *outcome = &ret->val.ok;
    outcome->tag = result.kind;
    if (result.kind == TROMMEL_REPLACE) outcome->val.replace = own_bytes(result.text);
    if (result.kind == TROMMEL_EDIT) outcome->val.edit = edited(result.edits);
    if (result.kind == TROMMEL_EMIT) {
        exports_trommel_filter_filter_list_emission_t list = emitted(result.emissions, result.count);
        outcome->val.emit = (trommel_filter_types_list_emission_t){list.ptr, list.len};
    }
}

bool exports_trommel_filter_filter_method_subscription_matches(subscription *self, trommel_filter_types_event_t *event) {
    trommel_event seen = view(self->interest.match_reads, event);
    bool matches = trommel.matches(self->route, &seen);
    trommel_filter_types_event_free(event);
    trommel_free_since(NULL);
    return matches;
}

void exports_trommel_filter_filter_method_subscription_matches_batch(
    subscription *self, batch_t *events, filter_component_list_u64_t *ret) {
    size_t count = count_of(events);
    *ret = (filter_component_list_u64_t){trommel_own((count + 63) / 64, sizeof(uint64_t)), (count + 63) / 64};
    for (size_t i = 0; i < count; i++) {
        trommel_event seen = event_at(self->interest.match_reads, events, i);
        if (trommel.matches(self->route, &seen)) ret->ptr[i / 64] |= UINT64_C(1) << i % 64;
        trommel_free_since(NULL);
    }
    trommel_filter_types_event_batch_free(events);
}

bool exports_trommel_filter_filter_method_subscription_process(subscription *self,
    trommel_filter_types_event_t *event, trommel_filter_types_outcome_t *ret, failure_t *err) {
    trommel_event seen = view(self->interest.process_reads, event);
    answer_t said;
    answer(trommel.process(self->route, &seen), &said);
    if (said.is_err) *err = said.val.err;
    else *ret = said.val.ok;
    trommel_filter_types_event_free(event);
    trommel_free_since(NULL);
    return !said.is_err;
}

void exports_trommel_filter_filter_method_subscription_process_batch(
    subscription *self, batch_t *events, exports_trommel_filter_filter_list_result_outcome_failure_t *ret) {
    size_t count = count_of(events);
    *ret = (exports_trommel_filter_filter_list_result_outcome_failure_t){trommel_own(count, sizeof(answer_t)), count};
    for (size_t i = 0; i < count; i++) {
        trommel_event seen = event_at(self->interest.process_reads, events, i);
        answer(trommel.process(self->route, &seen), &ret->ptr[i]);
        trommel_free_since(NULL);
    }
    trommel_filter_types_event_batch_free(events);
}

bool exports_trommel_filter_filter_method_subscription_tick(
    subscription *self, uint64_t now, exports_trommel_filter_filter_list_emission_t *ret, failure_t *err) {
    trommel_result result = trommel.tick(self->route, now);
    if (is_failure(result)) fail(result, err);
    else if (result.kind == TROMMEL_EMIT || result.kind == TROMMEL_DROP) *ret = emitted(result.emissions, result.count);
    else trommel_fault("`tick` has no event: return trommel_emit, trommel_drop or a failure");
    trommel_free_since(NULL);
    return !is_failure(result);
}
