// budget.h - how far the periods of a sampler are stretched, so that it takes no more CPU time than it
// may. Inside of agent/sampler.
//
// The cost of attaching (finding the interpreter, binding and naming each thread, reading stacks of
// which nothing is known) says nothing about the cost of sampling: a node whose many threads all
// appear at once would be sampled too rarely for a long time. So the budget leaves as much of it
// out of account as it allows over time.
#pragma once
#include <stdint.h>

struct spy_budget {
    double percent;      // of one core; 0: no budget
    uint64_t at, cpu;    // when it was last compared, and the CPU time until then
    uint64_t attach_cpu; // spent on attaching since, added by the caller
    uint64_t attach_allowed;
};

void spy_budget_init(struct spy_budget *b, double percent);
// The factor that all periods are to have from here on, from 1 to 1000; stretch is what they have
// now. Compares once a second. now: CLOCK_MONOTONIC.
double spy_budget_stretch(struct spy_budget *b, double stretch, uint64_t now);
