#include "agent/python/batch.h"
#include "agent/python/frame.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <string.h>

enum {
    AGAIN_BELOW = 2048, // bytes of the data stack, around where the newest frame on it was
    AGAIN_ABOVE = 640,
    AGAIN_MUST = 1024, // so much below the newest frame must have been read twice
};

static void span(struct spy_py_batch *b, uint64_t addr, void *to, size_t len)
{
    b->spans[b->n++] = (struct spy_span){addr, to, len};
}

// --- reading ---

// Joins the span with one that lies near, where all of it is mapped for sure: the gap is shorter
// than a page.
static void read_again(struct spy_py_batch *b, uint64_t addr, size_t len)
{
    for (size_t i = 0; i < b->n_again; i++) {
        struct spy_span *s = &b->again[i];
        uint64_t from = addr < s->addr ? addr : s->addr;
        uint64_t to = addr + len > s->addr + s->len ? addr + len : s->addr + s->len;
        if (to - from <= s->len + len + SPY_PY_NEAR && to - from <= SPY_PY_AGAIN / 2) {
            s->addr = from;
            s->len = to - from;
            return;
        }
    }
    if (b->n_again < SPY_PY_TOP)
        b->again[b->n_again++] = (struct spy_span){.addr = addr, .len = len};
}

// The newest frames as the last walk met them: those outside of the data stack, and then the part
// of the stack around the newest frame on it.
static void choose_again(const struct spy_py_layout *l, const struct spy_py_thread *th,
                         struct spy_py_batch *b)
{
    b->n_again = 0;
    bool done = false;
    for (size_t k = 0; k < th->n_top && !done; k++)
        for (size_t i = 0; i < th->places.n; i++) {
            const struct spy_py_place *p = &th->places.list[i];
            uint64_t at = th->top[k] - p->addr;
            if (th->top[k] < p->addr || at + l->f_size > p->room)
                continue;
            if (!p->is_chunk) {
                read_again(b, th->top[k], l->f_size);
                break;
            }
            uint64_t from = at < AGAIN_BELOW ? 0 : at - AGAIN_BELOW, to = at + AGAIN_ABOVE;
            read_again(b, p->addr + from, (to < p->room ? to : p->room) - from);
            done = true;
            break;
        }
    size_t used = 0;
    for (size_t i = 0; i < b->n_again; i++) {
        if (used + b->again[i].len > sizeof b->top_again) {
            b->n_again = i;
            return;
        }
        b->again[i].to = b->top_again + used;
        used += b->again[i].len;
    }
}

static void after_places(const struct spy_py_layout *l, const struct spy_py_thread *th,
                         struct spy_py_batch *b)
{
    span(b, th->tstate, b->tstate, l->ts_size);
    if (l->ts_cframe != SPY_PY_ABSENT && th->cframe)
        span(b, th->cframe, b->cframe, sizeof b->cframe);
    for (size_t i = 0; i < b->n_again; i++)
        b->spans[b->n++] = b->again[i];
    if (l->heap_frames)
        span(b, th->tstate + l->ts_frame, b->frame_last, sizeof b->frame_last);
    size_t used = 0;
    for (size_t i = 0; i < th->facts.n; i++) {
        span(b, th->facts.spans[i].addr, b->facts + used, th->facts.spans[i].len);
        used += th->facts.spans[i].len;
    }
}

static bool keeps_popped(const struct spy_py_layout *l)
{
    return l->f_code_tag == 0;
}

// Flushes full batches; a stack with more places than one call takes is then not one instant any
// more, which the comparison at the end judges.
static int read_all(const struct spy_target *t, const struct spy_py_layout *l,
                    struct spy_py_thread *th, const struct spy_py_scratch *s,
                    struct spy_py_batch *b, size_t *ret_bad)
{
    enum { RESERVED = SPY_PY_TOP + 3 + SPY_FACTS };
    size_t first = 0, done = 0, fixed = 0;
    b->n = 0;
    if (l->ts_cframe == SPY_PY_ABSENT && keeps_popped(l))
        span(b, th->tstate + l->ts_frame, b->frame_before, 8);
    else if (keeps_popped(l) && th->cframe)
        span(b, th->cframe, b->frame_before, sizeof b->frame_before);
    fixed = b->n;
    for (size_t i = 0; i < th->places.n; i++) {
        span(b, th->places.list[i].addr, s->copy + th->places.list[i].at, th->places.list[i].len);
        if (b->n < SPY_SPANS_MAX - RESERVED)
            continue;
        int r = spy_target_read_spans(t, b->spans, b->n, &done);
        if (r < 0) {
            *ret_bad = done >= fixed ? first + (done - fixed) : SIZE_MAX;
            return r;
        }
        first = i + 1;
        fixed = b->n = 0;
    }
    size_t n_places = b->n;
    after_places(l, th, b);
    int r = spy_target_read_spans(t, b->spans, b->n, &done);
    if (r < 0)
        *ret_bad = done >= fixed && done < n_places ? first + (done - fixed) : SIZE_MAX;
    return r;
}

static int copy_room(struct spy_py_places *places, struct spy_py_scratch *s)
{
    s->n_copy = spy_py_places_lay_out(places);
    return spy_grow(&s->copy, &s->copy_cap, s->n_copy, 1, SPY_PY_COPY_MAX);
}

