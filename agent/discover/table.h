// table.h - each process seen on the node, and the data of the opted-in processes. Inside of
// agent/discover.
//
// Sorted by pid, since /proc lists it so: adding at the end is the common case.
#pragma once
#include "agent/discover/discover.h"
#include "agent/discover/proc.h"

enum { SPY_TABLE_MAX = 65536, SPY_MEMBERS_MAX = 4096 };

// An opted-in process with the memory behind the strings of its spy_process.
struct spy_member {
    struct spy_process p;
    bool by_label;    // by what its container's or pod's owner wrote, or its parent's
    uint64_t consent; // hash of the uid of the pod that opted it in, itself or its parent; or 0
    int stat;         // its open stat file, which fails once this very process is gone; or negative
    uint64_t image;   // see spy_proc_stat
    uint64_t cpu_ns;  // its CPU time before stat was last read; 0: not known
    uint32_t unread;  // checks since
    uint32_t threads; // when stat was last read
    struct spy_member *next; // of the members to be freed
    char command[SPY_PROC_COMM], cmdline[SPY_PROC_CMDLINE];
    char container_id[65], pod_uid[64], namespace_name[64];
    char container_name[256], image_name[256], pod[256], service[256], reason[96];
};

struct spy_entry {
    pid_t pid, ppid;
    uint64_t start_time;
    uint64_t first_ns, checked_ns; // when it was first seen, and last judged or compared
    uint64_t args_hash;            // of its cmdline at that time
    uint64_t container_ns;         // when it was first seen in its container
    uint64_t container_hash;       // of its container's id; 0: none
    uint32_t listed;               // number of the last listing that had it
    bool kernel;                   // a kernel thread
    bool wait;                     // for what Docker says of its container
    bool gone;                     // to be swept
    // A zombie: seen, and reported. A zombie that its parent reaps soon is ignored. A zombie that
    // stays is opted in if a rule matches, so that the sampler reports why it has no samples.
    enum { SPY_ALIVE, SPY_DEAD_SEEN, SPY_DEAD_TOLD } dead;
    struct spy_member *in; // NULL: not opted in
};

struct spy_table {
    struct spy_entry **all; // sorted by pid
    size_t n, cap, n_in;
};

struct spy_entry *spy_table_find(const struct spy_table *t, pid_t pid);
// The entry of pid; a new one is zeroed but for pid. NULL: out of memory, or too many.
struct spy_entry *spy_table_add(struct spy_table *t, pid_t pid);
// Frees the entries marked gone, whose `in` is NULL.
void spy_table_sweep(struct spy_table *t);
void spy_member_free(struct spy_member *m);
void spy_table_free(struct spy_table *t);
