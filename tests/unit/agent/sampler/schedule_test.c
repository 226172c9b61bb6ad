// When processes are sampled: all of one rate at the same moments, those at the right distances,
// and what comes late skipped and counted. No clock is asked.
#include "agent/sampler/schedule.h"
#include "shared/base/err.h"
#include "tests/unit/test.h"
#include <stdbool.h>
#include <string.h>

enum { MANY = 200, TURNS = 2000 };
#define BEGIN (1000 * SPY_NS_PER_SEC)

static void add_all(struct spy_schedule *s, char *who, size_t n, uint32_t rate)
{
    spy_schedule_init(s);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(spy_schedule_add(s, &who[i], rate, BEGIN + i, n), 0);
}

// Each in turn, as soon as it is due. Returns the ticks that were skipped.
static uint64_t turn(struct spy_schedule *s, uint64_t *now, uint64_t takes)
{
    *now = *now > s->heap[0].at ? *now : s->heap[0].at;
    uint64_t skipped = spy_schedule_on_tick(s, *now, 1);
    *now += takes;
    return skipped;
}

static void processes_of_one_rate_are_sampled_together(void **state)
{
    (void)state;
    static char who[MANY], seen[MANY];
    struct spy_schedule s;
    uint64_t now = 0, skipped = 0;
    add_all(&s, who, MANY, 100);
    for (int i = 0; i < MANY; i++)
        turn(&s, &now, 0);
    for (int tick = 0; tick < 50; tick++) {
        uint64_t at = s.heap[0].at;
        memset(seen, 0, sizeof seen);
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(s.heap[0].at, at);
            seen[(char *)s.heap[0].who - who]++;
            skipped += turn(&s, &now, 1000);
        }
        for (int i = 0; i < MANY; i++)
            assert_int_equal(seen[i], 1);
        assert_true(s.heap[0].at > at);
    }
    assert_int_equal(skipped, 0);
    spy_schedule_free(&s);
}

static void gaps_are_jittered_about_the_period(void **state)
{
    (void)state;
    const uint64_t period = 10 * SPY_NS_PER_MS;
    struct spy_schedule s;
    char who[1];
    uint64_t now = 0, shortest = UINT64_MAX, longest = 0;
    add_all(&s, who, 1, 100);
    turn(&s, &now, 0);
    turn(&s, &now, 0);
    uint64_t first = s.heap[0].at, last = first;
    for (int i = 0; i < TURNS; i++) {
        assert_int_equal(turn(&s, &now, 20000), 0);
        uint64_t gap = s.heap[0].at - last;
        last = s.heap[0].at;
        shortest = gap < shortest ? gap : shortest;
        longest = gap > longest ? gap : longest;
    }
    assert_true(shortest >= period / 2 && shortest < period * 6 / 10);
    assert_true(longest <= period * 3 / 2 && longest > period * 14 / 10);
    // The error of this mean is 0.65 % of a period.
    assert_true((last - first) / TURNS > period * 96 / 100);
    assert_true((last - first) / TURNS < period * 104 / 100);
    spy_schedule_free(&s);
}

// Rounds that take longer than there is time for: each process gets its share, and knows what it
// missed.
static void late_rounds_are_skipped_and_counted(void **state)
{
    (void)state;
    const uint64_t period = 10 * SPY_NS_PER_MS;
    static char who[MANY];
    static uint64_t turns[MANY], ticks[MANY];
    struct spy_schedule s;
    uint64_t now = 0;
    add_all(&s, who, MANY, 100);
    for (int i = 0; i < MANY; i++)
        turn(&s, &now, 0);
    uint64_t begin = now;
    for (int i = 0; i < MANY * 100; i++) {
        size_t k = (size_t)((char *)s.heap[0].who - who);
        turns[k]++;
        ticks[k] += 1 + turn(&s, &now, period / 50); // all of them take four periods
    }
    uint64_t expected = (now - begin) / period;
    for (int i = 0; i < MANY; i++) {
        assert_true(turns[i] > 90 && turns[i] < 110);
        assert_true(ticks[i] > expected * 9 / 10 && ticks[i] < expected * 11 / 10);
    }
    spy_schedule_free(&s);
}

