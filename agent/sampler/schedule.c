#include "agent/sampler/schedule.h"
#include "shared/base/mem.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    RATES_MAX = 4096, // no more than there are processes
    KEPT = SPY_SCHEDULE_AHEAD + 1,
};

struct spy_beats {
    uint32_t rate;
    uint64_t n;        // the number of the newest
    uint64_t at[KEPT]; // when the newest are, by number modulo KEPT; 0: was skipped
};

void spy_schedule_init(struct spy_schedule *s)
{
    *s = (struct spy_schedule){.stretch = 1};
}

void spy_schedule_free(struct spy_schedule *s)
{
    free(s->heap);
    free(s->beats);
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

// Puts the one at i, whose time has changed, where it belongs.
static void settle(struct spy_schedule *s, size_t i)
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

static int beats_of(struct spy_schedule *s, uint32_t rate, uint32_t *ret)
{
    size_t i = 0;
    while (i < s->n_beats && s->beats[i].rate != rate)
        i++;
    if (i == s->n_beats) {
        int r = spy_grow(&s->beats, &s->cap_beats, i + 1, sizeof *s->beats, RATES_MAX);
        if (r < 0)
            return r;
        s->beats[s->n_beats++] = (struct spy_beats){.rate = rate, .n = 1};
    }
    *ret = (uint32_t)i;
    return 0;
}

int spy_schedule_add(struct spy_schedule *s, void *who, uint32_t rate, uint64_t at, size_t max)
{
    struct spy_due due = {.at = at, .who = who};
    int r = spy_grow(&s->heap, &s->cap, s->n + 1, sizeof *s->heap, max);
    if (r == 0)
        r = beats_of(s, rate, &due.beats);
    if (r < 0)
        return r;
    s->heap[s->n++] = due;
    settle(s, s->n - 1);
    return 0;
}

void spy_schedule_remove(struct spy_schedule *s, size_t i)
{
    s->heap[i] = s->heap[--s->n];
    if (i < s->n)
        settle(s, i);
}

// --- beats ---

static uint64_t period_of(const struct spy_schedule *s, const struct spy_beats *b)
{
    return (uint64_t)((double)SPY_NS_PER_SEC / b->rate * s->stretch);
}

// Where even the newest is long past, those up to now are not drawn but skipped.
static void catch_up(const struct spy_schedule *s, struct spy_beats *b, uint64_t now)
{
    uint64_t period = period_of(s, b), last = b->at[b->n % KEPT];
    if (last + period >= now)
        return;
    uint64_t skipped = (now - last) / period;
    memset(b->at, 0, sizeof b->at);
    b->n += skipped;
    b->at[b->n % KEPT] = last + skipped * period;
}

static void draw(struct spy_schedule *s, struct spy_beats *b)
{
    uint64_t last = b->at[b->n++ % KEPT];
    b->at[b->n % KEPT] =
        last + (uint64_t)((double)period_of(s, b) * (0.5 + spy_rand_unit(&s->rand)));
}

// The first beat from number n on that is still to come.
static uint64_t beat_from(struct spy_schedule *s, struct spy_beats *b, uint64_t n, uint64_t now)
{
    catch_up(s, b, now);
    if (n + KEPT <= b->n)
        n = b->n - KEPT + 1; // those before are forgotten, and past
    for (;; n++) {
        while (b->n < n)
            draw(s, b);
        if (b->at[n % KEPT] > now)
            return n;
    }
}

uint64_t spy_schedule_on_beat(struct spy_schedule *s, uint64_t now, uint32_t ahead)
{
    struct spy_due *due = &s->heap[0];
    struct spy_beats *b = &s->beats[due->beats];
    uint64_t skipped = 0;
    if (b->rate) {
        uint64_t wanted = due->beat ? due->beat + ahead : 0, beat = beat_from(s, b, wanted, now);
        skipped = due->beat ? beat - wanted : 0;
        due->beat = beat;
        due->at = b->at[beat % KEPT];
    } else {
        due->at = now;
    }
    settle(s, 0);
    return skipped;
}

void spy_schedule_off_beat(struct spy_schedule *s, uint64_t at)
{
    s->heap[0].beat = 0;
    s->heap[0].at = at;
    settle(s, 0);
}
