// agents.h - which agents push: bounds their number and the bytes of each. Inside of
// collector/ingest. Thread safe.
#pragma once
#include "shared/base/buf.h"
#include <stddef.h>
#include <stdint.h>

struct spy_agents;
// An agent that was silent for silent_ns is no longer counted. bytes_a_minute: what an agent may send
// on average, and at once after a minute of silence; 0: no bound. NULL: out of memory.
struct spy_agents *spy_agents_new(uint32_t max, uint64_t silent_ns, uint64_t bytes_a_minute);
void spy_agents_free(struct spy_agents *a);

enum spy_agents_answer {
    SPY_AGENTS_OK,
    SPY_AGENTS_TOO_MANY, // the agent is new, and max agents are not silent
    SPY_AGENTS_TOO_FAST, // the agent sent more than it may
};
// Notes that the agent `name` (its node or host) pushed so many bytes at now_ns. Pushes refused as
// too fast are not counted.
enum spy_agents_answer spy_agents_see(struct spy_agents *a, const char *name, size_t bytes,
                                      uint64_t now_ns);
// Notes how far the agent's clock is ahead of this one; below 0: behind. Unknown agents are ignored.
void spy_agents_note_clock(struct spy_agents *a, const char *name, int64_t ahead_ns);
// Appends the metric podspy_collector_agent_clock_ahead_seconds with a line for each agent that sent
// its time, by whole seconds as the Date header has them; nothing if they are more than max.
int spy_agents_print_clocks(struct spy_agents *a, uint32_t max, struct spy_buf *out);
uint32_t spy_agents_count(struct spy_agents *a);
