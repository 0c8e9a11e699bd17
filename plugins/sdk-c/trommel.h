// Filters for trommel in C, on version 0.2 of the contract. A filter is one value, `trommel`, that says what it is and does;
// the other files of this folder and of bindings/ are compiled with it, as C. The filter may be C++ from C++20 on:
// `extern const trommel_filter trommel` is then defined with `extern "C"`, and its members named in their order.
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

// Text in UTF-8 without a NUL behind it, or bytes; it may hold NUL. Has `ptr` and `len`. What is absent has a `ptr` of NULL.
typedef filter_component_string_t trommel_text;
typedef filter_component_tuple2_string_string_t trommel_pair; // `f0` is the name, `f1` the value

typedef struct {
    const trommel_pair *pairs; // sorted by name
    size_t count;
} trommel_params;

// The fields that a hook reads. See `trommel_get`.
typedef struct {
    const char *const *names;
    const trommel_text *values;
    size_t count;
} trommel_event;

// A field that the hook reads, by its name: "/customer/tier", "header:region", "subject", "payload" and so on. A part of the
// payload is JSON as it is written there, a text with its quotes. Absent is told from `null` and from "". To ask for what
// is not among the reads ends the instance.
trommel_text trommel_get(const trommel_event *event, const char *name);

// One output. Zeros are what is usual.
typedef struct {
    trommel_text payload;
    trommel_text sink;    // the only sink it goes to, one of the interest's `sinks`; all of the route when absent
    trommel_text id;      // the router's own when absent
    trommel_text subject; // the event's own when absent
    uint64_t not_before;  // Unix milliseconds before which it is not sent
    const trommel_pair *headers; // added to the event's; one whose value is absent is removed
    size_t header_count;
    bool is_buried; // a dead letter with this payload, for the reason below
    trommel_text code, detail;
} trommel_emission;

// Changes of an event, made one after the other. Begins as `trommel_edits edits = {0};`.
typedef struct trommel_change trommel_change;
typedef struct {
    trommel_change *changes;
    size_t count, room;
} trommel_edits;

// Sets a part of the payload to a JSON text, or `subject` or `header:NAME` to a plain one. `trommel_string_of` makes JSON of
// a plain text, `trommel_format` of a number.
void trommel_edit_set(trommel_edits *edits, const char *field, trommel_text value);
void trommel_edit_remove(trommel_edits *edits, const char *field);
void trommel_edit_rename(trommel_edits *edits, const char *field, const char *name); // a member keeps its value and place

// What becomes of an event: what one of the functions below returned.
typedef struct {
    enum {
        TROMMEL_DROP, TROMMEL_KEEP, TROMMEL_REPLACE, TROMMEL_EDIT, TROMMEL_EMIT,
        TROMMEL_MALFORMED, TROMMEL_RETRY, TROMMEL_FAILED, TROMMEL_DEFER, TROMMEL_BROKEN
    } kind;
    trommel_text text, code;
    uint32_t after;
    trommel_edits edits;
    const trommel_emission *emissions;
    size_t count;
} trommel_result;

trommel_result trommel_drop(void);                       // not wanted after all
trommel_result trommel_keep(void);                       // send it on as it is; copies nothing
trommel_result trommel_replace(trommel_text payload);    // send it on with this payload
trommel_result trommel_edit(trommel_edits edits);        // send it on with these changes, all else as it was written
trommel_result trommel_emit(const trommel_emission *emissions, size_t count); // send these instead
trommel_result trommel_malformed(trommel_text why);      // it can never be processed: a dead letter
trommel_result trommel_retry(uint32_t ms, trommel_text why); // passing trouble: try again after this time
trommel_result trommel_failed(trommel_text why);         // try again by the key's policy, then a dead letter
trommel_result trommel_defer(uint32_t ms, trommel_text why); // no failure: ask again after this time, as often as need be
trommel_result trommel_broken(trommel_text why);         // the filter can't go on: quarantined, the event is kept
// A failure with a word of your own, lower case with underscores, that `dlq list --reason` finds.
trommel_result trommel_coded(const char *code, trommel_result failure);

// What one route is interested in. Lists of names end with NULL.
typedef struct {
    const char *condition; // as `where`: events that it does not hold for cost no call; NULL for all events
    const char *const *match_reads, *const *process_reads;
    const char *const *sinks; // those that emissions choose by name
} trommel_interest;

// What the key has to declare, as `[[key.params]]`. `type` is "string" when NULL.
typedef struct {
    const char *name, *type, *description;
    bool is_required;
    const char *initial; // its default
} trommel_param;

typedef struct {
    const char *name, *reason; // "api", "state" or "identity", and why: wishes, not grants
} trommel_grant;

typedef struct {
    const char *name, *kind, *description; // `kind` is "counter", "gauge" or "histogram"
} trommel_metric;