// Who takes part in few ticks meets those that the others have.
static void processes_sampled_in_few_ticks_share_the_ticks_of_others(void **state)
{
    (void)state;
    enum { REMEMBERED = 4 * SPY_SCHEDULE_AHEAD };
    static char who[3];
    struct spy_schedule s;
    uint64_t shared = 0, now = 0, turns[3] = {0}, wanted[3] = {0};
    struct {
        uint64_t tick, at;
    } seen[REMEMBERED] = {0};
    add_all(&s, who, 3, 100);
    for (int i = 0; i < 3; i++)
        turn(&s, &now, 0);
    for (int i = 0; i < 4000; i++) {
        struct spy_due due = s.heap[0];
        size_t k = (size_t)((char *)due.who - who);
        uint32_t ahead = k == 0 ? 1 : k == 1 ? 4 : 1 + (uint32_t)(turns[2] % SPY_SCHEDULE_AHEAD);
        assert_true(!wanted[k] || due.tick == wanted[k]);
        assert_true(due.at >= now);
        size_t place = due.tick % REMEMBERED;
        if (seen[place].tick == due.tick) { // all meet a tick at one time
            assert_int_equal(due.at, seen[place].at);
            shared++;
        }
        seen[place].tick = due.tick;
        seen[place].at = due.at;
        now = due.at;
        turns[k]++;
        wanted[k] = due.tick + ahead;
        assert_int_equal(spy_schedule_on_tick(&s, now, ahead), 0);
    }
    assert_true(shared > turns[1]);
    assert_true(turns[0] > 2500 && turns[1] > turns[0] / 5 && turns[2] > turns[0] / 10);
    // Late by more than is kept of the ticks: what was missed counts from the one that was wanted.
    const void *late = s.heap[0].who;
    uint64_t tick = s.heap[0].tick;
    now += 10 * SPY_NS_PER_SEC;
    uint64_t skipped = spy_schedule_on_tick(&s, now, 5);
    assert_true(skipped > 900 && skipped < 1100);
    size_t j = 0;
    while (s.heap[j].who != late)
        j++;
    assert_int_equal(s.heap[j].tick, tick + 5 + skipped);
    assert_true(s.heap[j].at > now);
    spy_schedule_free(&s);
}

static void a_process_off_the_beat_returns_to_it(void **state)
{
    (void)state;
    struct spy_schedule s;
    char who[2];
    uint64_t now = BEGIN;
    add_all(&s, who, 2, 100);
    const void *first = s.heap[0].who;
    spy_schedule_off_tick(&s, BEGIN + SPY_NS_PER_SEC); // say, it cannot be attached to yet
    while (s.heap[0].who != first)
        assert_int_equal(turn(&s, &now, 0), 0);
    assert_true(now >= BEGIN + SPY_NS_PER_SEC - 15 * SPY_NS_PER_MS);
    assert_int_equal(turn(&s, &now, 0), 0); // nothing was missed
    assert_int_equal(s.heap[0].at, s.heap[1].at);
    first = s.heap[0].who;
    spy_schedule_off_tick(&s, UINT64_MAX);
    for (int i = 0; i < 10; i++) {
        assert_ptr_not_equal(s.heap[0].who, first);
        turn(&s, &now, 0);
    }
    assert_int_equal(spy_schedule_add(&s, who, 7, BEGIN, 2), SPY_ERR_LIMIT);
    spy_schedule_remove(&s, 0);
    assert_int_equal(s.n, 1);
    assert_ptr_equal(s.heap[0].who, first);
    spy_schedule_free(&s);
}

static void without_a_rate_processes_take_turns(void **state)
{
    (void)state;
    struct spy_schedule s;
    char who[3];
    int turns[3] = {0};
    uint64_t now = BEGIN;
    add_all(&s, who, 3, 0);
    for (int i = 0; i < 30; i++) {
        turns[(char *)s.heap[0].who - who]++;
        assert_int_equal(turn(&s, &now, 5), 0);
    }
    assert_true(turns[0] > 8 && turns[1] > 8 && turns[2] > 8);
    spy_schedule_free(&s);
}

RUN(T(processes_of_one_rate_are_sampled_together), T(gaps_are_jittered_about_the_period),
    T(late_rounds_are_skipped_and_counted),
    T(processes_sampled_in_few_ticks_share_the_ticks_of_others),
    T(a_process_off_the_beat_returns_to_it), T(without_a_rate_processes_take_turns))
