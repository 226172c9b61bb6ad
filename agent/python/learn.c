#include "agent/python/cycle.h"
#include "agent/python/frame.h"
#include "agent/python/thread.h"
#include <string.h>

enum { PAGE = 4096, PAGES = 4, CHUNKS_MAX = 1024 };

// Bytes that were read around a frame: its neighbours are most likely needed next.
struct window {
    uint64_t addr;
    size_t len;
    uint8_t bytes[PAGES * PAGE];
};

struct learner {
    const struct spy_target *target;
    const struct spy_py_layout *layout;
    struct spy_py_places *places;
    const uint8_t *copy;
    uint64_t chunk; // the newest
    size_t total;   // bytes of all places
    struct window on_stack, elsewhere;
};

static const uint8_t *find_in_window(const struct window *w, uint64_t addr, size_t size)
{
    return addr >= w->addr && addr - w->addr + size <= w->len ? w->bytes + (addr - w->addr) : NULL;
}

// Reads the page of addr and its mapped neighbours. Neighbours come in order of distance, because a
// read ends at the first page that is not mapped.
static int read_stack_pages(struct learner *e, uint64_t addr)
{
    struct window *w = &e->elsewhere;
    uint64_t page = addr & ~(uint64_t)(PAGE - 1);
    struct spy_span spans[PAGES];
    static const int64_t turns[PAGES] = {0, 1, -1, 2};
    static const size_t before[PAGES + 1] = {0, 0, 0, 1,
                                             1}; // pages before addr's, by the number read
    size_t done = 0;
    for (size_t i = 0; i < PAGES; i++)
        spans[i] = (struct spy_span){page + (uint64_t)turns[i] * PAGE,
                                     w->bytes + (turns[i] + 1) * PAGE, PAGE};
    w->len = 0;
    int r = spy_target_read_spans(e->target, spans, PAGES, &done);
    if (!done)
        return r < 0 ? r : SPY_ERR_TORN;
    w->addr = page - before[done] * PAGE;
    w->len = done * PAGE;
    if (!before[done])
        memmove(w->bytes, w->bytes + PAGE, w->len);
    return 0;
}

// On a data stack, frames further out lie before this frame.
static int read_c_stack(struct learner *e, const struct spy_py_place *p, uint64_t addr)
{
    struct window *w = &e->on_stack;
    uint64_t end = addr + e->layout->f_size, from = p->addr;
    if (end - from > sizeof w->bytes)
        from = end - sizeof w->bytes;
    w->len = 0;
    int r = spy_target_read(e->target, from, w->bytes, end - from);
    if (r < 0)
        return r;
    w->addr = from;
    w->len = end - from;
    return 0;
}

// The frame's bytes: from the copy, from what was read for other frames, or from the target. NULL:
// they cannot be read.
static const uint8_t *read_frame(struct learner *e, const struct spy_py_place *p, uint64_t addr,
                                 uint8_t *room)
{
    size_t size = e->layout->f_size;
    if (p && addr - p->addr + size <= p->copied)
        return e->copy + p->at + (addr - p->addr);
    struct window *w = p && p->is_chunk ? &e->on_stack : &e->elsewhere;
    const uint8_t *f = find_in_window(w, addr, size);
    if (!f && (p && p->is_chunk ? read_c_stack(e, p, addr) : read_stack_pages(e, addr)) == 0)
        f = find_in_window(w, addr, size);
    if (!f && spy_target_read(e->target, addr, room, size) == 0) // it reaches into the next page
        f = room;
    return f;
}

// --- chunks of the data stack ---

// A place where a chunk is now belonged to something else.
static void drop_overlapping(struct spy_py_places *p, uint64_t addr, uint64_t size)
{
    for (size_t i = p->n_sorted; i-- > 0;) {
        size_t k = p->order[i];
        const struct spy_py_place *at = &p->list[k];
        if (at->addr < addr + size && addr < at->addr + at->room)
            spy_py_places_drop(p, k);
    }
}

static int add_chunk(struct learner *e, uint64_t chunk, uint64_t size)
{
    uint64_t len = size < SPY_PY_SLACK ? size : SPY_PY_SLACK;
    struct spy_py_place place = {
        .addr = chunk, .len = (uint32_t)len, .room = (uint32_t)size, .is_chunk = true};
    if (e->total + len > SPY_PY_COPY_MAX)
        return SPY_ERR_LIMIT;
    drop_overlapping(e->places, chunk, size);
    e->total += len;
    return spy_py_places_insert(e->places, &place);
}

static const struct spy_py_place *known_chunk(const struct learner *e, uint64_t chunk)
{
    size_t k = spy_py_places_before(e->places, chunk);
    const struct spy_py_place *p = k == SIZE_MAX ? NULL : &e->places->list[k];
    return p && p->is_chunk && p->addr == chunk ? p : NULL;
}

