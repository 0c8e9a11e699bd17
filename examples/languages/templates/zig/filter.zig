//! my-filter: passes orders of at least `min`, and marks them.
const std = @import("std");
const sdk = @cImport(@cInclude("trommel.h"));

/// What one route needs: its params, parsed once. It outlives the call and goes to C's `free`, whose allocator this is.
const Route = struct { min: f64 = 100 };
const allocator = std.heap.raw_c_allocator;

/// Called for every route, in every instance: parse, and no more. With `problem` set the route is refused.
fn newRoute(_: sdk.trommel_text, given: sdk.trommel_params, problem: [*c]sdk.trommel_text) callconv(.c) ?*anyopaque {
    const route = allocator.create(Route) catch @panic("out of memory");
    route.* = .{};
    for (0..given.count) |at| {
        const pair = given.pairs[at];
        if (!sdk.trommel_is(pair.f0, "min")) {
            problem.* = format("unknown param `{s}`", .{bytes(pair.f0)});
        } else if (!sdk.trommel_number(pair.f1, &route.min)) {
            problem.* = format("`min` is no number: `{s}`", .{bytes(pair.f1)});
        }
    }
    return route;
}

/// Called for every event of the key, very often. It can call nothing: it only decides.
fn matches(self: ?*const anyopaque, event: [*c]const sdk.trommel_event) callconv(.c) bool {
    const route: *const Route = @ptrCast(@alignCast(self));
    var amount: f64 = undefined;
    return sdk.trommel_number(sdk.trommel_get(event, "/amount"), &amount) and amount >= route.min;
}

/// Called for what matched. What it allocates with `trommel_...` is freed when it returns.
fn process(_: ?*const anyopaque, event: [*c]const sdk.trommel_event) callconv(.c) sdk.trommel_result {
    const amount = bytes(sdk.trommel_get(event, "/amount"));
    sdk.trommel_log(sdk.TROMMEL_FILTER_LOG_LEVEL_DEBUG, format("an order of {s}", .{amount}));
    var edits = std.mem.zeroes(sdk.trommel_edits);
    sdk.trommel_edit_set(&edits, "/large", sdk.trommel_literal("true")); // all else stays as it was written
    return sdk.trommel_edit(edits);
}

fn bytes(text: sdk.trommel_text) []const u8 {
    return if (text.ptr == null) "" else text.ptr[0..text.len];
}

/// A text that lives until the hook returns.
fn format(comptime template: []const u8, arguments: anytype) sdk.trommel_text {
    const length = std.fmt.count(template, arguments);
    const memory: [*]u8 = @ptrCast(sdk.trommel_alloc(length));
    const text = std.fmt.bufPrint(memory[0..length], template, arguments) catch unreachable;
    return .{ .ptr = text.ptr, .len = text.len };
}

/// The fields of an event that the hooks are handed. What is not asked for costs nothing.
const reads = [_][*c]const u8{ "/amount", null };
const params = [_]sdk.trommel_param{
    .{ .name = "min", .type = "int", .description = "Smallest amount that passes", .initial = "100" },
    .{},
};

export const trommel = sdk.trommel_filter{
    .name = "my-filter",
    .version = "0.1.0",
    .description = "Passes large orders",
    .interest = .{ .match_reads = &reads, .process_reads = &reads },
    .params = &params,
    .make = newRoute,
    .matches = matches,
    .process = process,
};
