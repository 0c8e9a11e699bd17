// JSON as far as a filter needs it: checked as a whole, read where it stands, nothing built.
#include "trommel.h"

#include <stdlib.h>
#include <string.h>

// How deep values may be nested.
enum { DEEPEST = 128 };

typedef struct {
    const uint8_t *at, *end;
} cursor;

static void blank(cursor *c) {
    while (c->at < c->end && memchr(" \t\n\r", *c->at, 4)) c->at++;
}

static bool take(cursor *c, char byte) {
    if (c->at == c->end || *c->at != byte) return false;
    c->at++;
    return true;
}

static bool word(cursor *c, const char *text) {
    size_t length = strlen(text);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, text, length)) return false;
    c->at += length;
    return true;
}

// One character of UTF-8 that is not ASCII: no overlong form, no surrogate, nothing past U+10FFFF.
static bool character(cursor *c) {
    size_t left = c->end - c->at;
    uint8_t first = c->at[0], low = 0x80, high = 0xbf;
    size_t length = first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0) == 0xe0 ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
    if (!length || left < length) return false;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    if (c->at[1] < low || c->at[1] > high) return false;
    for (size_t i = 2; i < length; i++)
        if ((c->at[i] & 0xc0) != 0x80) return false;
    c->at += length;
    return true;
}

// The four digits behind `\u`, or -1.
static int hex(cursor *c) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *digit;
        if (c->at == c->end || !*c->at || !(digit = strchr(digits, *c->at >= 'A' && *c->at <= 'F' ? *c->at | 32 : *c->at)))
            return -1;
        value = value * 16 + (digit - digits);
        c->at++;
    }
    return value;
}

static uint8_t *put(uint8_t *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = code;
        return out;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = lead[more] | code >> 6 * more;
    while (more--) *out++ = 0x80 | (code >> 6 * more & 0x3f);
    return out;
}

// A string with its quotes; what it means to `out` when that is not NULL. Half a surrogate pair is no text.
static bool string(cursor *c, uint8_t **out) {
    if (!take(c, '"')) return false;
    while (c->at < c->end && *c->at != '"') {
        const uint8_t *from = c->at;
        if (*from < 0x20) return false;
        if (*from >= 0x80) {
            if (!character(c)) return false;
        } else if (*from != '\\') {
            c->at++;
        }
        if (c->at != from) {
            if (out) memcpy(*out, from, c->at - from), *out += c->at - from;
            continue;
        }
        if (++c->at == c->end) return false;
        uint8_t escape = *c->at++;
        const char *names = "\"\\/bfnrt", *name = escape ? strchr(names, escape) : NULL;
        int code = name ? "\"\\/\b\f\n\r\t"[name - names] : -1;
        if (escape == 'u') {
            code = hex(c);
            if (code >= 0xd800 && code < 0xdc00) {
                int low = word(c, "\\u") ? hex(c) : -1;
                code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + low - 0xdc00 : -1;
            } else if (code >= 0xdc00 && code < 0xe000) {
                code = -1;
            }
        }
        if (code < 0) return false;
        if (out) *out = put(*out, code);
    }
    return take(c, '"');
}

static bool digits(cursor *c) {
    const uint8_t *from = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') c->at++;
    return c->at > from;
}

static bool number(cursor *c) {
    take(c, '-');
    if (!take(c, '0') && !digits(c)) return false;
    if (take(c, '.') && !digits(c)) return false;
    if (take(c, 'e') || take(c, 'E')) {
        if (!take(c, '+')) take(c, '-');
        return digits(c);
    }
    return true;
}

static bool value(cursor *c, int depth);

// An object or an array. When `name` is not NULL, the last member of that name goes to `found`.
static bool container(cursor *c, int depth, const char *name, trommel_text *found) {
    bool is_object = take(c, '{');
    char close = is_object ? '}' : ']';
    if (!is_object && !take(c, '[')) return false;
    if (depth == DEEPEST) return false;
    blank(c);
    if (take(c, close)) return true;
    do {
        blank(c);
        trommel_text key = {(uint8_t *)c->at, 0};
        if (is_object) {
            if (!string(c, NULL)) return false;
            key.len = c->at - key.ptr;
            blank(c);
            if (!take(c, ':')) return false;
            blank(c);
        }
        const uint8_t *from = c->at;
        if (!value(c, depth + 1)) return false;
        trommel_text meant;
        if (name && trommel_string(key, &meant) && trommel_is(meant, name))
            *found = (trommel_text){(uint8_t *)from, c->at - from};
        blank(c);
    } while (take(c, ','));
    return take(c, close);
}

static bool value(cursor *c, int depth) {
    if (c->at == c->end) return false;
    switch (*c->at) {
    case '{':
    case '[':
        return container(c, depth, NULL, NULL);
    case '"':
        return string(c, NULL);
    case 't':
        return word(c, "true");
    case 'f':
        return word(c, "false");
    case 'n':
        return word(c, "null");
    default:
        return number(c);
    }
}

bool trommel_is_object(trommel_text json) {
    cursor c = {json.ptr, json.ptr + json.len};
    blank(&c);
    if (c.at == c.end || *c.at != '{' || !value(&c, 0)) return false;
    blank(&c);
    return c.at == c.end;
}

trommel_text trommel_member(trommel_text object, const char *name) {
    trommel_text found = {0};
    cursor c = {object.ptr, object.ptr + object.len};
    blank(&c);
    container(&c, 0, name, &found);
    return found;
}

bool trommel_string(trommel_text value, trommel_text *text) {
    if (!value.len || *value.ptr != '"') return false;
    uint8_t *start = trommel_alloc(value.len), *out = start;
    cursor c = {value.ptr, value.ptr + value.len};
    if (!string(&c, &out)) return false;
    *text = (trommel_text){start, out - start};
    return true;
}

bool trommel_integer(trommel_text value, int64_t *integer) {
    cursor c = {value.ptr, value.ptr + value.len};
    bool is_negative = take(&c, '-');
    *integer = 0;
    for (; c.at < c.end; c.at++) {
        if (*c.at < '0' || *c.at > '9') return false;
        if (__builtin_mul_overflow(*integer, 10, integer)) return false;
        if (__builtin_sub_overflow(*integer, *c.at - '0', integer)) return false;
    }
    return value.len > is_negative && (is_negative || !__builtin_sub_overflow(0, *integer, integer));
}

bool trommel_number(trommel_text value, double *found) {
    cursor c = {value.ptr, value.ptr + value.len};
    if (!value.len || !number(&c) || c.at != c.end) return false;
    *found = strtod(trommel_c_string(value), NULL);
    return true;
}

trommel_text trommel_string_of(trommel_text text) {
    uint8_t *start = trommel_alloc(6 * text.len + 2), *out = start;
    *out++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.ptr[i];
        const char *plain = "\"\\\b\f\n\r\t", *at = byte ? strchr(plain, byte) : NULL;
        if (at) {
            *out++ = '\\';
            *out++ = "\"\\bfnrt"[at - plain];
        } else if (byte < 0x20) {
            static const char hex[] = "0123456789abcdef";
            memcpy(out, "\\u00", 4);
            out[4] = hex[byte >> 4];
            out[5] = hex[byte & 15];
            out += 6;
        } else {
            *out++ = byte;
        }
    }
    *out++ = '"';
    return (trommel_text){start, out - start};
}
