// record_image CORE OUT: what podspy reads of a core file, as an image for fuzz_walk.
#include "agent/python/python.h"
#include "agent/target/core.h"
#include "image.h"
#include "shared/base/buf.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPANS_MAX = 65536, LONG_READ = 20000, PIECE_MAX = 32768 };

static struct spy_span spans[SPANS_MAX], searched[SPANS_MAX];
static size_t n_spans, n_searched;

static void note(void *context, uint64_t addr, const void *bytes, size_t len)
{
    (void)context, (void)bytes;
    struct spy_span s = {.addr = addr, .len = len};
    if (len > LONG_READ && n_searched < SPANS_MAX) // the search for the version
        searched[n_searched++] = s;
    else if (n_spans < SPANS_MAX)
        spans[n_spans++] = s;
}

// Of what was searched only the text that was found; where no symbol told of the interpreter, all
// of the text and the two words that did.
static void note_searched(const struct spy_target *t, const struct spy_py_runtime *rt)
{
    enum { WHOLE_TEXT = 160 };
    for (size_t i = 0; i < n_searched; i++) {
        _cleanup_free_ char *bytes = malloc(searched[i].len);
        if (!bytes || spy_target_read(t, searched[i].addr, bytes, searched[i].len) < 0)
            continue;
        size_t len = strlen(rt->version) + !rt->scanned;
        char *at = memmem(bytes + 1, searched[i].len - 1, rt->version, len);
        if (at)
            note(NULL, searched[i].addr + (uint64_t)(at - bytes) - 1, NULL,
                 rt->scanned ? WHOLE_TEXT : len + 1);
    }
    if (rt->scanned)
        note(NULL, rt->addr + rt->layout.runtime_interp_head, NULL, 16);
}

static int by_addr(const void *a, const void *b)
{
    const struct spy_span *x = a, *y = b;
    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

// Joins what overlaps or nearly touches.
static void join(void)
{
    size_t n = 0;
    qsort(spans, n_spans, sizeof *spans, by_addr);
    for (size_t i = 0; i < n_spans; i++) {
        uint64_t end = spans[i].addr + spans[i].len;
        struct spy_span *last = n ? &spans[n - 1] : NULL;
        uint64_t last_end = last ? last->addr + last->len : 0;
        if (last && spans[i].addr <= last_end + 8 && end - last->addr <= PIECE_MAX)
            last->len = (size_t)((end > last_end ? end : last_end) - last->addr);
        else if (last && spans[i].addr < last_end && end > last_end)
            spans[n++] = (struct spy_span){.addr = last_end, .len = (size_t)(end - last_end)};
        else if (!last || spans[i].addr >= last_end)
            spans[n++] = spans[i];
    }
    n_spans = n;
}

static void put(struct spy_buf *b, uint64_t v, size_t n)
{
    spy_buf_append(b, &v, n);
}

// Cuts a mapping down to the pages that were read, so that an input is quick to go through. The
// first page of a file stays: there its ELF header is. False: nothing of it was read.
static bool trim(struct spy_mapping *m, bool scanned)
{
    enum { PAGE = 4096 };
    uint64_t from = m->end, to = m->start;
    for (size_t i = 0; i < n_spans; i++) {
        if (spans[i].addr < m->start || spans[i].addr >= m->end)
            continue;
        uint64_t end = (spans[i].addr + spans[i].len + PAGE - 1) / PAGE * PAGE;
        from = spans[i].addr < from ? spans[i].addr / PAGE * PAGE : from;
        to = end > to ? end : to;
    }
    if (to <= from)
        return false;
    if (scanned && m->writable) // data and what follows it must touch
        return true;
    m->end = to < m->end ? to : m->end;
    if (m->offset) {
        m->offset += from - m->start;
        m->start = from;
    }
    return true;
}

static void put_maps(const struct spy_maps *maps, bool scanned, struct spy_buf *b)
{
    uint16_t n = 0;
    size_t at = b->len;
    put(b, 0, 2);
    for (size_t i = 0; i < maps->n && n < IMAGE_MAPS_MAX; i++) {
        struct spy_mapping e = maps->list[i], *m = &e;
        const char *path = spy_maps_path(maps, m);
        if (!trim(m, scanned))
            continue;
        // Where it lay is nobody's business.
        const char *slash = strrchr(path, '/');
        path = slash ? slash : path;
        n++;
        put(b, m->start, 8);
        put(b, m->end, 8);
        put(b, m->offset, 8);
        put(b, (m->readable ? 1 : 0) + (m->writable ? 2 : 0) + (m->executable ? 4 : 0), 1);
        put(b, strlen(path), 1);
        spy_buf_append(b, path, strlen(path));
    }
    memcpy(b->data + at, &n, sizeof n);
}

static int write_image(const struct spy_target *t, bool scanned, const char *path)
{
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(1 << 20);
    const struct spy_still *s = spy_target_still(t);
    join();
    put(&b, (uint64_t)s->pid, 4);
    put_maps(&s->maps, scanned, &b);
    put(&b, s->n_tids, 2);
    for (size_t i = 0; i < s->n_tids; i++)
        put(&b, (uint64_t)s->tids[i], 4);
    put(&b, 0, 1);
    for (size_t i = 0; i < n_spans; i++) {
        uint8_t bytes[PIECE_MAX];
        if (spans[i].len > sizeof bytes ||
            spy_target_read(t, spans[i].addr, bytes, spans[i].len) < 0)
            continue;
        put(&b, spans[i].addr, 8);
        put(&b, spans[i].len, 2);
        spy_buf_append(&b, bytes, spans[i].len);
    }
    _cleanup_fclose_ FILE *f = fopen(path, "wb");
    return f && !b.failed && fwrite(b.data, 1, b.len, f) == b.len ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct spy_target *t;
    struct spy_core core;
    struct spy_python *py;
    struct spy_err err = {0};
    struct spy_py_options o = {.pausing = SPY_PAUSE_NEVER};
    struct spy_py_stack st;
    if (argc != 3)
        return 2;
    int r = spy_core_open(argv[1], NULL, &t, &core, &err);
    if (r == 0) {
        spy_target_still(t)->touched = note;
        r = spy_python_attach(t, &py, &err);
    }
    if (r < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    r = spy_python_refresh(py);
    for (size_t i = 0; r == 0 && i < spy_python_n_threads(py); i++)
        if (spy_python_sample(py, spy_python_thread(py, i), &o, &st) == 0)
            printf("thread %zu: %zu frames\n", i, st.n);
    spy_target_still(t)->touched = NULL;
    const struct spy_py_runtime *rt = spy_python_runtime(py);
    note_searched(t, rt);
    r = write_image(t, rt->scanned, argv[2]);
    spy_python_free(py);
    spy_target_free(t);
    return r < 0;
}