// A hook that is NULL is never called; `make` is required. Lists of structs end with one whose name is NULL.
typedef struct {
    const char *name, *version, *description;
    trommel_interest interest; // of every route
    const trommel_param *params;
    const trommel_grant *grants;
    const char *const *api;    // the endpoints that it calls: "GET /users/*"
    const char *memory;        // what an instance needs: "256MiB"
    const char *output_schema; // the JSON Schema of its outputs, as JSON
    const trommel_metric *metrics;
    const char *interval; // the time between two ticks: "10s"

    // Parses the params of one route. With `problem` set they are refused.
    void *(*make)(trommel_text key, trommel_params params, trommel_text *problem);
    void (*drop)(void *route); // `free` when NULL
    // The params to use from then on, or a failure, else `trommel_keep()`. When NULL those that `make` takes.
    trommel_result (*normalize)(trommel_text key, trommel_params params, trommel_params *normal);
    // Changes the interest for one route, by its params. The names may be of `trommel_format`.
    void (*refine)(const void *route, trommel_interest *interest);
    bool (*matches)(const void *route, const trommel_event *event); // pure: can call nothing but the log
    trommel_result (*process)(const void *route, const trommel_event *event);
    // Once an interval, with the time in Unix milliseconds: `trommel_emit`, `trommel_drop` or a failure.
    trommel_result (*tick)(const void *route, uint64_t now);
} trommel_filter;

extern const trommel_filter trommel;

// Memory until the hook returns.
void *trommel_alloc(size_t size);
// As printf: "%.*s" takes a text by `SHOW(text)`, up to a NUL in it.
trommel_text trommel_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
trommel_text trommel_literal(const char *text);
const char *trommel_c_string(trommel_text text); // with a NUL behind it
bool trommel_is(trommel_text text, const char *other);

#define SHOW(text) (int)(text).len, (const char *)(text).ptr

bool trommel_log_enabled(trommel_filter_log_level_t level); // TROMMEL_FILTER_LOG_LEVEL_...
void trommel_log(trommel_filter_log_level_t level, trommel_text message);
void trommel_log_fields(trommel_filter_log_level_t level, trommel_text message, const trommel_pair *fields, size_t count);
// Adds to a counter, sets a gauge, or is one value of a histogram: one of the filter's `metrics`.
void trommel_measure(const char *metric, double value);
void trommel_annotate(const char *name, trommel_text value); // of the span of the call, if the event is traced

typedef struct {
    const char *api; // NULL for the one without a name
    const char *method;
    trommel_text path; // with its query
    const trommel_pair *headers;
    size_t header_count;
    trommel_text body; // none when absent
} trommel_request;

typedef struct {
    uint16_t status;
    const trommel_pair *headers;
    size_t header_count;
    trommel_text body;
} trommel_response;

// True and the answer, whatever its status, or false and what was wrong.
bool trommel_call(const trommel_request *request, trommel_response *response, trommel_text *problem);

// The functions of `state`: false and what was wrong in `problem`. A `ttl` of 0 milliseconds is for good.
bool trommel_state_get(const char *key, trommel_text *value, trommel_text *problem);
bool trommel_state_get_many(const char *const *keys, size_t count, trommel_text *values, trommel_text *problem);
bool trommel_state_set(const char *key, trommel_text value, uint64_t ttl, trommel_text *problem);
// All are set or none, but for a store that routers share.
bool trommel_state_set_many(const char *const *keys, const trommel_text *values, size_t count, uint64_t ttl, trommel_text *problem);
bool trommel_state_delete(const char *key, trommel_text *problem);
bool trommel_state_delete_many(const char *const *keys, size_t count, trommel_text *problem);
bool trommel_state_keys(const char *prefix, const trommel_text **keys, size_t *count, trommel_text *problem);
// With a `ttl` of 0 the number keeps the one it has.
bool trommel_state_increment(const char *key, int64_t delta, uint64_t ttl, int64_t *sum, trommel_text *problem);
// Sets the value if the present one is `old`, absent or not; otherwise the problem is "conflict".
bool trommel_state_swap(const char *key, trommel_text old, trommel_text value, uint64_t ttl, trommel_text *problem);

// JSON, without a tree: whether the text is an object, its member as it stands there, what a value means when it is a
// string, an integer or a number, and how a text is written as a JSON string.
bool trommel_is_object(trommel_text json);
trommel_text trommel_member(trommel_text object, const char *name);
bool trommel_string(trommel_text value, trommel_text *string);
bool trommel_integer(trommel_text value, int64_t *integer);
bool trommel_number(trommel_text value, double *number);
trommel_text trommel_string_of(trommel_text text);

#ifdef __cplusplus
}
#endif

#endif
