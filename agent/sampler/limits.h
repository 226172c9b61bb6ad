// limits.h - how often and how long a CPU limit throttled a process: cpu.stat of its cgroup. Inside
// of agent/sampler.
//
// /proc/PID/cgroup names the cgroup as seen from our cgroup namespace: if we run in a container,
// that is a path such as /../../kubepods-pod1.slice/cri-containerd-2.scope, which our mount does
// not reach. So two mounts are tried: ours (/proc/self/mountinfo), and that of process 1 below
// /proc/1/root, which is the node's if we share its PID namespace. What our namespace calls "/" is
// found below the node's mount by its inode.
//
// A limit may be set on the cgroup or on any level above it (the container, the pod, a slice), and
// throttles everything below. Several limits on one path throttle the same threads at the same
// time; adding them up would count that twice, so the level whose time grew most counts.
//
// The parsers accept any bytes: /proc is the kernel's, but a container chooses names of cgroups.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPY_LIMITS_PATH = 2048, SPY_LIMITS_LEVELS = 16 };

struct spy_throttle {
    uint64_t ns, periods; // as cpu.stat counts them, since the cgroup was made
};

// The levels of one path, innermost first, read at one time.
struct spy_limits_reading {
    uint64_t path; // its hash; 0: nothing could be read
    size_t n;
    struct spy_throttle levels[SPY_LIMITS_LEVELS];
};

struct spy_limits;                       // where the cgroups are; found at the first read
struct spy_limits *spy_limits_new(void); // NULL: no memory
void spy_limits_free(struct spy_limits *l);

// proc_fd is of /proc/PID. ret->path is 0 if the cgroup is not known.
void spy_limits_read(struct spy_limits *l, int proc_fd, struct spy_limits_reading *ret);
// What was added between two readings. False: not known, because a reading is not, or the process
// was moved to another cgroup.
bool spy_limits_growth(const struct spy_limits_reading *from, const struct spy_limits_reading *to,
                       struct spy_throttle *ret);

// --- parsers ---

// Finds the path of the cgroup that limits the CPU in the text of /proc/PID/cgroup: of the v1
// hierarchy with the cpu controller, else of v2. *ret_path points into text. False: neither is
// there.
bool spy_limits_cgroup(const char *text, size_t len, bool *ret_v2, const char **ret_path,
                       size_t *ret_len);
// Finds the first mount of that hierarchy in the text of a mountinfo: its root within the
// hierarchy, and its mount point, both unescaped, in SPY_LIMITS_PATH bytes each.
bool spy_limits_mount(const char *text, size_t len, bool v2, char *ret_root, char *ret_point);
// The path below a mount of `root` that leads to `path`, both as one namespace sees them. own: what
// that namespace calls "/", below root; needed only if root begins with more "/.." than path.
// False: path is not below root.
bool spy_limits_below(const char *root, const char *own, const char *path, size_t len, char *ret);
// Parses nr_throttled, and throttled_usec (v2) or throttled_time (v1, ns). False: it has none,
// because no limit can be set here.
bool spy_limits_stat(const char *text, struct spy_throttle *ret);
