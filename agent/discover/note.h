// note.h - Events of Kubernetes about wrong annotations. Inside of agent/discover.
//
// For `kubectl describe pod`: what is wrong and what would be right. An Event's name is made of pod
// and problem, so that one problem is one Event however often an agent starts. At most 32 wait and
// one is under way; what is beyond is dropped. After a refusal (403) none is sent any more.
// All calls from one thread.
#pragma once
#include "agent/discover/access.h"
#include "agent/discover/pods.h"

struct spy_notes;

struct spy_notes *spy_notes_new(const struct spy_access *access); // borrowed. NULL: no memory
void spy_notes_free(struct spy_notes *n, CURLM *multi);
// Wants an Event; nothing when there was one for this pod and problem lately.
void spy_notes_add(struct spy_notes *n, const struct spy_pod *pod, const char *problem);
// Begins the next one on multi, when none is under way.
void spy_notes_send(struct spy_notes *n, CURLM *multi);
// Tells that a transfer ended that is not the caller's own.
void spy_notes_ended(struct spy_notes *n, CURL *easy, CURLcode code);
