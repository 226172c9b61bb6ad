#include "agent/python/facts.h"
#include "agent/python/frame.h"
#include "agent/python/walk.h"
#include <string.h>

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

static uint64_t fact(const struct spy_py_thread *th, const uint8_t *bytes, enum spy_py_fact which)
{
    uint16_t at = th->facts.at[which];
    return at == SPY_PY_ABSENT ? 0 : spy_py_word(bytes + at);
}

// Up to 3.6 th->gil is _PyThreadState_Current.
static bool holds_gil(const struct spy_py_layout *l, const struct spy_py_thread *th,
                      const uint8_t *gil)
{
    uint32_t locked;
    if (l->runtime_is_head)
        return spy_py_word(gil) == th->tstate;
    memcpy(&locked, gil + SPY_GIL_LOCKED, sizeof locked);
    return locked == 1 && spy_py_word(gil + SPY_GIL_HOLDER) == th->tstate;
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

struct spy_py_facts spy_py_facts_of(const struct spy_py_layout *l, const struct spy_py_thread *th,
                                    const uint8_t *bytes)
{
    uint16_t gil = th->facts.at[SPY_FACT_GIL];
    uint64_t generation = fact(th, bytes, SPY_FACT_GENERATION);
    return (struct spy_py_facts){
        .head = fact(th, bytes, SPY_FACT_HEAD),
        .holds_gil = gil != SPY_PY_ABSENT && holds_gil(l, th, bytes + gil),
        .collecting = (uint32_t)fact(th, bytes, SPY_FACT_COLLECTING) == 1,
        .next_version = l->interp_next_version ? (uint32_t)generation : 0,
        .code_generation = code_generation(l, th, generation),
        .tlbc_generation = (uint32_t)fact(th, bytes, SPY_FACT_TLBC),
    };
}
