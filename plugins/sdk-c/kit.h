// What the files of this folder share, and filters do not see.
#ifndef TROMMEL_KIT_H
#define TROMMEL_KIT_H

#include "trommel.h"

// Frees what `trommel_alloc` returned since the mark, NULL for all.
void trommel_free_since(void *mark);
void *trommel_mark(void);

// Memory that the bindings free after the router has read it. NULL for nothing.
void *trommel_own(size_t count, size_t size);
trommel_text trommel_own_text(trommel_text text);
// A text that the router handed over, which then is the bindings' to free, until the hook returns.
trommel_text trommel_keep_text(trommel_text text);

// Says what an author did wrong on stderr, which is in the dead letter, and ends the instance.
_Noreturn void trommel_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The changes of `trommel_edits`.
struct trommel_change {
    enum { SET, REMOVE, RENAME } kind;
    trommel_text field, value;
};

#endif
