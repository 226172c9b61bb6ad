#include "agent/python/facts.h"
#include "agent/python/frame.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"
#include <string.h>

void spy_py_facts_choose(const struct spy_py_layout *l, uint64_t interp, uint64_t gil,
                         uint64_t collecting, struct spy_py_facts_plan *ret)
{
    uint64_t generation = l->interp_next_version ? interp + l->interp_next_version
                          : l->interp_code_generation == SPY_PY_ABSENT
                              ? 0
                              : interp + l->interp_code_generation;
    uint64_t tlbc =
        l->interp_tlbc_generation == SPY_PY_ABSENT ? 0 : interp + l->interp_tlbc_generation;
    const struct spy_span want[SPY_FACTS] = {
        [SPY_FACT_HEAD] = {.addr = interp + l->interp_threads_head, .len = 8},
        [SPY_FACT_GIL] = {.addr = gil, .len = l->runtime_is_head ? 8 : 24},
        [SPY_FACT_COLLECTING] = {.addr = collecting, .len = 4},
        [SPY_FACT_GENERATION] = {.addr = generation, .len = 8},
        [SPY_FACT_TLBC] = {.addr = tlbc, .len = 4},
    };
    bool done[SPY_FACTS] = {false};
    size_t bytes = 0;
    *ret = (struct spy_py_facts_plan){.n = 0};
    memset(ret->at, 0xff, sizeof ret->at);
    for (;;) {
        int first = -1;
        for (int i = 0; i < SPY_FACTS; i++)
            if (!done[i] && want[i].addr && (first < 0 || want[i].addr < want[first].addr))
                first = i;
        if (first < 0)
            return;
        struct spy_span *s = &ret->spans[ret->n++];
        *s = (struct spy_span){.addr = want[first].addr};
        for (int i = 0; i < SPY_FACTS; i++) {
            uint64_t end = want[i].addr + want[i].len - s->addr;
            if (done[i] || !want[i].addr || want[i].addr < s->addr || end > SPY_PY_FACTS)
                continue;
            ret->at[i] = (uint16_t)(bytes + (want[i].addr - s->addr));
            s->len = end > s->len ? end : s->len;
            done[i] = true;
        }
        bytes += s->len;
    }
}

static uint64_t fact_word(const struct spy_py_facts_plan *plan, const uint8_t *bytes,
                          enum spy_py_fact which)
{
    uint16_t at = plan->at[which];
    return at == SPY_PY_ABSENT ? 0 : spy_py_word(bytes, at);
}

// Up to 3.6 `gil` is a copy of _PyThreadState_Current.
static bool holds_gil(const struct spy_py_layout *l, uint64_t tstate, const uint8_t *gil)
{
    if (l->runtime_is_head)
        return spy_py_word(gil, 0) == tstate;
    return spy_py_half(gil, SPY_GIL_LOCKED) == 1 && spy_py_word(gil, SPY_GIL_HOLDER) == tstate;
}

// Each interpreter has its own count, and memory of one's code object may later be another's: the
// counts of two interpreters are never equal.
static uint64_t hash_code_generation(const struct spy_py_layout *l, uint64_t interp, uint64_t count)
{
    if (l->interp_next_version)
        count = (uint32_t)count;
    else if (l->interp_code_generation != SPY_PY_ABSENT)
        count++;
    return count ? spy_hash_mix(count, interp) | 1 : 0;
}

struct spy_py_facts spy_py_facts_decode(const struct spy_py_layout *l,
                                        const struct spy_py_facts_plan *plan, uint64_t tstate,
                                        uint64_t interp, const uint8_t *bytes)
{
    uint16_t gil = plan->at[SPY_FACT_GIL];
    uint64_t generation = fact_word(plan, bytes, SPY_FACT_GENERATION);
    return (struct spy_py_facts){
        .head = fact_word(plan, bytes, SPY_FACT_HEAD),
        .holds_gil = gil != SPY_PY_ABSENT && holds_gil(l, tstate, bytes + gil),
        .collecting = (uint32_t)fact_word(plan, bytes, SPY_FACT_COLLECTING) == 1,
        .next_version = l->interp_next_version ? (uint32_t)generation : 0,
        .code_generation = hash_code_generation(l, interp, generation),
        .tlbc_generation = (uint32_t)fact_word(plan, bytes, SPY_FACT_TLBC),
    };
}
