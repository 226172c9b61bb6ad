// facts.h - what is read of an interpreter's state beside the frames of one thread: who holds the
// GIL, whether the garbage collector works, and the counts that tell that something has changed.
// Inside of agent/python.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"

enum { SPY_PY_FACTS = 2048 }; // bytes of one span of them

// Wherever they lie: what lies together is one span.
enum spy_py_fact {
    SPY_FACT_HEAD,
    SPY_FACT_GIL,
    SPY_FACT_COLLECTING,
    SPY_FACT_GENERATION,
    SPY_FACT_TLBC,
    SPY_FACTS
};
struct spy_py_facts_plan {
    struct spy_span spans[SPY_FACTS]; // `to` is not used
    size_t n;
    uint16_t at[SPY_FACTS]; // in the bytes of all spans, one after another; SPY_PY_ABSENT: not read
};

// The bytes of all spans of any plan, and what a word that begins in the last one may reach past.
enum { SPY_PY_FACTS_BYTES = SPY_FACTS * SPY_PY_FACTS + 8 };

// What the walk found besides the frames.
struct spy_py_facts {
    uint64_t next, head; // of the lists of threads: how the sampler learns that they changed
    bool holds_gil, collecting;
    bool moved; // the newest frame went on between the two reads of it: the thread runs
    uint64_t code_generation; // after the frames were read; 0: not known
    uint32_t next_version;    // in 3.13, what that is made from
    uint32_t tlbc_generation; // of the copies of bytecode; 0: there are none
};

struct spy_py_thread;

// Chooses the spans for what th has of gil, collecting and so on.
void spy_py_facts_plan(const struct spy_py_layout *l, struct spy_py_thread *th);
// What the SPY_PY_FACTS_BYTES that were read after th's plan say. Leaves next and moved 0.
struct spy_py_facts spy_py_facts_of(const struct spy_py_layout *l, const struct spy_py_thread *th,
                                    const uint8_t *bytes);
