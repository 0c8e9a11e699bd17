// The manifest: what a filter says of itself, as JSON.
#include "kit.h"

static const char *quoted(const char *text) { return trommel_c_string(trommel_string_of(trommel_literal(text))); }

// A member whose value is JSON.
static void add(trommel_text *json, const char *name, const char *value) {
    *json = trommel_format("%.*s%s\"%s\":%s", SHOW(*json), json->len > 1 ? "," : "", name, value);
}

static void add_text(trommel_text *json, const char *name, const char *text) {
    if (text) add(json, name, quoted(text));
}

// An element of the list that `list` ends with so far.
static void element(trommel_text *list, const char *value) {
    *list = trommel_format("%.*s%s%s", SHOW(*list), list->len > 1 ? "," : "", value);
}

static const char *closed(trommel_text json, const char *with) {
    return trommel_c_string(trommel_format("%.*s%s", SHOW(json), with));
}

static const char *hooks(void) {
    trommel_text list = trommel_literal("[");
    element(&list, "\"normalize-params\"");
    if (trommel.matches) element(&list, "\"matches\",\"matches-batch\"");
    if (trommel.process) element(&list, "\"process\",\"process-batch\"");
    if (trommel.tick) element(&list, "\"tick\"");
    return closed(list, "]");
}

static const char *params(void) {
    trommel_text list = trommel_literal("[");
    for (const trommel_param *param = trommel.params; param->name; param++) {
        trommel_text object = trommel_literal("{");
        add_text(&object, "name", param->name);
        add_text(&object, "type", param->type);
        add_text(&object, "description", param->description);
        add_text(&object, "default", param->initial);
        if (param->is_required) add(&object, "required", "true");
        element(&list, closed(object, "}"));
    }
    return closed(list, "]");
}

static const char *grants(void) {
    trommel_text list = trommel_literal("[");
    for (const trommel_grant *grant = trommel.grants; grant->name; grant++) {
        trommel_text object = trommel_literal("{");
        add_text(&object, "name", grant->name);
        add_text(&object, "reason", grant->reason);
        element(&list, closed(object, "}"));
    }
    return closed(list, "]");
}

static const char *metrics(void) {
    trommel_text list = trommel_literal("[");
    for (const trommel_metric *metric = trommel.metrics; metric->name; metric++) {
        trommel_text object = trommel_literal("{");
        add_text(&object, "name", metric->name);
        add_text(&object, "kind", metric->kind);
        add_text(&object, "description", metric->description);
        element(&list, closed(object, "}"));
    }
    return closed(list, "]");
}

static const char *endpoints(void) {
    trommel_text list = trommel_literal("[");
    for (const char *const *call = trommel.api; *call; call++) element(&list, quoted(*call));
    return closed(list, "]");
}

void exports_trommel_filter_filter_describe(trommel_text *ret) {
    trommel_text json = trommel_literal("{");
    add_text(&json, "name", trommel.name);
    add_text(&json, "version", trommel.version);
    add_text(&json, "description", trommel.description);
    add(&json, "hooks", hooks());
    add_text(&json, "interval", trommel.interval);
    if (trommel.params) add(&json, "params", params());
    if (trommel.grants) add(&json, "grants", grants());
    if (trommel.api) add(&json, "api", endpoints());
    add_text(&json, "memory", trommel.memory);
    if (trommel.output_schema) add(&json, "output_schema", trommel.output_schema);
    if (trommel.metrics) add(&json, "metrics", metrics());
    *ret = trommel_own_text(trommel_literal(closed(json, "}")));
    trommel_free_since(NULL);
}
