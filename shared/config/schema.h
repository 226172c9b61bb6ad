// schema.h - a YAML mapping read into a structure by a table of its keys.
//
// Every mistake in the YAML gives one error, which names the file, the line and what is allowed.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include <stddef.h>
#include <stdint.h>

enum spy_key_type {
    SPY_KEY_STRING,   // char *, owned
    SPY_KEY_BOOL,     // bool
    SPY_KEY_UINT,     // uint32_t, min to max
    SPY_KEY_DOUBLE,   // double, min to max
    SPY_KEY_DURATION, // uint64_t nanoseconds, min to max: "500ms", "10s", "5m", "24h", "7d"
    SPY_KEY_ENUM,     // int: index into names
    SPY_KEY_FLAGS,    // unsigned: a list of names, bit i for names[i]
    SPY_KEY_MAP,      // the keys of `fields`, with offsets from the same base
    SPY_KEY_LIST, // a list of mappings: T * at offset, size_t at count_offset, elements of `size`
    SPY_KEY_NO_EFFECT, // a known key of another version: refused, with an error that says so
};

struct spy_key {
    const char *name;
    enum spy_key_type type;
    size_t offset;
    const char *fallback; // the value if not given, as in YAML; NULL: what the caller set, zero
    double min, max;
    const char *const *names;     // NULL-terminated
    const struct spy_key *fields; // ends with a key without name
    size_t size, count_offset;
    size_t line_offset; // LIST: int in each element that gets the line; 0: none
};

// The rows of a table: the key, the offset of its field (at), and its value if it is not given.
#define SPY_TEXT(key, at, value)                                                                   \
    {                                                                                              \
        .name = key, .type = SPY_KEY_STRING, .offset = at, .fallback = value                       \
    }
#define SPY_BOOL(key, at, value)                                                                   \
    {                                                                                              \
        .name = key, .type = SPY_KEY_BOOL, .offset = at, .fallback = value                         \
    }
#define SPY_NUMBER(kind, key, at, value, least, most)                                              \
    {                                                                                              \
        .name = key, .type = kind, .offset = at, .fallback = value, .min = least, .max = most      \
    }
#define SPY_UINT(key, at, value, least, most) SPY_NUMBER(SPY_KEY_UINT, key, at, value, least, most)
#define SPY_DOUBLE(key, at, value, least, most)                                                    \
    SPY_NUMBER(SPY_KEY_DOUBLE, key, at, value, least, most)
#define SPY_DURATION(key, at, value, least, most)                                                  \
    SPY_NUMBER(SPY_KEY_DURATION, key, at, value, least, most)
#define SPY_CHOICE(key, at, value, all)                                                            \
    {                                                                                              \
        .name = key, .type = SPY_KEY_ENUM, .offset = at, .fallback = value, .names = all           \
    }
#define SPY_CHOICES(key, at, value, all)                                                           \
    {                                                                                              \
        .name = key, .type = SPY_KEY_FLAGS, .offset = at, .fallback = value, .names = all          \
    }
#define SPY_MAP(key, rows)                                                                         \
    {                                                                                              \
        .name = key, .type = SPY_KEY_MAP, .fields = rows                                           \
    }
#define SPY_NO_EFFECT(key)                                                                         \
    {                                                                                              \
        .name = key, .type = SPY_KEY_NO_EFFECT                                                     \
    }

// Fills *base (zeroed by the caller, but for values without a fallback) from text. On failure
// everything allocated is released. SPY_ERR_INVALID.
int spy_schema_parse(const struct spy_key *keys, const char *name, const char *text, size_t len,
                     void *base, struct spy_err *err);
// Appends the text of a configuration file to out. SPY_ERR_LIMIT if it is larger than this.
enum { SPY_SCHEMA_FILE_MAX = 1 << 20 };
int spy_schema_file(const char *path, struct spy_buf *out, struct spy_err *err);
// Calls fn with the full name of each key whose values differ in two structures, "limits.agents".
// A list is one key; its elements are compared by their scalar keys.
void spy_schema_compare(const struct spy_key *keys, const void *a, const void *b,
                        void (*fn)(void *arg, const char *key), void *arg);
// Frees strings and lists; the structure is not zeroed.
void spy_schema_release(const struct spy_key *keys, void *base);
