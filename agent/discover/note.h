// note.h - Events of Kubernetes about wrong annotations. Inside of agent/discover.
//
// `kubectl describe pod` shows them: what is wrong and what would be right. An Event's name is made
// of pod and problem, so that a problem is reported by a single Event however often an agent starts.
// At most 32 wait and one is under way; further ones are dropped. After a refusal (403) no more are
// sent. All calls from one thread.
#pragma once
#include "agent/discover/access.h"
#include "agent/discover/pods.h"

struct spy_notes;

// Both are borrowed. NULL: out of memory.
struct spy_notes *spy_notes_new(const struct spy_access *access, struct spy_client_loop *loop);
void spy_notes_free(struct spy_notes *n); // before the loop
// Queues an Event, unless this pod and problem had one lately.
void spy_notes_add(struct spy_notes *n, const struct spy_pod *pod, const char *problem);
// Takes the answer to the Event under way, if it has come, and begins to send the next. To be called
// before each spy_client_loop_run.
void spy_notes_run(struct spy_notes *n);
