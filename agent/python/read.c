#include "agent/python/read.h"
#include "agent/python/frame.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <string.h>

enum {
    AGAIN_BELOW = 2048, // bytes of the data stack around the place of the newest frame on it
    AGAIN_ABOVE = 640,
    AGAIN_MUST = 1024, // bytes below the newest frame that must have been read twice
};

// Reads the gathered spans. *ret_bad: the place that is not mapped; UINT32_MAX: something else is
// not.
static int flush_spans(const struct spy_target *t, struct spy_py_read *b, uint32_t *ret_bad)
{
    size_t done = 0;
    int r = spy_target_read_spans(t, b->spans, b->n, &done);
    if (r < 0)
        *ret_bad = done < b->n ? b->place[done] : UINT32_MAX;
    b->n = 0;
    return r;
}

static int gather_span(const struct spy_target *t, struct spy_py_read *b, uint32_t place,
                       struct spy_span span, uint32_t *ret_bad)
{
    int r = b->n == SPY_SPANS_MAX ? flush_spans(t, b, ret_bad) : 0;
    b->place[b->n] = place;
    b->spans[b->n++] = span;
    return r;
}

// --- reading ---

// Adds a span to read again. Joins it with a span nearby: the gap is shorter than a page, and
// therefore mapped.
static void add_again(struct spy_py_read *b, uint64_t addr, size_t len)
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

// Chooses the newest frames of the last unwind: those outside the data stack, and then the part of
// the data stack around the newest frame on it.
static void choose_again(const struct spy_py_layout *l, const struct spy_py_thread *th,
                         struct spy_py_read *b)
{
    bool done = false;
    for (size_t k = 0; k < th->learned.n_top && !done; k++) {
        size_t i = spy_py_places_before(&th->learned.places, th->learned.top[k]);
        if (i == SIZE_MAX)
            continue;
        const struct spy_py_place *p = &th->learned.places.list[i];
        uint64_t at = th->learned.top[k] - p->addr;
        if (at + l->f_size > p->room)
            continue;
        if (!p->is_chunk) { // with what a compiled frame lies in
            uint64_t most = l->f_object == SPY_PY_ABSENT ? 0u : (uint64_t)l->fo_data + l->f_size;
            uint64_t inset = at < most ? at : most;
            add_again(b, th->learned.top[k] - inset, inset + l->f_size);
            continue;
        }
        uint64_t from = at < AGAIN_BELOW ? 0 : at - AGAIN_BELOW, to = at + AGAIN_ABOVE;
        add_again(b, p->addr + from, (to < p->room ? to : p->room) - from);
        done = true;
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

static int gather_places(const struct spy_target *t, const struct spy_py_thread *th, uint8_t *copy,
                         struct spy_py_read *b, uint32_t *ret_bad)
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < th->learned.places.n; i++) {
        const struct spy_py_place *p = &th->learned.places.list[i];
        r = gather_span(t, b, i, (struct spy_span){p->addr, copy + p->at, p->len}, ret_bad);
    }
    return r;
}

static int gather_facts(const struct spy_target *t, const struct spy_py_thread *th,
                        struct spy_py_read *b, uint32_t *ret_bad)
{
    size_t used = 0;
    int r = 0;
    for (size_t i = 0; r == 0 && i < th->id.facts.n; i++) {
        const struct spy_span *s = &th->id.facts.spans[i];
        r = gather_span(t, b, UINT32_MAX, (struct spy_span){s->addr, b->facts + used, s->len},
                        ret_bad);
        used += s->len;
    }
    return r;
}

// Nearly always one call. A stack in more pieces than one call takes is not read at one instant;
// the comparison decides whether it is valid.
static int read_all(const struct spy_target *t, const struct spy_py_layout *l,
                    struct spy_py_thread *th, const struct spy_py_scratch *s, struct spy_py_read *b,
                    uint32_t *ret_bad)
{
    const struct spy_span none = {0};
    struct spy_span before = none, cframe = none, last = none;
    bool has_cframe = l->ts_cframe != SPY_PY_ABSENT && th->learned.cframe;
    if (l->ts_cframe == SPY_PY_ABSENT && spy_py_keeps_popped(l))
        before = (struct spy_span){th->id.tstate + l->ts_frame, b->frame_before, 8};
    else if (spy_py_keeps_popped(l) && th->learned.cframe)
        before = (struct spy_span){th->learned.cframe, b->frame_before, sizeof b->frame_before};
    if (has_cframe)
        cframe = (struct spy_span){th->learned.cframe, b->cframe,
                                   l->cframe_previous == SPY_PY_ABSENT ? 16 : 24};
    if (l->heap_frames)
        last = (struct spy_span){th->id.tstate + l->ts_frame, b->frame_last, sizeof b->frame_last};
    b->n = 0;
    int r = before.len ? gather_span(t, b, UINT32_MAX, before, ret_bad) : 0;
    if (r == 0)
        r = gather_places(t, th, s->copy, b, ret_bad);
    if (r == 0)
        r = gather_span(t, b, UINT32_MAX, (struct spy_span){th->id.tstate, b->tstate, l->ts_size},
                        ret_bad);
    if (r == 0 && cframe.len)
        r = gather_span(t, b, UINT32_MAX, cframe, ret_bad);
    if (r == 0 && b->whole)
        r = gather_places(t, th, s->copy + s->n_copy, b, ret_bad);
    for (size_t i = 0; r == 0 && i < b->n_again; i++)
        r = gather_span(t, b, UINT32_MAX, b->again[i], ret_bad);
    if (r == 0 && last.len)
        r = gather_span(t, b, UINT32_MAX, last, ret_bad);
    if (r == 0)
        r = gather_facts(t, th, b, ret_bad);
    return r < 0 ? r : flush_spans(t, b, ret_bad);
}

