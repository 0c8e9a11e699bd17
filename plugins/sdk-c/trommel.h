// Filters for trommel in C. A filter is one value, `trommel`, that says what it is and does; trommel.c and json.c of this
// folder and what is in bindings/ are compiled with it, as C. The filter may be C++ from C++20 on: `extern const trommel_filter
// trommel` is then defined with `extern "C"`, and its members named in their order.
//
// Memory: what is handed to a hook, and what the functions below return, lives until the hook returns. What a hook
// returns is copied, so it may point to any of it, or to constants. Only what `make` returns lives longer: it comes from
// `malloc`, with all that it points to, and goes to `drop`.
#ifndef TROMMEL_H
#define TROMMEL_H

#include "bindings/filter_component.h"

#ifdef __cplusplus
extern "C" {
#endif

// UTF-8 without a NUL behind it; it may hold NUL. Has `ptr` and `len`.
typedef filter_component_string_t trommel_text;
typedef filter_component_tuple2_string_string_t trommel_pair; // `f0` is the name, `f1` the value

typedef struct {
    const trommel_pair *pairs; // sorted by name
    size_t count;
} trommel_params;

// What the manifest did not ask for, and what the producer did not say, has a `ptr` of NULL.
typedef struct {
    trommel_text type, id, subject, source_time;
    uint64_t observed_at; // Unix nanoseconds
    uint32_t attempt;     // 1 on the first delivery
    const trommel_pair *headers;
    size_t header_count;
    trommel_text payload;
} trommel_event;

typedef struct {
    trommel_text payload;
    trommel_text subject; // the event's own when its `ptr` is NULL
    const trommel_pair *headers;
    size_t header_count;
} trommel_emission;

// What becomes of an event: what one of the functions below returned.
typedef struct {
    enum { DROP, KEEP, REPLACE, EMIT, MALFORMED, RETRY, FAILED, BROKEN } kind;
    trommel_text text;
    uint32_t after;
    const trommel_emission *emissions;
    size_t count;
} trommel_result;

trommel_result trommel_drop(void);                       // not wanted after all
trommel_result trommel_keep(void);                       // send it on as it is; copies nothing
trommel_result trommel_replace(trommel_text payload);    // send it on with this payload
trommel_result trommel_emit(const trommel_emission *emissions, size_t count); // send these instead
trommel_result trommel_malformed(trommel_text why);      // it can never be processed: a dead letter
trommel_result trommel_retry(uint32_t ms, trommel_text why); // passing trouble: try again after this time
trommel_result trommel_failed(trommel_text why);         // try again by the key's policy, then a dead letter
trommel_result trommel_broken(trommel_text why);         // the filter can't go on: quarantined, the event is kept

typedef trommel_filter_types_condition_t trommel_condition; // `field`, `comparison`, `value`

typedef struct {
    const trommel_condition *all;
    size_t count;
} trommel_conditions;

// A hook that is NULL is never called; `make` is required.
typedef struct {
    const char *name, *version, *description;
    trommel_filter_types_fields_t match_reads, process_reads; // TROMMEL_FILTER_TYPES_FIELDS_...
    const char *const *capabilities;                          // wishes, "api" and "state", then NULL

    // Parses the params of one route. With `problem` set they are refused.
    void *(*make)(trommel_text key, trommel_params params, trommel_text *problem);
    void (*drop)(void *route); // `free` when NULL
    // The params to use from then on, or a failure, else `trommel_keep()`. When NULL those that `make` takes.
    trommel_result (*normalize)(trommel_text key, trommel_params params, trommel_params *normal);
    // Match as data: any of the lists, all of its conditions. Returns how many lists there are.
    size_t (*conditions)(const void *route, const trommel_conditions **any);
    bool (*matches)(const void *route, const trommel_event *event); // pure: can call nothing
    trommel_result (*process)(const void *route, const trommel_event *event);
} trommel_filter;

extern const trommel_filter trommel;

// Memory until the hook returns.
void *trommel_alloc(size_t size);
// As printf: "%.*s" takes a text by `SHOW(text)`, up to a NUL in it.
trommel_text trommel_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
trommel_text trommel_literal(const char *text);
bool trommel_is(trommel_text text, const char *other);
// The first value under a name, whatever its case; its `ptr` is NULL when there is none.
trommel_text trommel_header(const trommel_event *event, const char *name);

#define SHOW(text) (int)(text).len, (const char *)(text).ptr

void trommel_log(trommel_filter_log_level_t level, trommel_text message); // TROMMEL_FILTER_LOG_LEVEL_...
// True and the answer, or false and what was wrong, "status 404: ..." for one. No body when its `ptr` is NULL.
bool trommel_call(const char *method, trommel_text path, trommel_text body, trommel_text *answer);
// The functions of `state`: false and what was wrong in `problem`. A `ttl` of 0 milliseconds is for good.
bool trommel_get(const char *key, trommel_text *value, trommel_text *problem); // `ptr` is NULL when there is nothing
bool trommel_set(const char *key, trommel_text value, uint64_t ttl, trommel_text *problem);
bool trommel_delete(const char *key, trommel_text *problem);
bool trommel_add(const char *key, int64_t delta, uint64_t ttl, int64_t *sum, trommel_text *problem);

// JSON, without a tree: whether the text is an object, its member as it stands there (`ptr` is NULL when there is
// none), and what a value means when it is a string or an integer.
bool trommel_is_object(trommel_text json);
trommel_text trommel_member(trommel_text object, const char *name);
bool trommel_string(trommel_text value, trommel_text *string);
bool trommel_integer(trommel_text value, int64_t *integer);

#ifdef __cplusplus
}
#endif

#endif
