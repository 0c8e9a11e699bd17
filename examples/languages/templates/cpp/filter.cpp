// my-filter: passes orders of at least `min`, and marks them.
#include <new>
#include <string>
#include <string_view>

#include "trommel.h"

namespace {

std::string_view view(trommel_text text) { return {reinterpret_cast<const char *>(text.ptr), text.len}; }

// A text that lives until the hook returns, as what a hook returns must.
trommel_text text(std::string_view of) { return trommel_format("%.*s", static_cast<int>(of.size()), of.data()); }

// What one route needs: its params, parsed once.
struct Route {
    double min = 100;
};

// Called for every route, in every instance: parse, and no more. With `problem` set the route is refused. There are no
// exceptions.
void *new_route(trommel_text key, trommel_params params, trommel_text *problem) {
    auto *route = new Route;
    for (size_t i = 0; i < params.count; i++) {
        auto [name, value] = params.pairs[i];
        if (view(name) != "min")
            *problem = text("unknown param `" + std::string(view(name)) + "`");
        else if (!trommel_number(value, &route->min))
            *problem = text("`min` is no number: `" + std::string(view(value)) + "`");
    }
    return route;
}

void drop(void *self) { delete static_cast<Route *>(self); }

// Called for every event of the key, very often. It can call nothing: it only decides.
bool matches(const void *self, const trommel_event *event) {
    double amount;
    return trommel_number(trommel_get(event, "/amount"), &amount) && amount >= static_cast<const Route *>(self)->min;
}

// Called for what matched. What it allocates with `trommel_...` is freed when it returns.
trommel_result process(const void *, const trommel_event *event) {
    trommel_log(TROMMEL_FILTER_LOG_LEVEL_DEBUG, text("an order of " + std::string(view(trommel_get(event, "/amount")))));
    trommel_edits edits = {};
    trommel_edit_set(&edits, "/large", trommel_literal("true")); // all else stays as it was written
    return trommel_edit(edits);
}

// The fields of an event that the hooks are handed. What is not asked for costs nothing.
const char *const reads[] = {"/amount", nullptr};
const trommel_param params[] = {
    {.name = "min", .type = "int", .description = "Smallest amount that passes", .initial = "100"}, {}};

} // namespace

extern "C" const trommel_filter trommel = {
    .name = "my-filter",
    .version = "0.1.0",
    .description = "Passes large orders",
    .interest = {.match_reads = reads, .process_reads = reads},
    .params = params,
    .make = new_route,
    .drop = drop,
    .matches = matches,
    .process = process,
};
