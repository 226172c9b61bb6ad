// limits.h - how often and how long a CPU limit stopped a process: cpu.stat of its cgroup. Inside
// of agent/sampler.
//
// /proc/PID/cgroup names the cgroup as it looks from our cgroup namespace: in a container of our
// own that is a path such as /../../kubepods-pod1.slice/cri-containerd-2.scope, which our mount
// does not reach. So two mounts are tried: ours (/proc/self/mountinfo) and that of process 1 below
// /proc/1/root, which is the node's where the PID namespace is. What our namespace calls "/" is
// found below the node's mount by its inode.
//
// A limit may be set on the cgroup itself or on any above it (the container's, the pod's, a
// slice's), and each that is set stops all below it. Several on one path stop the same threads at
// the same time: their sum would count twice, so the level counts whose time grew most.
//
// The parsers take any bytes: /proc is the kernel's, but a container chooses names of cgroups.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPY_LIMITS_PATH = 2048, SPY_LIMITS_LEVELS = 16 };

struct spy_throttle {
    uint64_t ns, periods; // as cpu.stat counts them, since the cgroup was made
};

// The levels of one path, innermost first, as they were read at one time.
struct spy_limits_reading {
    uint64_t path; // hash of it; 0: nothing could be read
    size_t n;
    struct spy_throttle levels[SPY_LIMITS_LEVELS];
};

struct spy_limits;                       // where the cgroups are; found at the first reading
struct spy_limits *spy_limits_new(void); // NULL: no memory
void spy_limits_free(struct spy_limits *l);

// proc_fd is of /proc/PID. ret->path is 0 where it is not known.
void spy_limits_read(struct spy_limits *l, int proc_fd, struct spy_limits_reading *ret);
// What was added between two readings. False: not known (one of them is not, or it was moved).
bool spy_limits_growth(const struct spy_limits_reading *from, const struct spy_limits_reading *to,
                       struct spy_throttle *ret);

// --- parsers ---

// The path of the cgroup that limits the CPU, in the text of /proc/PID/cgroup: the v1 hierarchy
// with the cpu controller, else v2's. *ret_path points into text. False: neither.
bool spy_limits_cgroup(const char *text, size_t len, bool *ret_v2, const char **ret_path,
                       size_t *ret_len);
// The first mount of that hierarchy in the text of a mountinfo: its root within the hierarchy and
// where it is mounted, both without the file's escapes, in SPY_LIMITS_PATH bytes each.
bool spy_limits_mount(const char *text, size_t len, bool v2, char *ret_root, char *ret_point);
// The path below a mount of `root` that leads to `path` (both as one namespace sees them). own:
// what that namespace calls "/", below root; only needed where root begins with more "/.." than
// path. False: it is not below root.
bool spy_limits_below(const char *root, const char *own, const char *path, size_t len, char *ret);
// nr_throttled, and throttled_usec (v2) or throttled_time (v1, ns). False: it has none, as no limit
// can be set here.
bool spy_limits_stat(const char *text, struct spy_throttle *ret);
