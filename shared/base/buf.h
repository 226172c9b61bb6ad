// buf.h - a growable byte buffer with a cap.
//
// The cap is set when the buffer is made. An append that would exceed it changes nothing, returns
// SPY_ERR_LIMIT and marks the buffer `failed`. So a writer may append many times and check `failed`
// once at the end. The bytes are always followed by a NUL that does not count in len, so a text
// buffer can be read as a C string. Not thread safe.
#pragma once
#include "shared/base/utf8.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spy_buf {
    uint8_t *data; // NULL until the first append; owned by the buffer
    size_t len, cap, max;
    int failed; // 0, SPY_ERR_LIMIT or SPY_ERR_NOMEM: the first append that did not fit
};

#define SPY_BUF_INIT(max_bytes) ((struct spy_buf){.max = (max_bytes)})

void spy_buf_free(struct spy_buf *b);
static inline void spy_buf_reset(struct spy_buf *b) // keeps the memory
{
    b->len = 0;
    b->failed = 0;
    if (b->data)
        b->data[0] = 0;
}
int spy_buf_append(struct spy_buf *b, const void *data, size_t len);
int spy_buf_puts(struct spy_buf *b, const char *s);
int spy_buf_putc(struct spy_buf *b, char c);
int spy_buf_number(struct spy_buf *b, uint64_t n); // in decimal
int spy_buf_printf(struct spy_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// Makes room for len more bytes and returns their address (b->len is not advanced), or NULL. After
// writing there, call spy_buf_commit with the number of bytes written.
uint8_t *spy_buf_reserve(struct spy_buf *b, size_t len);
static inline void spy_buf_commit(struct spy_buf *b, size_t len) // at most what was reserved
{
    b->len += len;
    b->data[b->len] = 0;
}
// Appends s (len bytes) as the inside of a JSON string, without the quotes around it. Quotes,
// backslashes and characters unfit for a terminal (text.h) are escaped: a JSON reader gets the same
// text, and a terminal is safe. Each byte that is not valid UTF-8 becomes U+FFFD.
int spy_buf_json(struct spy_buf *b, const char *s, size_t len);
// The text, never NULL.
const char *spy_buf_str(const struct spy_buf *b);

#define _cleanup_buf_ __attribute__((cleanup(spy_buf_free)))

// Appends at most the first max bytes of s as text for a label. Longer text is cut between characters
// and ends with U+2026. Control characters become spaces; other unfit characters (text.h) and bytes
// that are not UTF-8 become U+FFFD. For names from outside.
int spy_buf_text(struct spy_buf *b, const char *s, size_t len, size_t max);
// The same, but only bytes that are not UTF-8 are replaced: the text must be made fit (text.h) when it
// is shown.
int spy_buf_cut(struct spy_buf *b, const char *s, size_t len, size_t max);