int spy_py_batch_read(const struct spy_target *t, const struct spy_py_layout *l,
                      struct spy_py_thread *th, struct spy_py_scratch *s, bool twice,
                      struct spy_py_batch *b)
{
    b->n_again = 0;
    for (int tries = 0; tries <= SPY_PY_PLACES_MAX; tries++) {
        int r = copy_room(&th->places, s);
        if (r < 0)
            return r;
        if (twice)
            choose_again(l, th, b);
        size_t bad = SIZE_MAX;
        uint64_t before = spy_clock_mono_ns();
        r = read_all(t, l, th, s, b, &bad);
        b->took_ns = spy_clock_mono_ns() - before;
        if (r != SPY_ERR_TORN)
            return r;
        // A place that is not mapped any more (a chunk was given back), or a moved _PyCFrame.
        if (bad < th->places.n)
            spy_py_places_drop(&th->places, bad);
        else if (th->n_top)
            th->n_top = 0;
        else if (th->cframe)
            th->cframe = 0;
        else if (th->places.n)
            th->places.n = 0;
        else
            return SPY_ERR_TORN;
    }
    return SPY_ERR_TORN;
}

// --- comparing ---

// The second copy of the frame at addr, or NULL.
static const uint8_t *second_copy(const struct spy_py_layout *l, const struct spy_py_batch *b,
                                  uint64_t addr)
{
    for (size_t i = 0; i < b->n_again; i++) {
        uint64_t at = addr - b->again[i].addr;
        if (addr >= b->again[i].addr && at + l->f_size <= b->again[i].len)
            return (const uint8_t *)b->again[i].to + at;
    }
    return NULL;
}

// Both copies must show the same frame; the newest one may have gone on to another instruction.
static bool same_frame(const struct spy_py_layout *l, const uint8_t *f, const uint8_t *g,
                       bool newest)
{
    return spy_py_word(f + l->f_code) == spy_py_word(g + l->f_code) &&
           spy_py_word(f + l->f_previous) == spy_py_word(g + l->f_previous) &&
           spy_py_frame_owner(l, f) == spy_py_frame_owner(l, g) &&
           (newest || spy_py_frame_instruction(l, f) == spy_py_frame_instruction(l, g));
}

// Did the newest frame's variables or stack change between the copies? Nobody but its thread writes
// there.
static bool values_differ(const struct spy_py_layout *l, const struct spy_py_batch *b,
                          const struct spy_py_scratch *s, const struct spy_py_place *p,
                          uint64_t addr, const uint8_t *again)
{
    size_t from = (size_t)(addr - p->addr) + l->f_size, len = p->len - from;
    for (size_t i = 0; i < b->n_again; i++) {
        const uint8_t *start = b->again[i].to;
        if (again < start || again >= start + b->again[i].len)
            continue;
        size_t left = (size_t)(start + b->again[i].len - again) - l->f_size;
        return memcmp(s->copy + p->at + from, again + l->f_size, left < len ? left : len) != 0;
    }
    return false;
}

int spy_py_batch_compare(const struct spy_py_layout *l, const struct spy_py_batch *b,
                         const struct spy_py_thread *th, const struct spy_py_scratch *s,
                         bool *ret_moved)
{
    const struct spy_py_rec *newest = NULL; // on the data stack
    for (size_t i = 0, n = spy_py_depth(th, s); i < n; i++) {
        const struct spy_py_rec *rec = spy_py_rec_at(th, s, i);
        const struct spy_py_place *p = &th->places.list[rec->place];
        if (!newest && p->is_chunk)
            newest = rec;
        bool below = newest && p->is_chunk && rec->place == newest->place;
        // Further out nothing was read twice.
        bool near = below && newest->addr - rec->addr <= AGAIN_BELOW;
        if (i >= SPY_PY_TOP && (l->heap_frames || (newest && p->is_chunk && !near)))
            return 0;
        const uint8_t *f = s->copy + p->at + (rec->addr - p->addr);
        const uint8_t *again = second_copy(l, b, rec->addr);
        if (again && !same_frame(l, f, again, i == 0))
            return SPY_ERR_TORN;
        // A newest frame that does not run has ended, or is to begin or to end this very moment.
        if (i == 0 && !spy_py_frame_runs(l, f))
            return SPY_ERR_TORN;
        if (!again && (newest ? below && newest->addr - rec->addr < AGAIN_MUST : i < SPY_PY_TOP))
            return SPY_ERR_NOTFOUND;
        if (again && i == 0)
            *ret_moved = spy_py_frame_instruction(l, f) != spy_py_frame_instruction(l, again) ||
                         (newest && values_differ(l, b, s, p, rec->addr, again));
    }
    return 0;
}

bool spy_py_batch_same_current(const struct spy_py_layout *l, const struct spy_py_batch *b,
                               uint64_t cur)
{
    if (!keeps_popped(l))
        return true;
    if (l->heap_frames && spy_py_word(b->frame_last) != cur)
        return false;
    return spy_py_word(b->frame_before + (l->ts_cframe == SPY_PY_ABSENT ? 0 : l->ts_frame)) == cur;
}
