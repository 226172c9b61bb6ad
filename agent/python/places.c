#include "agent/python/places.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

void spy_py_places_done(struct spy_py_places *p)
{
    free(p->list);
    free(p->order);
    *p = (struct spy_py_places){0};
}

size_t spy_py_places_lay_out(struct spy_py_places *p)
{
    size_t total = 0;
    for (size_t i = 0; i < p->n; i++) {
        p->list[i].at = (uint32_t)total;
        p->list[i].copied = p->list[i].len;
        total += p->list[i].len;
    }
    return total;
}

void spy_py_places_clear(struct spy_py_places *p)
{
    p->n = p->n_sorted = 0;
    p->cut = 0;
}

size_t spy_py_places_before(const struct spy_py_places *p, uint64_t addr)
{
    size_t low = 0, high = p->n_sorted;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (p->list[p->order[mid]].addr <= addr)
            low = mid + 1;
        else
            high = mid;
    }
    return low ? p->order[low - 1] : SIZE_MAX;
}

// --- adding ---

int spy_py_places_append(struct spy_py_places *p, const struct spy_py_place *place)
{
    int r = spy_grow(&p->list, &p->cap, p->n + 1, sizeof *p->list, SPY_PY_PLACES_MAX);
    if (r == 0)
        r = spy_grow(&p->order, &p->order_cap, p->n + 1, sizeof *p->order, SPY_PY_PLACES_MAX);
    if (r < 0)
        return r;
    p->list[p->n] = *place;
    p->list[p->n].kept_low = UINT32_MAX;
    p->n++;
    return 0;
}

int spy_py_places_insert(struct spy_py_places *p, const struct spy_py_place *place)
{
    int r = spy_py_places_append(p, place);
    if (r < 0)
        return r;
    size_t at = p->n_sorted++;
    for (; at && p->list[p->order[at - 1]].addr > place->addr; at--)
        p->order[at] = p->order[at - 1];
    p->order[at] = (uint32_t)(p->n - 1);
    return 0;
}

static int by_address(const void *a, const void *b, void *list)
{
    const struct spy_py_place *l = list;
    uint64_t x = l[*(const uint32_t *)a].addr, y = l[*(const uint32_t *)b].addr;
    return x < y ? -1 : x > y;
}

static void sort_places(struct spy_py_places *p)
{
    for (size_t i = 0; i < p->n; i++)
        p->order[i] = (uint32_t)i;
    p->n_sorted = p->n;
    if (p->n)
        qsort_r(p->order, p->n, sizeof *p->order, by_address, p->list);
}

// Joins b, which begins after a, into a if they are near each other: the gap is shorter than a
// page, and therefore mapped.
static bool join_places(struct spy_py_place *a, const struct spy_py_place *b, size_t *total)
{
    uint64_t end = a->addr + a->len, gap = b->addr > end ? b->addr - end : 0;
    uint64_t to = b->addr + b->len > end ? b->addr + b->len : end;
    if (a->is_chunk || b->is_chunk || gap > SPY_PY_NEAR ||
        (to - a->addr > SPY_PY_JOINED && b->addr >= end) || *total + gap > SPY_PY_COPY_MAX)
        return false;
    *total += gap;
    a->len = a->room = (uint32_t)(to - a->addr);
    a->idle = a->walks = 0;
    a->kept_low = UINT32_MAX;
    a->kept_used = 0;
    return true;
}

int spy_py_places_join(struct spy_py_places *p)
{
    size_t total = 0, n = p->n;
    for (size_t i = 0; i < p->n; i++)
        total += p->list[i].len;
    sort_places(p);
    for (size_t i = 1, last = 0; i < p->n; i++) {
        struct spy_py_place *a = &p->list[p->order[last]], *b = &p->list[p->order[i]];
        if (!join_places(a, b, &total)) {
            last = i;
            continue;
        }
        if (a < b) {
            b->len = 0;
            continue;
        }
        *b = *a; // the older place keeps its index, since frames refer to it
        a->len = 0;
        p->order[last] = p->order[i];
    }
    for (size_t i = p->n; i-- > 0;)
        if (!p->list[i].len)
            p->list[i] = p->list[--p->n];
    if (p->n != n)
        sort_places(p);
    return 0;
}

// --- forgetting ---

// The last place takes its index.
void spy_py_places_drop(struct spy_py_places *p, size_t i)
{
    uint32_t last = (uint32_t)--p->n;
    size_t n = 0;
    for (size_t k = 0; k < p->n_sorted; k++)
        if (p->order[k] != i)
            p->order[n++] = p->order[k] == last ? (uint32_t)i : p->order[k];
    p->n_sorted = n;
    p->list[i] = p->list[last];
}

void spy_py_places_begin(struct spy_py_places *p)
{
    for (size_t i = 0; i < p->n; i++) {
        p->list[i].used = 0;
        p->list[i].low = UINT32_MAX;
    }
}

static void fit_chunk(struct spy_py_place *at)
{
    uint32_t want = at->used + SPY_PY_SLACK;
    if (want + SPY_PY_SHRINK < at->len)
        at->len = want;
    else if (want > at->len)
        at->len = want < at->room ? want : at->room;
}

// Cuts off what no unwind has used for a while.
static void fit_frames(struct spy_py_place *at)
{
    enum { WALKS = 64, WORTH = 256 };
    at->kept_low = at->low < at->kept_low ? at->low : at->kept_low;
    at->kept_used = at->used > at->kept_used ? at->used : at->kept_used;
    if (++at->walks < WALKS)
        return;
    if (at->kept_low + (at->len - at->kept_used) >= WORTH) {
        at->addr += at->kept_low;
        at->len = at->room = at->kept_used - at->kept_low;
    }
    at->walks = 0;
    at->kept_low = UINT32_MAX;
    at->kept_used = 0;
}

void spy_py_places_fit(struct spy_py_places *p)
{
    // A frame that is missing costs some 20 us of further reads, a piece that is not used 0.5 us.
    enum { IDLE_WALKS = 40 };
    size_t n = p->n;
    for (size_t i = p->n; i-- > 0;) {
        struct spy_py_place *at = &p->list[i];
        if (at->used) {
            at->idle = 0;
            if (at->is_chunk)
                fit_chunk(at);
            else
                fit_frames(at);
        } else if (++at->idle > IDLE_WALKS) {
            *at = p->list[--p->n];
        } else if (at->is_chunk && at->len > SPY_PY_SLACK) {
            at->len = SPY_PY_SLACK; // kept in case the stack grows into it again
        }
    }
    if (p->n == n)
        return;
    p->cut = 0; // there may be room for what was cut off
    sort_places(p);
}