// Makes room for one copy, or for two if the read takes long.
static int make_room_for_copy(struct spy_py_places *places, struct spy_py_scratch *s, bool twice,
                              struct spy_py_read *b)
{
    enum { LONG_BYTES = 65536, LONG_PIECES = 48 };
    s->n_copy = spy_py_places_lay_out(places);
    b->whole = twice && (s->n_copy > LONG_BYTES || places->n > LONG_PIECES);
    return spy_grow(&s->copy, &s->copy_cap, s->n_copy << b->whole, 1, 2 * SPY_PY_COPY_MAX);
}

// Forgets a place that is no longer mapped. *bad counts them: if a whole part of the stack is gone,
// all places are learned again, which takes fewer reads.
static int drop_unmapped(struct spy_py_thread *th, uint32_t place, int *bad)
{
    enum { BAD_MAX = 4 };
    if (place < th->learned.places.n &&
        ++*bad <= BAD_MAX) // a chunk was given back, a generator freed
        spy_py_places_drop(&th->learned.places, place);
    else if (place < th->learned.places.n)
        spy_py_places_clear(&th->learned.places);
    else if (th->learned.n_top)
        th->learned.n_top = 0;
    else if (th->learned.cframe) // a _PyCFrame that moved
        th->learned.cframe = 0;
    else if (th->learned.places.n)
        spy_py_places_clear(&th->learned.places);
    else
        return SPY_ERR_TORN;
    return 0;
}

int spy_py_read_frames(const struct spy_target *t, const struct spy_py_layout *l,
                       struct spy_py_thread *th, struct spy_py_scratch *s, bool twice,
                       struct spy_py_read *b)
{
    int bad = 0, r = 0;
    while (r == 0) {
        uint32_t place = UINT32_MAX;
        r = make_room_for_copy(&th->learned.places, s, twice, b);
        if (r == SPY_ERR_LIMIT) // chunks have grown past the bound
            spy_py_places_clear(&th->learned.places);
        if (r < 0)
            return r == SPY_ERR_LIMIT ? SPY_ERR_NOTFOUND : r;
        b->n_again = 0;
        if (twice && !b->whole)
            choose_again(l, th, b);
        uint64_t before = spy_clock_mono_ns();
        r = read_all(t, l, th, s, b, &place);
        b->took_ns = spy_clock_mono_ns() - before;
        if (r != SPY_ERR_TORN)
            return r;
        r = drop_unmapped(th, place, &bad);
    }
    return r;
}

// --- comparing ---

// The second copy of the frame, with `inset` bytes before it, or NULL; *ret_len is the number of
// bytes from the frame on.
static const uint8_t *second_copy(const struct spy_py_layout *l, const struct spy_py_read *b,
                                  const struct spy_py_scratch *s, const struct spy_py_place *p,
                                  uint64_t addr, uint64_t inset, size_t *ret_len)
{
    if (b->whole) {
        *ret_len = p->len - (size_t)(addr - p->addr);
        return s->copy + s->n_copy + p->at + (addr - p->addr);
    }
    for (size_t i = 0; i < b->n_again; i++) {
        uint64_t at = addr - b->again[i].addr;
        if (addr < b->again[i].addr || at < inset || at + l->f_size > b->again[i].len)
            continue;
        *ret_len = b->again[i].len - (size_t)at;
        return (const uint8_t *)b->again[i].to + at;
    }
    return NULL;
}

// True if both copies show the same frame. The newest frame may have reached another instruction.
static bool copies_agree(const struct spy_py_layout *l, const uint8_t *f, const uint8_t *g,
                         bool newest)
{
    return spy_py_word(f, l->f_code) == spy_py_word(g, l->f_code) &&
           spy_py_word(f, l->f_previous) == spy_py_word(g, l->f_previous) &&
           spy_py_frame_owner(l, f) == spy_py_frame_owner(l, g) &&
           (newest || spy_py_frame_instruction(l, f) == spy_py_frame_instruction(l, g));
}

