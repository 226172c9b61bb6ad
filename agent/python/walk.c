#include "agent/python/walk.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum {
    AGAIN_MAX = SPY_PY_TOP, // places read twice
    AGAIN_BELOW = 2048,     // of the data stack, around where the newest frame on it was
    AGAIN_ABOVE = 640,
    AGAIN_MUST = 1024, // so much below the newest frame must have been read twice
    SLOW_NS = 40000,   // a read that takes this long, and 1 ns a byte, was interrupted
    BOTTOM_SURE = 3,   // so often in a row an unknown outermost frame must be met
};

// One batch of spans: the thread state (and with it the current frame), the places where frames
// are, the current frame again, the newest frames again. That order is what makes the comparison
// sound. Where the current frame is the same before and after, it may have been popped and another
// pushed at its address meanwhile, and until that push the popped one's bytes stay as they were;
// but once the current frame has been read for the second time it is a live one, so that the bytes
// read after it are those of the live one. Frames further out than the second copy reaches cannot
// have been popped and pushed again within the few microseconds of one read; a read during which
// this program was preempted is not taken.
//
// Frames on a heap (up to 3.10) are a span each, and a program may go round a loop while they are
// copied. There the current frame is read a third time after the second copy: for a caller to be
// copied twice as it was after the newest frame had ended, the program would have to go round
// twice.
struct batch {
    uint8_t tstate[512], cframe[16], gil[24], frame_again[16], top_again[SPY_PY_AGAIN];
    uint64_t head, cframe_again, frame_at_last, code_generation;
    uint32_t collecting, tlbc_generation;
    struct spy_span again[AGAIN_MAX]; // into top_again
    size_t n_again;
    uint64_t took_ns; // of the read
    struct spy_span spans[SPY_SPANS_MAX];
    size_t n;
};

