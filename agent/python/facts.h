// facts.h - what is read of an interpreter's state besides the frames of one thread: who holds the
// GIL, whether the garbage collector works, and the counts that show that something has changed.
// Inside of agent/python.
#pragma once
#include "agent/python/layout.h"
#include "agent/target/target.h"

enum { SPY_PY_FACTS = 2048 }; // most bytes of one span

// Facts that lie near each other are read as one span.
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
    uint16_t at[SPY_FACTS]; // offset in the bytes of all spans, joined; SPY_PY_ABSENT: not read
};

// The bytes of all spans of any plan, and what a word that begins in the last one may reach past.
enum { SPY_PY_FACTS_BYTES = SPY_FACTS * SPY_PY_FACTS + 8 };

// What a read found besides the frames.
struct spy_py_facts {
    uint64_t next, head; // of the lists of threads: they show when the lists change
    bool holds_gil, collecting;
    bool moved;               // the newest frame moved on between its two copies: the thread runs
    uint64_t code_generation; // after the frames were read; 0: not known
    uint32_t next_version;    // 3.13: the count that code_generation is made from
    uint32_t tlbc_generation; // of the copies of bytecode; 0: there are none
};

// Chooses the spans to read for the threads of one interpreter. gil: the address of its GIL, up to
// 3.6 of _PyThreadState_Current; collecting: of the garbage collector's flag. 0: not known.
void spy_py_facts_choose(const struct spy_py_layout *l, uint64_t interp, uint64_t gil,
                         uint64_t collecting, struct spy_py_facts_plan *ret);
// Decodes the SPY_PY_FACTS_BYTES that were read by that plan. Leaves next and moved 0.
struct spy_py_facts spy_py_facts_decode(const struct spy_py_layout *l,
                                        const struct spy_py_facts_plan *plan, uint64_t tstate,
                                        uint64_t interp, const uint8_t *bytes);