// True if a compiled frame is at the same line in its second copy.
static bool lines_agree(const struct spy_py_layout *l, const struct spy_py_rec *rec,
                        const uint8_t *again, uint64_t inset)
{
    return spy_py_frame_inset(l, rec->addr, again) == inset &&
           spy_py_frame_is_compiled(l, rec->addr, again, inset) &&
           spy_py_frame_own_line(l, again, inset) == rec->ip;
}

// True if the newest frame's variables or stack changed between the copies. Only its thread writes
// there.
static bool values_differ(const struct spy_py_layout *l, const uint8_t *f, size_t len,
                          const uint8_t *again, size_t len_again)
{
    len = len < len_again ? len : len_again;
    return memcmp(f + l->f_size, again + l->f_size, len - l->f_size) != 0;
}

int spy_py_read_compare(const struct spy_py_layout *l, const struct spy_py_read *b,
                        const struct spy_py_thread *th, const struct spy_py_scratch *s,
                        bool *ret_moved)
{
    const struct spy_py_rec *newest = NULL; // on the data stack
    for (size_t i = 0, n = spy_py_depth(th, s); i < n; i++) {
        const struct spy_py_rec *rec = spy_py_rec_at(th, s, i);
        const struct spy_py_place *p = &th->learned.places.list[rec->place];
        if (!newest && p->is_chunk)
            newest = rec;
        bool below = newest && p->is_chunk && rec->place == newest->place;
        // Frames further out were not read twice.
        bool near = below && newest->addr - rec->addr <= AGAIN_BELOW;
        if (!b->whole && i >= SPY_PY_TOP && (l->heap_frames || (newest && p->is_chunk && !near)))
            return 0;
        size_t len = 0, at = (size_t)(rec->addr - p->addr);
        const uint8_t *f = s->copy + p->at + at;
        bool compiled = rec->owner == SPY_PY_OWNER_OBJECT;
        uint64_t inset = compiled ? spy_py_frame_inset(l, rec->addr, f) : 0;
        const uint8_t *again = second_copy(l, b, s, p, rec->addr, inset, &len);
        if (again && !copies_agree(l, f, again, i == 0))
            return SPY_ERR_TORN;
        if (again && compiled && i && !lines_agree(l, rec, again, inset))
            return SPY_ERR_TORN;
        // A newest frame that does not run has ended, or is just beginning or ending.
        if (i == 0 && !compiled && !spy_py_frame_runs(l, f))
            return SPY_ERR_TORN;
        if (!again && (newest ? below && newest->addr - rec->addr < AGAIN_MUST : i < SPY_PY_TOP))
            return SPY_ERR_NOTFOUND;
        if (again && i == 0)
            *ret_moved = (compiled && !lines_agree(l, rec, again, inset)) ||
                         spy_py_frame_instruction(l, f) != spy_py_frame_instruction(l, again) ||
                         (newest && values_differ(l, f, p->len - at, again, len));
    }
    return 0;
}

bool spy_py_read_frame_stayed(const struct spy_py_layout *l, const struct spy_py_read *b,
                              const struct spy_py_thread *th, const struct spy_py_scratch *s,
                              const struct spy_py_rec *rec)
{
    const struct spy_py_place *p = &th->learned.places.list[rec->place];
    size_t len;
    const uint8_t *f = s->copy + p->at + (rec->addr - p->addr);
    bool compiled = rec->owner == SPY_PY_OWNER_OBJECT;
    uint64_t inset = compiled ? spy_py_frame_inset(l, rec->addr, f) : 0;
    const uint8_t *again = second_copy(l, b, s, p, rec->addr, inset, &len);
    return !again ||
           (copies_agree(l, f, again, false) && (!compiled || lines_agree(l, rec, again, inset)));
}

bool spy_py_read_frame_ran(const struct spy_py_layout *l, const struct spy_py_read *b,
                           const struct spy_py_thread *th, const struct spy_py_scratch *s,
                           const struct spy_py_rec *rec)
{
    const struct spy_py_place *p = &th->learned.places.list[rec->place];
    size_t len;
    if (l->f_executing == SPY_PY_ABSENT)
        return true;
    const uint8_t *again = second_copy(l, b, s, p, rec->addr, 0, &len);
    return spy_py_frame_runs(l, s->copy + p->at + (rec->addr - p->addr)) &&
           (!again || spy_py_frame_runs(l, again));
}

bool spy_py_read_same_current(const struct spy_py_layout *l, const struct spy_py_read *b,
                              uint64_t cur)
{
    if (!spy_py_keeps_popped(l))
        return true;
    if (l->heap_frames && spy_py_word(b->frame_last, 0) != cur)
        return false;
    return spy_py_word(b->frame_before, (l->ts_cframe == SPY_PY_ABSENT ? 0 : l->ts_frame)) == cur;
}