static uint64_t word(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static void span(struct batch *b, uint64_t addr, void *to, size_t len)
{
    b->spans[b->n++] = (struct spy_span){addr, to, len};
}

static int copy_room(struct spy_py_thread *th, struct spy_py_scratch *s)
{
    size_t total = 0;
    for (size_t i = 0; i < th->n_places; i++) {
        th->places[i].at = (uint32_t)total;
        total += th->places[i].len;
    }
    s->n_copy = total;
    return spy_grow(&s->copy, &s->copy_cap, total, 1, SPY_PY_COPY_MAX);
}

static void read_again(struct batch *b, uint64_t addr, size_t len)
{
    size_t used = 0;
    for (size_t i = 0; i < b->n_again; i++)
        used += b->again[i].len;
    if (b->n_again < AGAIN_MAX && used + len <= sizeof b->top_again)
        b->again[b->n_again++] = (struct spy_span){addr, b->top_again + used, len};
}

// The newest frames as the last walk met them: those outside of the data stack, and then the part
// of the stack around the newest frame on it.
static void choose_again(const struct spy_py_layout *l, const struct spy_py_thread *th,
                         struct batch *b)
{
    b->n_again = 0;
    for (size_t k = 0; k < th->n_top; k++)
        for (size_t i = 0; i < th->n_places; i++) {
            const struct spy_py_place *p = &th->places[i];
            uint64_t at = th->top[k] - p->addr;
            if (th->top[k] < p->addr || at + l->f_size > p->room)
                continue;
            if (!p->is_chunk) {
                read_again(b, th->top[k], l->f_size);
                break;
            }
            uint64_t from = at < AGAIN_BELOW ? 0 : at - AGAIN_BELOW, to = at + AGAIN_ABOVE;
            read_again(b, p->addr + from, (to < p->room ? to : p->room) - from);
            return;
        }
}

// Flushes full batches; a stack with more places than one call takes is then not one instant any
// more, which the comparison at the end judges.
static int read_places(const struct spy_target *t, const struct spy_py_layout *l,
                       struct spy_py_thread *th, const struct spy_py_scratch *s, struct batch *b,
                       size_t *ret_bad)
{
    bool cframe = l->ts_cframe != SPY_PY_ABSENT;
    enum { RESERVED = AGAIN_MAX + 5 };
    size_t first = 0, fixed = b->n, done;
    for (size_t i = 0; i < th->n_places; i++) {
        span(b, th->places[i].addr, s->copy + th->places[i].at, th->places[i].len);
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
    size_t n_places = b->n - fixed;
    if (cframe)
        span(b, th->tstate + l->ts_cframe, &b->cframe_again, sizeof b->cframe_again);
    if (cframe && th->cframe)
        span(b, th->cframe, b->frame_again, 16);
    if (!cframe)
        span(b, th->tstate + l->ts_frame, b->frame_again, 8);
    for (size_t i = 0; i < b->n_again; i++)
        b->spans[b->n++] = b->again[i];
    if (l->heap_frames)
        span(b, th->tstate + l->ts_frame, &b->frame_at_last, sizeof b->frame_at_last);
    if (l->interp_code_generation != SPY_PY_ABSENT)
        span(b, th->interp + l->interp_code_generation, &b->code_generation,
             sizeof b->code_generation);
    if (l->interp_tlbc_generation != SPY_PY_ABSENT)
        span(b, th->interp + l->interp_tlbc_generation, &b->tlbc_generation,
             sizeof b->tlbc_generation);
    int r = spy_target_read_spans(t, b->spans, b->n, &done);
    if (r < 0)
        *ret_bad = done >= fixed && done < fixed + n_places ? first + (done - fixed) : SIZE_MAX;
    return r;
}

static void drop_place(struct spy_py_thread *th, size_t i)
{
    memmove(&th->places[i], &th->places[i + 1], (--th->n_places - i) * sizeof *th->places);
}

static int snapshot(const struct spy_target *t, const struct spy_py_layout *l,
                    struct spy_py_thread *th, struct spy_py_scratch *s, struct batch *b)
{
    for (int tries = 0; tries <= SPY_PY_PLACES_MAX; tries++) {
        int r = copy_room(th, s);
        if (r < 0)
            return r;
        b->n = 0;
        choose_again(l, th, b);
        if (th->gil)
            span(b, th->gil, b->gil, l->runtime_is_head ? sizeof(uint64_t) : sizeof b->gil);
        if (th->collecting)
            span(b, th->collecting, &b->collecting, sizeof b->collecting);
        span(b, th->interp + l->interp_threads_head, &b->head, sizeof b->head);
        span(b, th->tstate, b->tstate, l->ts_size);
        bool cframe = l->ts_cframe != SPY_PY_ABSENT;
        if (cframe && th->cframe)
            span(b, th->cframe, b->cframe, sizeof b->cframe);
        size_t bad = SIZE_MAX;
        uint64_t before = spy_clock_mono_ns();
        r = read_places(t, l, th, s, b, &bad);
        b->took_ns = spy_clock_mono_ns() - before;
        if (r != SPY_ERR_TORN)
            return r;
        // A place that is not mapped any more (a chunk was given back), or a moved _PyCFrame.
        if (bad < th->n_places)
            drop_place(th, bad);
        else if (th->n_top)
            th->n_top = 0;
        else if (th->cframe)
            th->cframe = 0;
        else if (th->n_places)
            th->n_places = 0;
        else
            return SPY_ERR_TORN;
    }
    return SPY_ERR_TORN;
}

static int add_place(struct spy_py_thread *th, uint64_t addr, uint64_t len, uint64_t room,
                     bool is_chunk)
{
    int r = spy_grow(&th->places, &th->places_cap, th->n_places + 1, sizeof *th->places,
                     SPY_PY_PLACES_MAX);
    if (r < 0)
        return r == SPY_ERR_LIMIT ? SPY_ERR_TORN : r;
    th->places[th->n_places++] = (struct spy_py_place){.addr = addr,
                                                       .len = (uint32_t)(len < room ? len : room),
                                                       .room = (uint32_t)room,
                                                       .is_chunk = is_chunk};
    return 0;
}

// A frame by itself. Those of a heap lie close together, and one long read is cheaper than many
// short ones: it is joined with one that lies near.
static int add_frame(const struct spy_py_layout *l, struct spy_py_thread *th, uint64_t addr)
{
    enum { NEAR = 1024, TOGETHER = 32768 };
    for (size_t i = 0; l->heap_frames && i < th->n_places; i++) {
        struct spy_py_place *p = &th->places[i];
        uint64_t end = p->addr + p->len, from = addr < p->addr ? addr : p->addr;
        uint64_t to = addr + l->f_size > end ? addr + l->f_size : end;
        if (addr + l->f_size + NEAR < p->addr || addr > end + NEAR || to - from > TOGETHER)
            continue;
        p->addr = from;
        p->len = p->room = (uint32_t)(to - from);
        return 0;
    }
    return add_place(th, addr, l->f_size, l->f_size, false);
}

static struct spy_py_place *place_of(struct spy_py_thread *th, uint64_t addr, uint32_t size,
                                     size_t *hint)
{
    for (size_t i = 0; i < th->n_places; i++) {
        size_t k = (i + *hint) % th->n_places;
        struct spy_py_place *p = &th->places[k];
        if (addr >= p->addr && addr - p->addr + size <= p->len) {
            *hint = k;
            return p;
        }
    }
    return NULL;
}

// On a heap each frame is somewhere else: follows them one by one to those that are known.
static int add_frames(const struct spy_target *t, const struct spy_py_layout *l,
                      struct spy_py_thread *th, uint64_t addr)
{
    size_t hint = 0;
    for (int i = 0; addr && i < SPY_PY_DEPTH_MAX && !place_of(th, addr, l->f_size, &hint); i++) {
        uint64_t previous;
        if (spy_target_read_u64(t, addr + l->f_previous, &previous) < 0)
            return i ? 0 : SPY_ERR_TORN;
        int r = add_frame(l, th, addr);
        if (r < 0)
            return r;
        addr = previous;
    }
    return 0;
}

// The walk came to a frame at addr that is not in the copy: where is it? In a chunk that is read
// already but not far enough, in another chunk, or by itself.
static int learn_place(const struct spy_target *t, const struct spy_py_layout *l,
                       struct spy_py_thread *th, uint64_t chunk, uint64_t addr)
{
    for (size_t i = 0; i < th->n_places; i++) {
        struct spy_py_place *p = &th->places[i];
        if (p->is_chunk && addr >= p->addr && addr - p->addr < p->room) {
            uint64_t need = addr - p->addr + l->f_size + SPY_PY_SLACK;
            p->len = (uint32_t)(need < p->room ? need : p->room);
            return addr - p->addr + l->f_size <= p->len ? 0 : SPY_ERR_TORN;
        }
    }
    for (int i = 0; chunk && i < SPY_PY_PLACES_MAX; i++) {
        uint64_t head[3];
        if (spy_target_read(t, chunk, head, sizeof head) < 0)
            return SPY_ERR_TORN;
        uint64_t size = head[SPY_CHUNK_SIZE / 8];
        if (size < SPY_PY_CHUNK || size > SPY_PY_COPY_MAX)
            return SPY_ERR_TORN;
        if (addr >= chunk && addr - chunk < size)
            return add_place(th, chunk, addr - chunk + l->f_size + SPY_PY_SLACK, size, true);
        chunk = head[SPY_CHUNK_PREVIOUS / 8];
    }
    return l->heap_frames ? add_frames(t, l, th, addr) : add_frame(l, th, addr);
}

// The second copy of the frame at addr, or NULL.
static const uint8_t *second_copy(const struct spy_py_layout *l, const struct batch *b,
                                  uint64_t addr)
{
    for (size_t i = 0; i < b->n_again; i++) {
        uint64_t at = addr - b->again[i].addr;
        if (addr >= b->again[i].addr && at + l->f_size <= b->again[i].len)
            return (const uint8_t *)b->again[i].to + at;
    }
    return NULL;
}

static uint8_t owner(const struct spy_py_layout *l, const uint8_t *f)
{
    return l->f_owner == SPY_PY_ABSENT ? 0 : f[l->f_owner];
}

static int32_t tlbc(const struct spy_py_layout *l, const uint8_t *f)
{
    int32_t index = 0;
    if (l->f_tlbc != SPY_PY_ABSENT)
        memcpy(&index, f + l->f_tlbc, sizeof index);
    return index;
}

// f_lasti is an int, -1 where nothing has run yet.
static uint64_t instruction(const struct spy_py_layout *l, const uint8_t *f)
{
    int32_t lasti;
    if (!l->lasti_bytes)
        return word(f + l->f_ip);
    memcpy(&lasti, f + l->f_ip, sizeof lasti);
    return (uint64_t)(int64_t)lasti;
}

// Both copies must show the same frame; the newest one may have gone on to another instruction.
static bool same_frame(const struct spy_py_layout *l, const uint8_t *f, const uint8_t *g,
                       bool newest)
{
    return word(f + l->f_code) == word(g + l->f_code) &&
           word(f + l->f_previous) == word(g + l->f_previous) && owner(l, f) == owner(l, g) &&
           (newest || instruction(l, f) == instruction(l, g));
}

// Judges the walked chain by the second copy. The newest frames must be in it, down to AGAIN_MUST
// below the newest one on the data stack: NOTFOUND when they are not, so that the next read has
// them.
static int compare(const struct spy_py_layout *l, const struct batch *b,
                   const struct spy_py_thread *th, const struct spy_py_scratch *s)
{
    const struct spy_py_rec *newest = NULL; // on the data stack
    for (size_t i = 0; i < s->n; i++) {
        const struct spy_py_rec *rec = &s->recs[i];
        const struct spy_py_place *p = &th->places[rec->place];
        const uint8_t *again = second_copy(l, b, rec->addr);
        if (again && !same_frame(l, s->copy + p->at + (rec->addr - p->addr), again, i == 0))
            return SPY_ERR_TORN;
        if (!newest && p->is_chunk)
            newest = rec;
        bool must = newest ? p->is_chunk && rec->place == newest->place &&
                                 newest->addr - rec->addr < AGAIN_MUST
                           : i < SPY_PY_TOP;
        if (!again && must)
            return SPY_ERR_NOTFOUND;
    }
    return 0;
}

static int push_rec(const struct spy_py_layout *l, struct spy_py_thread *th,
                    struct spy_py_scratch *s, uint64_t addr, struct spy_py_place *p,
                    const uint8_t *f)
{
    int r = spy_grow(&s->recs, &s->cap, s->n + 1, sizeof *s->recs, SPY_PY_DEPTH_MAX);
    if (r < 0)
        return r;
    uint32_t end = (uint32_t)(addr - p->addr) + l->f_size;
    p->used = end > p->used ? end : p->used;
    if (s->n < SPY_PY_TOP)
        th->top[th->n_top++] = addr;
    s->recs[s->n++] = (struct spy_py_rec){.addr = addr,
                                          .code = word(f + l->f_code) & ~(uint64_t)l->f_code_tag,
                                          .ip = instruction(l, f),
                                          .place = (uint32_t)(p - th->places),
                                          .tlbc = tlbc(l, f),
                                          .owner = owner(l, f)};
    return 0;
}

// Walks from cur outwards. *ret_miss is the frame that is not in the copy, with SPY_ERR_NOTFOUND.
static int walk_copy(const struct spy_py_layout *l, struct spy_py_thread *th,
                     struct spy_py_scratch *s, uint64_t cur, bool checked, uint64_t *ret_miss)
{
    size_t hint = 0;
    s->n = 0;
    s->truncated = false;
    th->n_top = 0;
    for (size_t i = 0; i < th->n_places; i++)
        th->places[i].used = 0;
    uint64_t base = l->ts_base == SPY_PY_ABSENT ? 0 : th->tstate + l->ts_base;
    while (cur && cur != base) {
        if (s->n == SPY_PY_DEPTH_MAX) {
            s->truncated = true;
            return 0;
        }
        struct spy_py_place *p = place_of(th, cur, l->f_size, &hint);
        if (!p) {
            *ret_miss = cur;
            return SPY_ERR_NOTFOUND;
        }
        const uint8_t *f = s->copy + p->at + (cur - p->addr);
        // Whoever has called another runs. The newest may just begin or end, but what does not run
        // may also be a generator that another read later found running again.
        if ((s->n || checked) && l->f_executing != SPY_PY_ABSENT &&
            f[l->f_executing] != l->executing)
            return SPY_ERR_TORN;
        int r = push_rec(l, th, s, cur, p, f);
        if (r < 0)
            return r;
        uint64_t previous = word(f + l->f_previous);
        if (previous == cur || (previous & 7))
            return SPY_ERR_TORN;
        cur = previous;
    }
    return 0;
}

// Where the walk starts. NOTFOUND: the _PyCFrame is not where it was; th->cframe is right now.
static int current_frame(const struct spy_py_layout *l, const struct batch *b,
                         struct spy_py_thread *th, uint64_t *ret)
{
    if (l->ts_cframe == SPY_PY_ABSENT) {
        *ret = word(b->tstate + l->ts_frame);
        return 0;
    }
    uint64_t cframe = word(b->tstate + l->ts_cframe);
    if (!cframe)
        return SPY_ERR_TORN;
    if (cframe != th->cframe) {
        th->cframe = cframe;
        return SPY_ERR_NOTFOUND;
    }
    *ret = word(b->cframe + l->ts_frame);
    return 0;
}

static bool same_current(const struct spy_py_layout *l, const struct batch *b, uint64_t cur)
{
    if (l->heap_frames && b->frame_at_last != cur)
        return false;
    if (l->ts_cframe == SPY_PY_ABSENT)
        return word(b->frame_again) == cur;
    return b->cframe_again == word(b->tstate + l->ts_cframe) &&
           word(b->frame_again + l->ts_frame) == cur;
}

// Frames on a heap take a span each, so a read of them takes long enough for a program to go round
// a loop: twice the time that such a read can take is too much.
static bool is_slow(const struct spy_py_layout *l, struct spy_py_thread *th,
                    const struct spy_py_scratch *s, const struct batch *b)
{
    enum { CALL_NS = 1500, SPAN_NS = 350, BYTES_A_NS = 16, NOMINAL = 1024, LEAST = 128 };
    if (b->took_ns > SLOW_NS + s->n_copy)
        return true;
    if (!l->heap_frames)
        return false;
    uint64_t expected = CALL_NS + b->n * SPAN_NS + s->n_copy / BYTES_A_NS;
    uint32_t pace = (uint32_t)(b->took_ns * NOMINAL / expected) + LEAST;
    th->pace += th->pace / 256 + 1; // the machine may have become slower
    if (!th->pace_known || pace < th->pace)
        th->pace = pace;
    th->pace_known = true;
    return pace > 2 * th->pace;
}

// A frame that has ended has no caller, and in 2.7 nothing else tells that it has ended: a stack
// that is cut there has another outermost frame than the thread has had, but seldom the same twice.
static bool is_bottom(const struct spy_py_layout *l, struct spy_py_thread *th,
                      const struct spy_py_scratch *s, bool checked)
{
    if (!l->heap_frames || l->f_executing != SPY_PY_ABSENT || !s->n || s->truncated)
        return true;
    uint64_t bottom = s->recs[s->n - 1].addr;
    if (bottom != th->bottom)
        th->bottom_seen = 0;
    th->bottom = bottom;
    th->bottom_seen = checked ? th->bottom_seen + (th->bottom_seen < BOTTOM_SURE) : BOTTOM_SURE;
    return th->bottom_seen == BOTTOM_SURE;
}

static int walk_once(const struct spy_target *t, const struct spy_py_layout *l,
                     struct spy_py_thread *th, struct spy_py_scratch *s, bool checked,
                     struct batch *b)
{
    uint64_t cur, miss = 0;
    int r = snapshot(t, l, th, s, b);
    if (r < 0)
        return r;
    if (word(b->tstate + l->ts_interp) != th->interp)
        return SPY_ERR_GONE; // the thread state was freed
    r = current_frame(l, b, th, &cur);
    if (r < 0)
        return r;
    if (checked && is_slow(l, th, s, b))
        return SPY_ERR_AGAIN;
    if (checked && !same_current(l, b, cur))
        return SPY_ERR_TORN;
    r = walk_copy(l, th, s, cur, checked, &miss);
    if (r == 0 && checked)
        r = compare(l, b, th, s);
    if (r == 0)
        return is_bottom(l, th, s, checked) ? 0 : SPY_ERR_TORN;
    if (r == SPY_ERR_NOTFOUND) {
        uint64_t chunk = l->heap_frames ? 0 : word(b->tstate + l->ts_chunk);
        int learned = learn_place(t, l, th, chunk, miss);
        return learned < 0 ? learned : SPY_ERR_NOTFOUND;
    }
    return r;
}

// In 2.7 and 3.6 th->gil is _PyThreadState_Current.
static bool holds_gil(const struct spy_py_layout *l, const struct spy_py_thread *th,
                      const uint8_t *gil)
{
    uint32_t locked;
    if (l->runtime_is_head)
        return word(gil) == th->tstate;
    memcpy(&locked, gil + SPY_GIL_LOCKED, sizeof locked);
    return locked == 1 && word(gil + SPY_GIL_HOLDER) == th->tstate;
}

int spy_py_walk(const struct spy_target *t, const struct spy_py_layout *l, struct spy_py_thread *th,
                struct spy_py_scratch *s, bool checked, struct spy_py_facts *ret)
{
    struct batch b;
    b.tlbc_generation = 0;
    int r = SPY_ERR_NOTFOUND;
    // A deep stack met for the first time needs a turn for each of its chunks and generators.
    for (int i = 0;
         r == SPY_ERR_NOTFOUND && i < SPY_PY_MISSES + (th->has_stack ? 0 : SPY_PY_PLACES_MAX); i++)
        r = walk_once(t, l, th, s, checked, &b);
    if (r < 0)
        return r == SPY_ERR_NOTFOUND ? SPY_ERR_TORN : r;
    s->tlbc_generation = b.tlbc_generation;
    *ret = (struct spy_py_facts){
        .next = word(b.tstate + l->ts_next),
        .head = b.head,
        .holds_gil = th->gil && holds_gil(l, th, b.gil),
        .collecting = th->collecting && b.collecting == 1,
        .code_generation = l->interp_code_generation == SPY_PY_ABSENT ? 0 : b.code_generation + 1,
    };
    return 0;
}

void spy_py_places_fit(struct spy_py_thread *th)
{
    enum { IDLE_WALKS = 16 };
    for (size_t i = th->n_places; i-- > 0;) {
        struct spy_py_place *p = &th->places[i];
        if (p->used) {
            p->idle = 0;
            uint32_t want = p->used + SPY_PY_SLACK;
            if (p->is_chunk && want + SPY_PY_AGAIN < p->len)
                p->len = want;
            else if (p->is_chunk && want > p->len)
                p->len = want < p->room ? want : p->room;
        } else if (++p->idle > IDLE_WALKS) {
            drop_place(th, i);
        } else if (p->is_chunk && p->len > SPY_PY_SLACK) {
            p->len = SPY_PY_SLACK; // kept for when the stack grows into it again
        }
    }
}
