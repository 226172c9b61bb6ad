// agents.h - which agents push, to bound their number. Inside of collector/ingest. Thread safe.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct spy_agents;
struct spy_agents *spy_agents_new(uint32_t max, uint64_t silent_ns); // NULL: no memory
void spy_agents_free(struct spy_agents *a);
// Notes that `name` (a node's or a host's) pushed at now_ns. False: it is new, and there are max
// that are not silent.
bool spy_agents_see(struct spy_agents *a, const char *name, uint64_t now_ns);
uint32_t spy_agents_count(struct spy_agents *a);
