// cgroup.h - which container and pod a process is in, from /proc/PID/cgroup. Inside of
// agent/discover.
//
// Nothing is looked up: the names of the cgroups say it. Known are cgroup v1, v2 and both at once;
// the drivers cgroupfs and systemd; Docker, containerd, CRI-O and Podman; and the paths that begin
// with "/.." which a reader in a cgroup namespace of its own sees.
//
// In nested containers the outermost counts, since the node's own runtime knows that one; but below
// a Kubernetes pod it is the pod's container.
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum spy_runtime {
    SPY_RUNTIME_NONE,    // in no container
    SPY_RUNTIME_UNKNOWN, // in one, but the path does not say whose
    SPY_RUNTIME_DOCKER,
    SPY_RUNTIME_CONTAINERD,
    SPY_RUNTIME_CRIO,
    SPY_RUNTIME_PODMAN,
};

struct spy_cgroup {
    enum spy_runtime runtime;
    char container_id[65]; // 64 hex digits, or ""
    char pod_uid[37];      // as the API server prints it; a static pod's is 32 hex digits; or ""
};

// text is the whole file, in any state: lines that cannot be parsed are skipped. Always fills
// *ret.
void spy_cgroup_parse(const char *text, size_t len, struct spy_cgroup *ret);
// The next path of the file: *at starts at text and is moved on. NULL at the end.
const char *spy_cgroup_next_path(const char **at, const char *end, size_t *ret_len);

const char *spy_runtime_name(enum spy_runtime runtime);
