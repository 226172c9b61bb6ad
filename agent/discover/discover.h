// discover.h - which processes on this node are opted in.
//
// Four things opt a process in: the annotation podspy.dev/profile: "true" of its Kubernetes pod,
// the same label of its Docker container, a rule of the configuration, and an ancestor that is
// opted in. Before that, discover reads only the world-readable files of a process,
// /proc/PID/{stat,cmdline,cgroup,status}, and never its maps, environ, exe link, root or memory: a
// rule's `exe` glob is matched against argv[0]. A pod or container whose value is not "true" stays
// out, whatever a rule says.
//
// An opted-in process stays in until it exits or the annotation of its pod is removed. The latter
// is reported as REMOVED although the process lives on. A change of its settings is reported as
// REMOVED, then ADDED.
//
// One spy_discover belongs to one thread. The agent's loop calls spy_discover_poll every 100 ms or
// more often; a poll is cheap when nothing changed. It finds children of opted-in processes within
// 250 ms of their start and other processes within 2 s, notices exec (the record's generation
// changes) and exit, and detects PID reuse by the start time of /proc/PID/stat. A zombie counts as
// exited. A zombie that is not reaped is reported once, with the reason why it has no samples.
//
// Bounds: 65536 processes watched, 4096 opted in, 1024 pods. A poll checks 50 of the processes that
// are not opted in, so with N processes an exec that makes a rule match is noticed within 2 s or
// N / 500 s. Threads of their own ask Docker and Kubernetes: if one of them hangs, only the verdict
// on its new containers is delayed.
#pragma once
#include "agent/config/agent_config.h"
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spy_discover;

// Where something runs, in the words of Kubernetes or Docker. Strings are "" when not known.
struct spy_place {
    const char *pod, *pod_uid, *namespace_name, *container, *container_id, *image, *service;
};

// What is known of one opted-in process. Strings are "" when not known; all are borrowed from the
// spy_discover and hold until the next poll.
struct spy_process {
    pid_t pid; // in the numbering of the /proc we read
    pid_t ppid;
    pid_t ns_pid;        // in its own PID namespace (last number of NSpid); 0: not known
    uint64_t start_time; // clock ticks since boot: with pid, the identity of a process
    uint32_t generation; // rises when it calls exec
    uint32_t rate;       // samples a second
    bool native;
    bool lives; // REMOVED, but not ended: its pod's annotation was removed or changed
    enum spy_pausing blocking;
    const char *command; // comm
    const char *cmdline; // arguments joined by spaces, at most 1 KiB
    struct spy_place place;
    const char *reason; // why it is opted in: "pod annotation", "rule web", "child of 123"
};

enum spy_discover_event { SPY_DISCOVER_ADDED, SPY_DISCOVER_EXEC, SPY_DISCOVER_REMOVED };
typedef void (*spy_discover_fn)(void *arg, enum spy_discover_event event,
                                const struct spy_process *process);

// The spy_discover borrows config for its whole life. proc_root is "/proc", or another mount of
// procfs for tests and for containers that mount the host's elsewhere. SPY_ERR_INVALID for a rule
// whose user is not known here, SPY_ERR_USAGE when discovery.kubernetes is on and the API's address
// is not given.
int spy_discover_new(const struct spy_agent_config *config, const char *proc_root,
                     struct spy_discover **ret, struct spy_err *err);
void spy_discover_free(struct spy_discover *d);
// Polls, and calls fn for each change; fn must not call the spy_discover. A process that goes away
// while it is read is not an error. Does nothing while there is no rule, no Docker and no
// Kubernetes.
int spy_discover_poll(struct spy_discover *d, spy_discover_fn fn, void *arg, struct spy_err *err);

// Why a pod, a container or the whole node is not profiled. Strings are "" when not known and hold
// until the next poll; pid is 0 where the problem is not about a process.
struct spy_problem {
    struct spy_place place;
    pid_t pid;
    const char *text; // for people: what is wrong and what to do
};
typedef void (*spy_problem_fn)(void *arg, const struct spy_problem *problem);

// Reports each problem: wrong values of annotations and labels; for a Kubernetes pod, in one text,
// why it has no data (not annotated, no container runs, no process is seen); sources that do not
// answer; bounds that were reached.
void spy_discover_explain(const struct spy_discover *d, spy_problem_fn fn, void *arg);
