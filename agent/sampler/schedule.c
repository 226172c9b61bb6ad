#include "agent/sampler/schedule.h"
#include "shared/base/mem.h"
#include <stdbool.h>
#include <stdlib.h>

enum { RATES_MAX = 4096 }; // no more than there are processes

struct spy_beats {
    uint32_t rate;
    uint64_t n, at; // the number and the time of the newest
};

void spy_schedule_init(struct spy_schedule *s)
{
    *s = (struct spy_schedule){.stretch = 1};
    spy_rand_seed(&s->rand);
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

// Goes on to the first that is still to come; those that are past are skipped.
static void next_beat(struct spy_schedule *s, struct spy_beats *b, uint64_t now)
{
    uint64_t period = (uint64_t)((double)SPY_NS_PER_SEC / b->rate * s->stretch);
    if (b->at + period < now) {
        uint64_t skipped = (now - b->at) / period;
        b->n += skipped;
        b->at += skipped * period;
    }
    do {
        b->n++;
        b->at += (uint64_t)((double)period * (0.5 + spy_rand_unit(&s->rand)));
    } while (b->at <= now);
}

uint64_t spy_schedule_on_beat(struct spy_schedule *s, uint64_t now)
{
    struct spy_due *due = &s->heap[0];
    struct spy_beats *b = &s->beats[due->beats];
    uint64_t skipped = 0;
    if (b->rate) {
        // Others of its rate may have gone on to the next one already.
        if (due->beat ? due->beat == b->n : b->at <= now)
            next_beat(s, b, now);
        skipped = due->beat ? b->n - due->beat - 1 : 0;
        due->beat = b->n;
        due->at = b->at;
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
