// How often a process that rests is looked at: the shares of what it does come out right all the
// same. No clock is asked, and no process is looked at.
#include "agent/sampler/idle.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

enum { RATE = 100, ROUNDS = 20000000, FEW_ROUNDS = 1000000 };

// A program that works for the first `works` of each `period` rounds.
struct program {
    uint64_t period, works;
};

static bool works_at(const struct program *p, uint64_t round)
{
    return round % p->period < p->works;
}

static bool has_run(const struct program *p, uint64_t since, uint64_t round)
{
    uint64_t first = since + 1, rest = p->period - first % p->period;
    return p->works && (works_at(p, first) || rest <= round - first) && first <= round;
}

struct seen {
    uint64_t looks, rounds, at_work;
};

static struct seen watch(const struct program *p, uint64_t rounds, uint32_t rate, bool worth,
                         struct spy_rand *rand)
{
    struct seen s = {0};
    struct spy_idle r;
    uint64_t quiet = 0;
    spy_idle_init(&r);
    for (uint64_t at = 0, last = 0; at < rounds;) {
        bool ran = has_run(p, last, at);
        // What one look stands for, in proportion to the rest before.
        assert_true(r.rounds == 1 || r.rounds <= quiet / SPY_IDLE_SHARE);
        s.looks++;
        s.rounds += r.rounds;
        s.at_work += works_at(p, at) ? r.rounds : 0;
        quiet = ran ? 0 : quiet + r.rounds;
        spy_idle_note(&r, !ran);
        last = at;
        uint32_t ahead = spy_idle_next(&r, rate, worth, rand);
        assert_true(ahead >= 1 && ahead < 2 * SPY_IDLE_MOST);
        at += ahead;
    }
    return s;
}

// Also of those whose period is near what the lengths of the strata add up to, and of those that
// work for less than one stratum.
static void shares_of_rarely_read_processes_are_unbiased(void **state)
{
    (void)state;
    static const struct program programs[] = {
        {130, 1},  {200, 3},  {513, 3},   {520, 2},   {577, 1},    {700, 13},
        {1000, 1}, {1024, 8}, {2048, 20}, {3000, 40}, {5001, 500},
    };
    struct spy_rand rand = {0};
    for (size_t i = 0; i < SPY_COUNT(programs); i++) {
        const struct program *p = &programs[i];
        struct seen s = watch(p, ROUNDS, RATE, true, &rand);
        double is = (double)p->works / (double)p->period;
        double seen = (double)s.at_work / (double)s.rounds;
        print_message("works %.3f %% of the time, seen at it %.3f %%, in %.0f %% of the rounds\n",
                      100 * is, 100 * seen, 100.0 * (double)s.looks / ROUNDS);
        // The error of one that is met in few rounds is some 2 % of its share.
        assert_true(seen > is * 0.9 && seen < is * 1.1);
        assert_true(s.rounds > ROUNDS - SPY_IDLE_MOST && s.rounds < ROUNDS + SPY_IDLE_MOST);
    }
}

static void a_process_that_never_runs_is_rarely_polled(void **state)
{
    (void)state;
    static const struct program never = {UINT64_MAX, 0};
    struct spy_rand rand = {0};
    assert_true(watch(&never, ROUNDS, RATE, true, &rand).looks < ROUNDS / SPY_IDLE_MOST + 2000);
    assert_int_equal(watch(&never, FEW_ROUNDS, RATE, false, &rand).looks, FEW_ROUNDS);
    // A second would be long: at few rounds a second each is a look.
    assert_int_equal(watch(&never, FEW_ROUNDS, 10, true, &rand).looks, FEW_ROUNDS);
}

static void a_process_that_runs_is_polled_each_round(void **state)
{
    (void)state;
    static const struct program always = {1, 1}, often = {SPY_IDLE_SHARE, 1};
    struct spy_rand rand = {0};
    assert_int_equal(watch(&always, FEW_ROUNDS, RATE, true, &rand).looks, FEW_ROUNDS);
    assert_int_equal(watch(&often, FEW_ROUNDS, RATE, true, &rand).looks, FEW_ROUNDS);
}

RUN(T(shares_of_rarely_read_processes_are_unbiased), T(a_process_that_never_runs_is_rarely_polled),
    T(a_process_that_runs_is_polled_each_round))
