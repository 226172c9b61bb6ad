// process_names.h - what the processes of a profile are called. Inside of shared/formats and of what
// prints processes.
//
// A name is what tells a process apart, then its PID: the program (not its interpreter, nor its
// folder); its arguments, where processes of that program have different ones, without a long
// beginning that all have; "worker N" for the
// N-th child, by PID, that runs its parent's program; and the pod, where the profile has several:
//
//     gunicorn (27800)                      gunicorn worker 1 (27811)
//     train.py --rank 3 (812)               celery: worker (9) of jobs-1
//
// A program that sets its process title ("celery: worker") is called by the title.
//
// Threads: one profile is used by one thread.
#pragma once
#include "shared/base/buf.h"
#include "shared/profile/profile.h"

struct spy_process_names;
// Names the processes of all series. The profile is borrowed, and must not change. SPY_ERR_NOMEM.
int spy_process_names_new(const struct spy_profile *p, struct spy_process_names **ret);
void spy_process_names_free(struct spy_process_names *n); // NULL-safe
// Appends the name: one line, without control characters, at most 1 KiB.
int spy_process_names_put(const struct spy_process_names *n, uint32_t series, struct spy_buf *out);
