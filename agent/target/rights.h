// rights.h - the rights of podspy and the protection of another process: the facts from which
// reasons.h finds why a process cannot be read.
//
// podspy collects both after the kernel has refused a read, and for doctor; no sample needs them.
// It opens only world-readable files of the other process, and tests the right to read it with one
// byte at an address that no process has mapped.
//
// What the kernel requires to read a process (__ptrace_may_access in kernel/ptrace.c,
// cap_ptrace_access_check in security/commoncap.c, ptrace(2)): the same user and group as its real,
// effective and saved ids, a dumpable process in the same user namespace, and no capabilities that
// the reader lacks; or CAP_SYS_PTRACE in the user namespace of that process. Then the security
// modules, Yama among them, may still refuse.
//
// Threads: any; nothing is shared.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// What is mounted at /proc.
enum spy_proc_mount {
    SPY_PROC_OURS,    // the processes of podspy's PID namespace
    SPY_PROC_MISSING, // nothing is mounted there
    SPY_PROC_STRANGE, // another kind of file system
    SPY_PROC_FOREIGN, // the processes of another PID namespace, where a pid means another process
};

enum spy_hidepid { // proc(5); the kernel's numbers
    SPY_HIDEPID_OFF = 0,
    SPY_HIDEPID_NOACCESS = 1,
    SPY_HIDEPID_INVISIBLE = 2,
    SPY_HIDEPID_PTRACEABLE = 4,
};

enum { SPY_YAMA_UNKNOWN = -1, SPY_YAMA_NOBODY = 3 };
enum { SPY_LABEL_BYTES = 64 };

struct spy_rights {
    enum spy_proc_mount proc;
    enum spy_hidepid hidepid; // OFF also for a podspy in the group that hidepid exempts
    uid_t uid;
    gid_t gid;
    uint64_t capabilities; // effective
    bool can_trace;        // CAP_SYS_PTRACE is among them
    bool may_get_trace;    // CAP_SYS_PTRACE is in the bounding set, so that root and sudo have it
    bool no_new_privs;     // sudo changes nothing
    bool initial_userns;   // the machine's own user namespace, or not known
    int yama;              // kernel.yama.ptrace_scope; 0: no Yama
    bool seccomp;          // a filter checks our system calls
    bool reads_files;      // process_vm_readv is forbidden: podspy reads /proc/PID/mem (memory.h)
    int read_errno;        // of a read of podspy's own memory, never refused by the kernel; or 0
    int trace_errno;       // of ptrace itself, tried on process 0; 0: ptrace is not forbidden
    char label[SPY_LABEL_BYTES]; // what a security module confines podspy to; "": nothing
};

enum spy_known { SPY_NO, SPY_YES, SPY_UNKNOWN };

struct spy_guard {
    bool exists; // the kernel knows the pid, whatever /proc shows
    bool seen;   // its folder in /proc can be opened
    bool known;  // its status was read: all fields below but the errnos are set
    char state;  // 'S', 'Z', ...
    bool kernel; // a kernel thread
    uint32_t threads;
    pid_t tracer;            // 0: it is not traced
    uid_t uid[3];            // real, effective, saved, in podspy's numbering
    gid_t gid[3];            // the same
    uint64_t capabilities;   // permitted
    enum spy_known dumpable; // UNKNOWN for root's processes, whose files do not show it
    bool other_userns;       // its user namespace is certainly another
    int look_errno;          // of following its links in /proc, which Yama allows; 0: it worked
    int read_errno;          // of a read of its memory; 0: it was not refused
    char label[SPY_LABEL_BYTES];
};

// Always fills *ret, even without /proc.
void spy_rights_load(struct spy_rights *ret);
// Always fills *ret. proc_fd: of the folder /proc/PID, or -1 to open it for the time of the call.
void spy_guard_load(pid_t pid, int proc_fd, struct spy_guard *ret);

// True if /proc shows our own PID namespace, or is missing. One system call.
bool spy_proc_is_ours(void);
// "NET_ADMIN"; NULL past the last known capability.
const char *spy_capability_name(unsigned bit);
