// Memory that lives until the hook returns, texts, and what becomes of an event.
#include "kit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What was allocated since the hook began.
typedef struct block {
    struct block *next;
    max_align_t data[];
} block;
static block *blocks;

void *trommel_alloc(size_t size) {
    block *fresh = size <= SIZE_MAX - sizeof(block) ? malloc(sizeof(block) + size) : NULL;
    if (!fresh) trommel_fault("out of memory: no %zu bytes", size);
    fresh->next = blocks;
    blocks = fresh;
    return fresh->data;
}

void *trommel_mark(void) { return blocks; }

void trommel_free_since(void *mark) {
    while (blocks != mark) {
        block *next = blocks->next;
        free(blocks);
        blocks = next;
    }
}

void *trommel_own(size_t count, size_t size) {
    void *memory = count ? calloc(count, size) : NULL;
    if (count && !memory) trommel_fault("out of memory: no %zu times %zu bytes", count, size);
    return memory;
}

trommel_text trommel_own_text(trommel_text text) {
    trommel_text copied = {trommel_own(text.len, 1), text.len};
    if (text.len) memcpy(copied.ptr, text.ptr, text.len);
    return copied;
}

trommel_text trommel_keep_text(trommel_text text) {
    trommel_text kept = {trommel_alloc(text.len), text.len};
    if (text.len) memcpy(kept.ptr, text.ptr, text.len);
    return kept;
}

void trommel_fault(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    abort();
}

trommel_text trommel_literal(const char *text) { return (trommel_text){(uint8_t *)text, strlen(text)}; }

const char *trommel_c_string(trommel_text text) {
    char *copied = trommel_alloc(text.len + 1);
    if (text.len) memcpy(copied, text.ptr, text.len);
    copied[text.len] = 0;
    return copied;
}

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
    return text.ptr && text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

trommel_text trommel_get(const trommel_event *event, const char *name) {
    for (size_t i = 0; i < event->count; i++)
        if (event->names[i] == name || strcmp(event->names[i], name) == 0) return event->values[i];
    trommel_fault("trommel_get: `%s` is not read: name it in the reads of this hook", name);
}

static void change(trommel_edits *edits, int kind, const char *field, trommel_text value) {
    if (edits->count == edits->room) {
        edits->room = edits->room ? 2 * edits->room : 8;
        trommel_change *more = trommel_alloc(edits->room * sizeof(trommel_change));
        if (edits->count) memcpy(more, edits->changes, edits->count * sizeof(trommel_change));
        edits->changes = more;
    }
    edits->changes[edits->count++] = (trommel_change){kind, trommel_literal(field), value};
}

void trommel_edit_set(trommel_edits *edits, const char *field, trommel_text value) { change(edits, SET, field, value); }
void trommel_edit_remove(trommel_edits *edits, const char *field) { change(edits, REMOVE, field, (trommel_text){0}); }
void trommel_edit_rename(trommel_edits *edits, const char *field, const char *name) {
    change(edits, RENAME, field, trommel_literal(name));
}

trommel_result trommel_drop(void) { return (trommel_result){TROMMEL_DROP}; }
trommel_result trommel_keep(void) { return (trommel_result){TROMMEL_KEEP}; }
trommel_result trommel_replace(trommel_text payload) { return (trommel_result){TROMMEL_REPLACE, payload}; }
trommel_result trommel_edit(trommel_edits edits) { return (trommel_result){TROMMEL_EDIT, .edits = edits}; }
trommel_result trommel_emit(const trommel_emission *emissions, size_t count) {
    return (trommel_result){TROMMEL_EMIT, .emissions = emissions, .count = count};
}
trommel_result trommel_malformed(trommel_text why) { return (trommel_result){TROMMEL_MALFORMED, why}; }
trommel_result trommel_retry(uint32_t ms, trommel_text why) { return (trommel_result){TROMMEL_RETRY, why, .after = ms}; }
trommel_result trommel_failed(trommel_text why) { return (trommel_result){TROMMEL_FAILED, why}; }
trommel_result trommel_defer(uint32_t ms, trommel_text why) { return (trommel_result){TROMMEL_DEFER, why, .after = ms}; }
trommel_result trommel_broken(trommel_text why) { return (trommel_result){TROMMEL_BROKEN, why}; }
trommel_result trommel_coded(const char *code, trommel_result failure) {
    failure.code = trommel_literal(code);
    return failure;
}
