// rights.h - what podspy may do where it runs, and what guards another process: the facts from
// which reasons.h finds why a process cannot be read.
//
// Both are read after the kernel has refused something, or for doctor; no sample needs them. Only
// world-readable files of another process are opened. Whether it may be read is tested with a read
// of one byte at an address that no process has mapped.
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
    enum spy_hidepid hidepid; // OFF, too, if podspy is in the group that hidepid exempts
    uid_t uid;
    gid_t gid;
    uint64_t capabilities; // effective
    bool can_trace;        // CAP_SYS_PTRACE is among them
    bool may_get_trace;    // it is in the bounding set, so that root, and thus sudo, gives it
    bool no_new_privs;     // sudo changes nothing
    bool initial_userns;   // the machine's own user namespace, or not known
    int yama;              // kernel.yama.ptrace_scope; 0: no Yama
    bool seccomp;          // a filter checks our system calls
    bool reads_files;      // process_vm_readv is forbidden, /proc/PID/mem is read (memory.h)
    int read_errno;        // from a read of this process, which the kernel never refuses; or 0
    int trace_errno;       // from ptrace of process 0, if that is refused as such; or 0
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
    int look_errno;          // from following its links in /proc, which Yama allows; or 0
    int read_errno;          // from a read of it, if that is refused; or 0
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
