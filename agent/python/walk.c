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
    NEAR = 2048,       // what lies as close together is read in one piece: a span costs more
    SLOW_NS = 40000,   // a read that takes this long, and 1 ns a byte, was interrupted
    SLOWER_NS = 2000,  // and one that takes so much longer than twice the usual
    BOTTOM_SURE = 3,   // so often in a row an unknown outermost frame must be met
};

// One batch of spans: the places where frames are, the thread state (and with it the current
// frame), the newest frames again. That order is what makes the comparison sound. The current frame
// is a live one when the thread state is read, and what is read after that are the bytes of the
// live one and of its callers. Where they say what the first copy said, all that the first copy
// shows is what called them: a frame that was popped and pushed again between the two reads was
// called from the same instruction of the same caller. Frames further out than the second copy
// reaches cannot have been popped and pushed again within the few microseconds of one read; a read
// during which this program was preempted is not taken.
// Before 3.14 a frame that was popped looks like a live one (later its code field is cleared), so
// that a program which comes by the same places again within the time of one read could show a
// popped one twice, and as the current one in between: there the current frame is read first, too.
// Up to 3.10 frames lie on a heap and are a span each, which takes long enough to go round a loop:
// there the current frame is read last, too. For a caller to be copied twice as it was after the
// newest frame had ended, the program would have to go round twice.
struct batch {
    struct spy_span again[AGAIN_MAX]; // into top_again
    size_t n_again;
    uint64_t took_ns; // of the read
    size_t n;
    uint8_t cframe[16], frame_before[16], frame_last[8];
    struct spy_span spans[SPY_SPANS_MAX];
    uint8_t facts[SPY_FACTS * SPY_PY_FACTS + 8];
    uint8_t tstate[512], top_again[SPY_PY_AGAIN];
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

// --- facts ---

void spy_py_facts_plan(const struct spy_py_layout *l, struct spy_py_thread *th)
{
    struct spy_py_facts_plan *plan = &th->facts;
    uint64_t generation = l->interp_next_version ? th->interp + l->interp_next_version
                          : l->interp_code_generation == SPY_PY_ABSENT
                              ? 0
                              : th->interp + l->interp_code_generation;
    uint64_t tlbc =
        l->interp_tlbc_generation == SPY_PY_ABSENT ? 0 : th->interp + l->interp_tlbc_generation;
    const struct spy_span want[SPY_FACTS] = {
        [SPY_FACT_HEAD] = {.addr = th->interp + l->interp_threads_head, .len = 8},
        [SPY_FACT_GIL] = {.addr = th->gil, .len = l->runtime_is_head ? 8 : 24},
        [SPY_FACT_COLLECTING] = {.addr = th->collecting, .len = 4},
        [SPY_FACT_GENERATION] = {.addr = generation, .len = 8},
        [SPY_FACT_TLBC] = {.addr = tlbc, .len = 4},
    };
    bool done[SPY_FACTS] = {false};
    size_t bytes = 0;
    *plan = (struct spy_py_facts_plan){.n = 0};
    memset(plan->at, 0xff, sizeof plan->at);
    for (;;) {
        int first = -1;
        for (int i = 0; i < SPY_FACTS; i++)
            if (!done[i] && want[i].addr && (first < 0 || want[i].addr < want[first].addr))
                first = i;
        if (first < 0)
            return;
        struct spy_span *s = &plan->spans[plan->n++];
        *s = (struct spy_span){.addr = want[first].addr};
        for (int i = 0; i < SPY_FACTS; i++) {
            uint64_t end = want[i].addr + want[i].len - s->addr;
            if (done[i] || !want[i].addr || want[i].addr < s->addr || end > SPY_PY_FACTS)
                continue;
            plan->at[i] = (uint16_t)(bytes + (want[i].addr - s->addr));
            s->len = end > s->len ? end : s->len;
            done[i] = true;
        }
        bytes += s->len;
    }
}

static uint64_t fact(const struct batch *b, const struct spy_py_thread *th, enum spy_py_fact which)
{
    uint16_t at = th->facts.at[which];
    return at == SPY_PY_ABSENT ? 0 : word(b->facts + at);
}

// --- reading ---

// Joins the span with one that lies near, where all of it is mapped for sure: the gap is shorter
// than a page.
static void read_again(struct batch *b, uint64_t addr, size_t len)
{
    for (size_t i = 0; i < b->n_again; i++) {
        struct spy_span *s = &b->again[i];
        uint64_t from = addr < s->addr ? addr : s->addr;
        uint64_t to = addr + len > s->addr + s->len ? addr + len : s->addr + s->len;
        if (to - from <= s->len + len + NEAR && to - from <= SPY_PY_AGAIN / 2) {
            s->addr = from;
            s->len = to - from;
            return;
        }
    }
    if (b->n_again < AGAIN_MAX)
        b->again[b->n_again++] = (struct spy_span){.addr = addr, .len = len};
}

// The newest frames as the last walk met them: those outside of the data stack, and then the part
// of the stack around the newest frame on it.
static void choose_again(const struct spy_py_layout *l, const struct spy_py_thread *th,
                         struct batch *b)
{
    b->n_again = 0;
    bool done = false;
    for (size_t k = 0; k < th->n_top && !done; k++)
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
                         struct batch *b)
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
                    struct spy_py_thread *th, const struct spy_py_scratch *s, struct batch *b,
                    size_t *ret_bad)
{
    enum { RESERVED = AGAIN_MAX + 3 + SPY_FACTS };
    size_t first = 0, done = 0, fixed = 0;
    b->n = 0;
    if (l->ts_cframe == SPY_PY_ABSENT && keeps_popped(l))
        span(b, th->tstate + l->ts_frame, b->frame_before, 8);
    else if (keeps_popped(l) && th->cframe)
        span(b, th->cframe, b->frame_before, sizeof b->frame_before);
    fixed = b->n;
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
    size_t n_places = b->n;
    after_places(l, th, b);
    int r = spy_target_read_spans(t, b->spans, b->n, &done);
    if (r < 0)
        *ret_bad = done >= fixed && done < n_places ? first + (done - fixed) : SIZE_MAX;
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
        choose_again(l, th, b);
        size_t bad = SIZE_MAX;
        uint64_t before = spy_clock_mono_ns();
        r = read_all(t, l, th, s, b, &bad);
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
    enum { TOGETHER = 32768 };
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
    for (size_t i = 0; i <= th->n_places; i++) {
        size_t k = i ? i - 1 : *hint; // where the last one was, most likely
        if (k >= th->n_places)
            continue;
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

// Did the newest frame's variables or stack change between the copies? Nobody but its thread writes
// there.
static bool values_differ(const struct spy_py_layout *l, const struct batch *b,
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

// Judges the walked chain by the second copy. The newest frames must be in it, down to AGAIN_MUST
// below the newest one on the data stack: NOTFOUND when they are not, so that the next read has
// them.
static int compare(const struct spy_py_layout *l, const struct batch *b,
                   const struct spy_py_thread *th, const struct spy_py_scratch *s, bool *ret_moved)
{
    const struct spy_py_rec *newest = NULL; // on the data stack
    for (size_t i = 0, n = spy_py_depth(th, s); i < n; i++) {
        const struct spy_py_rec *rec = spy_py_rec_at(th, s, i);
        const struct spy_py_place *p = &th->places[rec->place];
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
        if (i == 0 && l->f_executing != SPY_PY_ABSENT && f[l->f_executing] != l->executing)
            return SPY_ERR_TORN;
        if (!again && (newest ? below && newest->addr - rec->addr < AGAIN_MUST : i < SPY_PY_TOP))
            return SPY_ERR_NOTFOUND;
        if (again && i == 0)
            *ret_moved = instruction(l, f) != instruction(l, again) ||
                         (newest && values_differ(l, b, s, p, rec->addr, again));
    }
    return 0;
}

static int push_recs(struct spy_py_scratch *s, const struct spy_py_rec *recs, size_t n)
{
    int r = spy_grow(&s->recs, &s->cap, s->n + n, sizeof *s->recs, SPY_PY_DEPTH_MAX);
    if (r < 0)
        return r;
    if (n)
        memcpy(s->recs + s->n, recs, n * sizeof *recs);
    s->n += n;
    return 0;
}

// Those of the thread's last stack, which may have none.
static int push_last(struct spy_py_scratch *s, const struct spy_py_thread *th, size_t from,
                     size_t to)
{
    return from == to ? 0 : push_recs(s, th->last + from, to - from);
}

int spy_py_flatten(const struct spy_py_thread *th, struct spy_py_scratch *s)
{
    size_t from = s->from;
    s->from = th->n_last;
    return push_last(s, th, from, th->n_last);
}

static bool same_rec(const struct spy_py_rec *a, const struct spy_py_rec *b)
{
    return a->addr == b->addr && a->code == b->code && a->ip == b->ip && a->place == b->place &&
           a->tlbc == b->tlbc && a->owner == b->owner;
}

// Which of the last stack's frames is at addr? Most often the next one.
static size_t find_last(const struct spy_py_thread *th, size_t next, uint64_t addr)
{
    enum { WINDOW = 24 };
    for (size_t i = next; i < th->n_last && i < next + WINDOW; i++)
        if (th->last[i].addr == addr)
            return i;
    return SIZE_MAX;
}

// Where the walk stands in the thread's last stack.
struct follow {
    size_t from, next; // last[from..next-1] are the frames walked latest, not in recs yet
};

// Adds one walked frame. What is as it was in the last stack is not copied but counted.
static int add_rec(struct spy_py_thread *th, struct spy_py_scratch *s, struct follow *w,
                   struct spy_py_rec *rec)
{
    size_t i = find_last(th, w->next, rec->addr);
    if (i != SIZE_MAX && (i == w->next || w->from == w->next) && same_rec(rec, &th->last[i])) {
        w->from = w->from == w->next ? i : w->from;
        w->next = i + 1;
        return 0;
    }
    int r = push_last(s, th, w->from, w->next);
    if (r < 0)
        return r;
    if (i != SIZE_MAX) {
        rec->id = rec->code == th->last[i].code ? th->last[i].id : SPY_CODE_NONE;
        w->next = i + 1;
    }
    w->from = w->next;
    return push_recs(s, rec, 1);
}

static struct spy_py_rec rec_of(const struct spy_py_layout *l, uint64_t addr, size_t place,
                                const uint8_t *f)
{
    return (struct spy_py_rec){.addr = addr,
                               .code = word(f + l->f_code) & ~(uint64_t)l->f_code_tag,
                               .ip = instruction(l, f),
                               .place = (uint32_t)place,
                               .id = SPY_CODE_NONE,
                               .tlbc = tlbc(l, f),
                               .owner = owner(l, f)};
}

static void begin_walk(struct spy_py_thread *th, struct spy_py_scratch *s)
{
    s->n = 0;
    s->from = th->n_last;
    s->truncated = false;
    th->n_top = 0;
    for (size_t i = 0; i < th->n_places; i++)
        th->places[i].used = 0;
}

// Goes on from cur for as long as all is as it was, which most of a deep stack is. Returns the
// frame after that; what a step of the walk must look at it leaves to the walk.
static uint64_t skip_same(const struct spy_py_layout *l, struct spy_py_thread *th,
                          const struct spy_py_scratch *s, struct follow *w, size_t place,
                          uint64_t cur, size_t *n)
{
    struct spy_py_place *p = &th->places[place];
    uint64_t tag = l->f_code_tag;
    bool flag = l->f_executing != SPY_PY_ABSENT;
    for (; w->next < th->n_last && *n < SPY_PY_DEPTH_MAX; w->next++, ++*n) {
        const struct spy_py_rec *r = &th->last[w->next];
        uint64_t at = cur - p->addr;
        if (r->addr != cur || r->place != place || cur < p->addr || at + l->f_size > p->len)
            break;
        const uint8_t *f = s->copy + p->at + at;
        uint64_t previous = word(f + l->f_previous);
        if ((word(f + l->f_code) & ~tag) != r->code || instruction(l, f) != r->ip ||
            owner(l, f) != r->owner || tlbc(l, f) != r->tlbc || previous == cur || (previous & 7) ||
            (flag && f[l->f_executing] != l->executing))
            break;
        p->used = at + l->f_size > p->used ? (uint32_t)at + l->f_size : p->used;
        cur = previous;
    }
    return cur;
}

// Walks from cur outwards to base. *ret_miss is the frame that is not in the copy, with
// SPY_ERR_NOTFOUND.
static int walk_copy(const struct spy_py_layout *l, struct spy_py_thread *th,
                     struct spy_py_scratch *s, uint64_t cur, uint64_t base, uint64_t *ret_miss)
{
    size_t hint = 0, n = 0, none = th->has_stack ? 0 : th->n_last;
    struct follow w = {none, none};
    begin_walk(th, s);
    for (; cur && cur != base; n++) {
        if (n >= SPY_PY_TOP && w.next > w.from)
            cur = skip_same(l, th, s, &w, hint, cur, &n);
        if (!cur || cur == base)
            break;
        if (n == SPY_PY_DEPTH_MAX) {
            s->truncated = true;
            break;
        }
        struct spy_py_place *p = place_of(th, cur, l->f_size, &hint);
        if (!p) {
            *ret_miss = cur;
            return SPY_ERR_NOTFOUND;
        }
        uint32_t at = (uint32_t)(cur - p->addr);
        const uint8_t *f = s->copy + p->at + at;
        // Whoever has called another runs; only the newest may be about to begin or to end.
        if (n && l->f_executing != SPY_PY_ABSENT && f[l->f_executing] != l->executing)
            return SPY_ERR_TORN;
        p->used = at + l->f_size > p->used ? at + l->f_size : p->used;
        if (n < SPY_PY_TOP)
            th->top[th->n_top++] = cur;
        struct spy_py_rec rec = rec_of(l, cur, hint, f);
        int r = add_rec(th, s, &w, &rec);
        if (r < 0)
            return r;
        uint64_t previous = word(f + l->f_previous);
        if (previous == cur || (previous & 7))
            return SPY_ERR_TORN;
        cur = previous;
    }
    // To the end as it was: so the rest is shared.
    if (w.next == th->n_last && !s->truncated) {
        s->from = w.from;
        return 0;
    }
    return push_last(s, th, w.from, w.next);
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
    if (!keeps_popped(l))
        return true;
    if (l->heap_frames && word(b->frame_last) != cur)
        return false;
    return word(b->frame_before + (l->ts_cframe == SPY_PY_ABSENT ? 0 : l->ts_frame)) == cur;
}

// Was this read interrupted, so that its parts lie further apart than those of others?
static bool took_long(struct spy_py_thread *th, const struct batch *b, size_t n_copy)
{
    uint64_t took = b->took_ns, usual = th->usual_ns ? th->usual_ns : took;
    uint64_t counted = took < 2 * usual ? took : 2 * usual;
    th->usual_ns = usual - usual / 16 + counted / 16;
    return took > SLOW_NS + n_copy || took > 2 * usual + SLOWER_NS;
}

// A frame that has ended has no caller, and up to 3.3 nothing else tells that it has ended: a stack
// that is cut there has another outermost frame than the thread has had, but seldom the same twice.
static bool is_bottom(const struct spy_py_layout *l, struct spy_py_thread *th,
                      const struct spy_py_scratch *s, bool checked)
{
    size_t n = spy_py_depth(th, s);
    if (!l->heap_frames || l->f_executing != SPY_PY_ABSENT || !n || s->truncated)
        return true;
    uint64_t bottom = spy_py_rec_at(th, s, n - 1)->addr;
    if (bottom != th->bottom)
        th->bottom_seen = 0;
    th->bottom = bottom;
    th->bottom_seen = checked ? th->bottom_seen + (th->bottom_seen < BOTTOM_SURE) : BOTTOM_SURE;
    return th->bottom_seen == BOTTOM_SURE;
}

// The thread state may have been freed. And it is made by the thread that starts another, up
// to 3.11 with that one's own numbers in it, until the new one puts in its own.
static bool is_of_thread(const struct spy_py_layout *l, const struct spy_py_thread *th,
                         const uint8_t *tstate)
{
    return word(tstate + l->ts_interp) == th->interp &&
           word(tstate + l->ts_thread_id) == th->ident &&
           (l->ts_native_id == SPY_PY_ABSENT || word(tstate + l->ts_native_id) == th->native);
}

static int walk_once(const struct spy_target *t, const struct spy_py_layout *l,
                     struct spy_py_thread *th, struct spy_py_scratch *s, bool checked,
                     struct batch *b, bool *ret_moved)
{
    uint64_t cur, miss = 0;
    int r = snapshot(t, l, th, s, b);
    if (r < 0)
        return r;
    if (!is_of_thread(l, th, b->tstate))
        return SPY_ERR_GONE;
    r = current_frame(l, b, th, &cur);
    if (r < 0)
        return r;
    // Says nothing of the target: read again at once.
    if (checked && took_long(th, b, s->n_copy))
        return SPY_ERR_NOTFOUND;
    if (checked && !same_current(l, b, cur))
        return SPY_ERR_TORN;
    uint64_t base = l->ts_base == SPY_PY_ABSENT ? 0 : word(b->tstate + l->ts_base);
    r = walk_copy(l, th, s, cur, base, &miss);
    if (r == 0 && checked)
        r = compare(l, b, th, s, ret_moved);
    if (r == 0)
        return is_bottom(l, th, s, checked) ? 0 : SPY_ERR_TORN;
    if (r == SPY_ERR_NOTFOUND) {
        uint64_t chunk = l->heap_frames ? 0 : word(b->tstate + l->ts_chunk);
        int learned = learn_place(t, l, th, chunk, miss);
        return learned < 0 ? learned : SPY_ERR_NOTFOUND;
    }
    return r;
}

// Up to 3.6 th->gil is _PyThreadState_Current.
static bool holds_gil(const struct spy_py_layout *l, const struct spy_py_thread *th,
                      const uint8_t *gil)
{
    uint32_t locked;
    if (l->runtime_is_head)
        return word(gil) == th->tstate;
    memcpy(&locked, gil + SPY_GIL_LOCKED, sizeof locked);
    return locked == 1 && word(gil + SPY_GIL_HOLDER) == th->tstate;
}

// Every interpreter has a count of its own, and the memory of one's code object may be another's
// later: counts of two are never equal.
static uint64_t code_generation(const struct spy_py_layout *l, const struct spy_py_thread *th,
                                uint64_t count)
{
    if (l->interp_next_version)
        count = (uint32_t)count;
    else if (l->interp_code_generation != SPY_PY_ABSENT)
        count++;
    return count ? spy_hash_mix(count, th->interp) | 1 : 0;
}

int spy_py_walk(const struct spy_target *t, const struct spy_py_layout *l, struct spy_py_thread *th,
                struct spy_py_scratch *s, bool checked, struct spy_py_facts *ret)
{
    struct batch b;
    bool moved = false;
    int r = SPY_ERR_NOTFOUND;
    // A deep stack met for the first time needs a turn for each of its chunks and generators.
    for (int i = 0;
         r == SPY_ERR_NOTFOUND && i < SPY_PY_MISSES + (th->has_stack ? 0 : SPY_PY_PLACES_MAX); i++)
        r = walk_once(t, l, th, s, checked, &b, &moved);
    if (r < 0)
        return r == SPY_ERR_NOTFOUND ? SPY_ERR_TORN : r;
    s->tlbc_generation = (uint32_t)fact(&b, th, SPY_FACT_TLBC);
    uint16_t gil = th->facts.at[SPY_FACT_GIL];
    *ret = (struct spy_py_facts){
        .next = word(b.tstate + l->ts_next),
        .head = fact(&b, th, SPY_FACT_HEAD),
        .holds_gil = gil != SPY_PY_ABSENT && holds_gil(l, th, b.facts + gil),
        .collecting = (uint32_t)fact(&b, th, SPY_FACT_COLLECTING) == 1,
        .moved = moved,
        .next_version = l->interp_next_version ? (uint32_t)fact(&b, th, SPY_FACT_GENERATION) : 0,
        .code_generation = code_generation(l, th, fact(&b, th, SPY_FACT_GENERATION)),
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
            if (p->is_chunk && want + SPY_PY_SHRINK < p->len)
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
