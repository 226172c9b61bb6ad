// agents.h - which agents push, to bound their number and how much each sends. Inside of
// collector/ingest. Thread safe.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct spy_agents;
// bytes_a_minute: that an agent may send on average, and at once after a minute of silence; 0: no
// bound. NULL: no memory.
struct spy_agents *spy_agents_new(uint32_t max, uint64_t silent_ns, uint64_t bytes_a_minute);
void spy_agents_free(struct spy_agents *a);

enum spy_agents_answer {
    SPY_AGENTS_OK,
    SPY_AGENTS_TOO_MANY, // it is new, and there are max that are not silent
    SPY_AGENTS_TOO_FAST, // it sent more than it may
};
// Notes that `name` (a node's or a host's) pushed so many bytes at now_ns. What is refused as too
// fast does not count.
enum spy_agents_answer spy_agents_see(struct spy_agents *a, const char *name, size_t bytes,
                                      uint64_t now_ns);
uint32_t spy_agents_count(struct spy_agents *a);
