// my-filter: passes orders of at least `min`, and marks them.
#include <stdlib.h>

#include "trommel.h"

// What one route needs: its params, parsed once.
typedef struct {
    double min;
} route;

// Called for every route, in every instance: parse, and no more. With `problem` set the route is refused.
static void *new_route(trommel_text key, trommel_params params, trommel_text *problem) {
    route *parsed = calloc(1, sizeof(route)); // outlives the call, and goes to `free`
    parsed->min = 100;
    for (size_t i = 0; i < params.count; i++) {
        trommel_text name = params.pairs[i].f0, value = params.pairs[i].f1;
        if (!trommel_is(name, "min"))
            *problem = trommel_format("unknown param `%.*s`", SHOW(name));
        else if (!trommel_number(value, &parsed->min))
            *problem = trommel_format("`min` is no number: `%.*s`", SHOW(value));
    }
    return parsed;
}

// Called for every event of the key, very often. It can call nothing: it only decides.
static bool matches(const void *self, const trommel_event *event) {
    double amount;
    return trommel_number(trommel_get(event, "/amount"), &amount) && amount >= ((const route *)self)->min;
}

// Called for what matched. What it allocates with `trommel_...` is freed when it returns.
static trommel_result process(const void *self, const trommel_event *event) {
    trommel_log(TROMMEL_FILTER_LOG_LEVEL_DEBUG, trommel_format("an order of %.*s", SHOW(trommel_get(event, "/amount"))));
    trommel_edits edits = {0};
    trommel_edit_set(&edits, "/large", trommel_literal("true")); // all else stays as it was written
    return trommel_edit(edits);
}

// The fields of an event that the hooks are handed. What is not asked for costs nothing.
static const char *const reads[] = {"/amount", NULL};
static const trommel_param params[] = {
    {.name = "min", .type = "int", .description = "Smallest amount that passes", .initial = "100"}, {NULL}};

const trommel_filter trommel = {
    .name = "my-filter",
    .version = "0.1.0",
    .description = "Passes large orders",
    .interest = {.match_reads = reads, .process_reads = reads},
    .params = params,
    .make = new_route,
    .matches = matches,
    .process = process,
};
