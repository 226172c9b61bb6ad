#include "agent/python/places.h"
#include "agent/python/python.h"
#include "shared/base/mem.h"
#include <string.h>

size_t spy_py_places_lay_out(struct spy_py_places *p)
{
    size_t total = 0;
    for (size_t i = 0; i < p->n; i++) {
        p->list[i].at = (uint32_t)total;
        total += p->list[i].len;
    }
    return total;
}

void spy_py_places_drop(struct spy_py_places *p, size_t i)
{
    memmove(&p->list[i], &p->list[i + 1], (--p->n - i) * sizeof *p->list);
}

static int add(struct spy_py_places *p, uint64_t addr, uint64_t len, uint64_t room, bool is_chunk)
{
    int r = spy_grow(&p->list, &p->cap, p->n + 1, sizeof *p->list, SPY_PY_PLACES_MAX);
    if (r < 0)
        return r == SPY_ERR_LIMIT ? SPY_ERR_TORN : r;
    p->list[p->n++] = (struct spy_py_place){.addr = addr,
                                            .len = (uint32_t)(len < room ? len : room),
                                            .room = (uint32_t)room,
                                            .is_chunk = is_chunk};
    return 0;
}

// A frame by itself. Those of a heap lie close together, and one long read is cheaper than many
// short ones: it is joined with one that lies near.
static int add_frame(const struct spy_py_layout *l, struct spy_py_places *p, uint64_t addr)
{
    enum { TOGETHER = 32768 };
    for (size_t i = 0; l->heap_frames && i < p->n; i++) {
        struct spy_py_place *at = &p->list[i];
        uint64_t end = at->addr + at->len, from = addr < at->addr ? addr : at->addr;
        uint64_t to = addr + l->f_size > end ? addr + l->f_size : end;
        if (addr + l->f_size + SPY_PY_NEAR < at->addr || addr > end + SPY_PY_NEAR ||
            to - from > TOGETHER)
            continue;
        at->addr = from;
        at->len = at->room = (uint32_t)(to - from);
        return 0;
    }
    return add(p, addr, l->f_size, l->f_size, false);
}

// On a heap each frame is somewhere else: follows them one by one to those that are known.
static int add_frames(const struct spy_target *t, const struct spy_py_layout *l,
                      struct spy_py_places *p, uint64_t addr)
{
    size_t hint = 0;
    for (int i = 0; addr && i < SPY_PY_DEPTH_MAX && !spy_py_places_find(p, addr, l->f_size, &hint);
         i++) {
        uint64_t previous;
        if (spy_target_read_u64(t, addr + l->f_previous, &previous) < 0)
            return i ? 0 : SPY_ERR_TORN;
        int r = add_frame(l, p, addr);
        if (r < 0)
            return r;
        addr = previous;
    }
    return 0;
}

int spy_py_places_learn(const struct spy_target *t, const struct spy_py_layout *l,
                        struct spy_py_places *p, uint64_t chunk, uint64_t addr)
{
    for (size_t i = 0; i < p->n; i++) {
        struct spy_py_place *at = &p->list[i];
        if (at->is_chunk && addr >= at->addr && addr - at->addr < at->room) {
            uint64_t need = addr - at->addr + l->f_size + SPY_PY_SLACK;
            at->len = (uint32_t)(need < at->room ? need : at->room);
            return addr - at->addr + l->f_size <= at->len ? 0 : SPY_ERR_TORN;
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
            return add(p, chunk, addr - chunk + l->f_size + SPY_PY_SLACK, size, true);
        chunk = head[SPY_CHUNK_PREVIOUS / 8];
    }
    return l->heap_frames ? add_frames(t, l, p, addr) : add_frame(l, p, addr);
}

void spy_py_places_fit(struct spy_py_places *p)
{
    enum { IDLE_WALKS = 16 };
    for (size_t i = p->n; i-- > 0;) {
        struct spy_py_place *at = &p->list[i];
        if (at->used) {
            at->idle = 0;
            uint32_t want = at->used + SPY_PY_SLACK;
            if (at->is_chunk && want + SPY_PY_SHRINK < at->len)
                at->len = want;
            else if (at->is_chunk && want > at->len)
                at->len = want < at->room ? want : at->room;
        } else if (++at->idle > IDLE_WALKS) {
            spy_py_places_drop(p, i);
        } else if (at->is_chunk && at->len > SPY_PY_SLACK) {
            at->len = SPY_PY_SLACK; // kept for when the stack grows into it again
        }
    }
}