// Adds the chunks that are not known. A known chunk's head is in the copy.
static int add_chunks(struct learner *e)
{
    uint64_t chunk = e->chunk, head[2];
    for (int i = 0; chunk && i < CHUNKS_MAX; i++) {
        const struct spy_py_place *p = known_chunk(e, chunk);
        if (p && p->copied >= sizeof head)
            memcpy(head, e->copy + p->at, sizeof head);
        else if (spy_target_read(e->target, chunk, head, sizeof head) < 0)
            return 0;
        uint64_t size = head[SPY_CHUNK_SIZE / 8];
        if (size < SPY_PY_CHUNK || size > SPY_PY_COPY_MAX || !spy_py_frame_may_lie_at(chunk))
            return 0; // the list was changed meanwhile
        int r = p ? 0 : add_chunk(e, chunk, size);
        if (r < 0)
            return r == SPY_ERR_LIMIT ? 0 : r;
        chunk = head[SPY_CHUNK_PREVIOUS / 8];
    }
    return 0;
}

// --- frames ---

static int reach_frame(struct learner *e, struct spy_py_place *p, uint64_t addr)
{
    uint64_t need = addr - p->addr + e->layout->f_size, len = need + SPY_PY_SLACK;
    len = len < p->room ? len : p->room;
    if (need > p->room)
        return SPY_ERR_TORN;
    if (e->total + (len - p->len) > SPY_PY_COPY_MAX)
        return SPY_ERR_LIMIT;
    e->total += len - p->len;
    p->len = (uint32_t)len;
    return 0;
}

// Adds a frame with `inset` bytes before it: a compiled frame is read with its frame object
// (frame.h).
static int add_lone_frame(struct learner *e, uint64_t addr, uint64_t inset)
{
    uint32_t size = (uint32_t)inset + e->layout->f_size;
    struct spy_py_place place = {.addr = addr - inset, .len = size, .room = size};
    if (e->total + size > SPY_PY_COPY_MAX)
        return SPY_ERR_LIMIT;
    e->total += size;
    return spy_py_places_append(e->places, &place);
}

// Makes sure that the frame is inside a place. *ret_new: it was not.
static int place_frame(struct learner *e, uint64_t addr, const struct spy_py_place **ret,
                       bool *ret_new)
{
    size_t k = spy_py_places_before(e->places, addr);
    struct spy_py_place *p = k == SIZE_MAX ? NULL : &e->places->list[k];
    uint64_t at = p ? addr - p->addr : 0, size = e->layout->f_size;
    *ret_new = !p || at + size > p->len;
    *ret = p;
    if (!*ret_new)
        return 0;
    if (p && p->is_chunk && at < p->room)
        return reach_frame(e, p, addr);
    *ret = NULL;
    return 0;
}

int spy_py_places_learn(const struct spy_target *t, const struct spy_py_layout *l,
                        struct spy_py_places *p, const uint8_t *copy, uint64_t chunk, uint64_t base,
                        uint64_t addr)
{
    struct learner e = {.target = t, .layout = l, .places = p, .copy = copy, .chunk = chunk};
    uint8_t room[256];
    size_t n_new = 0;
    for (size_t i = 0; i < p->n; i++)
        e.total += p->list[i].len;
    bool whole = !p->n; // the newest frames come first, and the outermost are cut off
    int r = add_chunks(&e);
    struct spy_py_cycle cycle = {0};
    for (int i = 0; r == 0 && addr && addr != base && i < SPY_PY_CHAIN_MAX; i++) {
        if (spy_py_cycle_closes(&cycle, addr))
            break;
        const struct spy_py_place *place;
        bool is_new;
        r = place_frame(&e, addr, &place, &is_new);
        const uint8_t *f = r == 0 ? read_frame(&e, place, addr, room) : NULL;
        uint64_t inset = f && !(place && place->is_chunk) ? spy_py_frame_inset(l, addr, f) : 0;
        bool lacks = place ? addr - place->addr < inset : is_new;
        if (f && lacks)
            r = add_lone_frame(&e, addr, inset);
        if (r < 0 || !f)
            break;
        n_new += is_new || lacks;
        uint64_t previous = spy_py_word(f, l->f_previous);
        if (previous == addr || !spy_py_frame_may_lie_at(previous))
            break;
        addr = previous;
    }
    int settled = spy_py_places_join(p);
    if (r == SPY_ERR_LIMIT && whole)
        p->cut = addr;
    else if (r == SPY_ERR_LIMIT)
        spy_py_places_clear(p); // places of other depths take the room: begin again
    if (r == SPY_ERR_LIMIT)
        return 0;
    if (r == SPY_ERR_NOMEM || settled < 0)
        return r < 0 ? r : settled;
    return n_new ? 0 : SPY_ERR_TORN;
}
