// facts.h - what is known of a process while it is judged; each file is read when first needed.
// Inside of agent/discover.
//
// Everything here comes from the world-readable files stat, status, cmdline and cgroup.
#pragma once
#include "agent/discover/cgroup.h"
#include "agent/discover/proc.h"

enum { SPY_FACTS_CGROUP = 16384 };

enum { SPY_HAVE_STATUS = 1, SPY_HAVE_ARGS = 2, SPY_HAVE_CGROUP = 4 };

struct spy_facts {
    int dir;       // the open folder /proc/PID
    unsigned have; // SPY_HAVE_ bits: what below is filled
    struct spy_proc_stat stat;
    struct spy_proc_status status;
    struct spy_proc_args args;
    struct spy_cgroup container;
    size_t cgroup_len;
    char cgroup[SPY_FACTS_CGROUP + 1]; // the file, cut
};

// Opens the process and reads its stat. Close it also when this fails.
int spy_facts_open(struct spy_facts *f, int proc, pid_t pid);
void spy_facts_close(struct spy_facts *f);
// Each reads its file at the first call. NULL when the process is gone or the file cannot be parsed.
const struct spy_proc_status *spy_facts_status(struct spy_facts *f);
const struct spy_proc_args *spy_facts_args(struct spy_facts *f);
const struct spy_cgroup *spy_facts_container(struct spy_facts *f); // also fills cgroup
