// discover.h - which processes on this node are opted in.
//
// A process is opted in by the annotation podspy.dev/profile: "true" of its Kubernetes pod, by that
// label of its Docker container, by a rule of the configuration, or because an ancestor is. Until
// then only world-readable metadata of it is looked at: /proc/PID/{stat,cmdline,cgroup,status}.
// Never its maps, environ, exe link, root or memory: a rule's `exe` glob is matched against
// argv[0]. A container or pod that says anything but "true" is left alone, whatever a rule says.
// Once in, a process stays in until it ends, or until the annotation of its pod is taken away: that
// is a REMOVED of a process that lives on. An annotation that changes its settings is a REMOVED and
// an ADDED.
//
// One spy_discover belongs to one thread. spy_discover_poll is called at least every 100 ms by the
// agent's loop; it is cheap when nothing changed, finds children of opted-in processes within 250
// ms of their start and other processes within 2 s, notices exec (the record's generation changes)
// and exit, and tells PID reuse by the start time of /proc/PID/stat. A zombie has exited; one that
// stays is added and removed once, so that it is listed with the reason why there is nothing of it.
//
// Bounds: 65536 processes watched, 4096 opted in, 50 of the others looked at again in a poll, so
// that with N processes an exec that makes one match is noticed within 2 s or N / 500 s; 1024 pods.
// Docker and Kubernetes are asked by threads of their own: one that hangs holds nothing up but the
// verdict on its new containers.
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
    bool lives; // REMOVED, but not ended: its pod's annotation was taken away or changed
    enum spy_pausing blocking;
    const char *command; // comm
    const char *cmdline; // arguments joined by spaces, at most 1 KiB
    struct spy_place place;
    const char *reason; // why it is in: "pod annotation", "rule web", "child of 123"
};

enum spy_discover_event { SPY_DISCOVER_ADDED, SPY_DISCOVER_EXEC, SPY_DISCOVER_REMOVED };
typedef void (*spy_discover_fn)(void *arg, enum spy_discover_event event,
                                const struct spy_process *process);

// config is borrowed for the whole life. proc_root is "/proc", or another mount of procfs for tests
// and for containers that mount the host's elsewhere. SPY_ERR_INVALID for a rule whose user is not
// known here, SPY_ERR_USAGE when discovery.kubernetes is on and it is not said where the API is.
int spy_discover_new(const struct spy_agent_config *config, const char *proc_root,
                     struct spy_discover **ret, struct spy_err *err);
void spy_discover_free(struct spy_discover *d);
// Looks around and calls fn for what changed; fn must not call the spy_discover. A process that
// goes away mid-read is not an error. Does nothing while there is neither a rule nor a Docker.
int spy_discover_poll(struct spy_discover *d, spy_discover_fn fn, void *arg, struct spy_err *err);

// Something that keeps a pod, a container or the whole node from being profiled. Strings are ""
// when not known and hold until the next poll; pid is 0 where none is meant.
struct spy_problem {
    struct spy_place place;
    pid_t pid;
    const char *text; // for people: what is wrong and what to do
};
typedef void (*spy_problem_fn)(void *arg, const struct spy_problem *problem);

// Tells, one by one: wrong values of annotations and labels; of a Kubernetes pod in one text why it
// has no data (not annotated, no container runs, none is seen); sources that do not answer; bounds
// that were reached.
void spy_discover_explain(const struct spy_discover *d, spy_problem_fn fn, void *arg);
