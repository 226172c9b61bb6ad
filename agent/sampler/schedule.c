#include "agent/sampler/schedule.h"
#include "shared/base/mem.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    RATES_MAX = 4096, // not more than there are processes
    KEPT = SPY_SCHEDULE_AHEAD + 1,
};

struct spy_ticks {
    uint32_t rate;
    uint64_t n;        // number of the newest tick
    uint64_t at[KEPT]; // times of the newest ticks, by number modulo KEPT; 0: skipped
};

void spy_schedule_init(struct spy_schedule *s)
{
    *s = (struct spy_schedule){.stretch = 1};
}

void spy_schedule_free(struct spy_schedule *s)
{
    free(s->heap);
    free(s->ticks);
}

// --- the heap ---

static bool swap_if_later(struct spy_schedule *s, size_t parent, size_t child)
{
    struct spy_due a = s->heap[parent];
    if (a.at <= s->heap[child].at)
        return false;
    s->heap[parent] = s->heap[child];
    s->heap[child] = a;
    return true;
}

// Moves entry i, whose time has changed, to its place.
static void sift(struct spy_schedule *s, size_t i)
{
    while (i && swap_if_later(s, (i - 1) / 2, i))
        i = (i - 1) / 2;
    for (size_t child; (child = 2 * i + 1) < s->n; i = child) {
        if (child + 1 < s->n && s->heap[child + 1].at < s->heap[child].at)
            child++;
        if (!swap_if_later(s, i, child))
            return;
    }
}

static int find_ticks(struct spy_schedule *s, uint32_t rate, uint32_t *ret)
{
    size_t i = 0;
    while (i < s->n_ticks && s->ticks[i].rate != rate)
        i++;
    if (i == s->n_ticks) {
        int r = spy_grow(&s->ticks, &s->cap_ticks, i + 1, sizeof *s->ticks, RATES_MAX);
        if (r < 0)
            return r;
        s->ticks[s->n_ticks++] = (struct spy_ticks){.rate = rate, .n = 1};
    }
    *ret = (uint32_t)i;
    return 0;
}

int spy_schedule_add(struct spy_schedule *s, void *who, uint32_t rate, uint64_t at, size_t max)
{
    struct spy_due due = {.at = at, .who = who};
    int r = spy_grow(&s->heap, &s->cap, s->n + 1, sizeof *s->heap, max);
    if (r == 0)
        r = find_ticks(s, rate, &due.ticks);
    if (r < 0)
        return r;
    s->heap[s->n++] = due;
    sift(s, s->n - 1);
    return 0;
}

void spy_schedule_remove(struct spy_schedule *s, size_t i)
{
    s->heap[i] = s->heap[--s->n];
    if (i < s->n)
        sift(s, i);
}

// --- ticks ---

static uint64_t find_period(const struct spy_schedule *s, const struct spy_ticks *b)
{
    return (uint64_t)((double)SPY_NS_PER_SEC / b->rate * s->stretch);
}

// If even the newest tick is long past, skips the ticks up to now instead of drawing them.
static void catch_up(const struct spy_schedule *s, struct spy_ticks *b, uint64_t now)
{
    uint64_t period = find_period(s, b), last = b->at[b->n % KEPT];
    if (last + period >= now)
        return;
    uint64_t skipped = (now - last) / period;
    memset(b->at, 0, sizeof b->at);
    b->n += skipped;
    b->at[b->n % KEPT] = last + skipped * period;
}

static void draw_tick(struct spy_schedule *s, struct spy_ticks *b)
{
    uint64_t last = b->at[b->n++ % KEPT];
    b->at[b->n % KEPT] =
        last + (uint64_t)((double)find_period(s, b) * (0.5 + spy_rand_unit(&s->rand)));
}

// The number of the first tick still to come, from n on.
static uint64_t next_tick(struct spy_schedule *s, struct spy_ticks *b, uint64_t n, uint64_t now)
{
    catch_up(s, b, now);
    if (n + KEPT <= b->n)
        n = b->n - KEPT + 1; // older ticks are forgotten, and past
    for (;; n++) {
        while (b->n < n)
            draw_tick(s, b);
        if (b->at[n % KEPT] > now)
            return n;
    }
}

uint64_t spy_schedule_on_tick(struct spy_schedule *s, uint64_t now, uint32_t ahead)
{
    struct spy_due *due = &s->heap[0];
    struct spy_ticks *b = &s->ticks[due->ticks];
    uint64_t skipped = 0;
    if (b->rate) {
        uint64_t wanted = due->tick ? due->tick + ahead : 0, tick = next_tick(s, b, wanted, now);
        skipped = due->tick ? tick - wanted : 0;
        due->tick = tick;
        due->at = b->at[tick % KEPT];
    } else {
        due->at = now;
    }
    sift(s, 0);
    return skipped;
}

void spy_schedule_off_tick(struct spy_schedule *s, uint64_t at)
{
    s->heap[0].tick = 0;
    s->heap[0].at = at;
    sift(s, 0);
}
