// my-filter: passes orders of at least `min`, and of them only what is wanted.
#include <stdlib.h>

#include "trommel.h"

// What one route needs: its params, parsed once.
typedef struct {
    int64_t min;
} route;

// Called for every route, in every instance: parse, and no more. With `problem` set the route is refused.
static void *new_route(trommel_text key, trommel_params params, trommel_text *problem) {
    route *parsed = calloc(1, sizeof(route)); // outlives the call, and goes to `free`
    parsed->min = 100;
    for (size_t i = 0; i < params.count; i++) {
        trommel_text name = params.pairs[i].f0, value = params.pairs[i].f1;
        if (!trommel_is(name, "min"))
            *problem = trommel_format("unknown param `%.*s`", SHOW(name));
        else if (!trommel_integer(value, &parsed->min))
            *problem = trommel_format("`min` is no integer: `%.*s`", SHOW(value));
    }
    return parsed;
}

static bool amount_of(const trommel_event *event, int64_t *amount) {
    return trommel_is_object(event->payload) && trommel_integer(trommel_member(event->payload, "amount"), amount);
}

// Called for every event of the key, very often. It can call nothing: it only decides.
static bool matches(const void *self, const trommel_event *event) {
    int64_t amount;
    return amount_of(event, &amount) && amount >= ((const route *)self)->min;
}

// Called for what matched. What it allocates with `trommel_...` is freed when it returns.
static trommel_result process(const void *self, const trommel_event *event) {
    int64_t amount;
    if (!amount_of(event, &amount)) return trommel_malformed(trommel_literal("the order has no `amount`"));
    trommel_log(TROMMEL_FILTER_LOG_LEVEL_DEBUG, trommel_format("an order of %lld", amount));
    return trommel_replace(trommel_format("{\"amount\":%lld,\"large\":true}", amount));
}

const trommel_filter trommel = {
    .name = "my-filter",
    .version = "0.1.0",
    .description = "Passes large orders",
    // What is not asked for is not handed over, and costs nothing.
    .match_reads = TROMMEL_FILTER_TYPES_FIELDS_PAYLOAD,
    .process_reads = TROMMEL_FILTER_TYPES_FIELDS_PAYLOAD,
    .make = new_route,
    .matches = matches,
    .process = process,
};
