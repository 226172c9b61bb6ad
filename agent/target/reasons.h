// reasons.h - why a process cannot be read, and what would change that: one table for dump, record,
// the agent and doctor, so that they never contradict each other.
//
// A bar is one thing that can keep podspy from a process. It is decided from the facts of rights.h,
// without a system call. A command gives the first bar that holds for a process, in the order
// below; doctor has a line for each. If the kernel refuses a read, at least one bar holds.
//
// Threads: any; nothing is shared.
#pragma once
#include "agent/target/rights.h"
#include "shared/base/err.h"

enum spy_bar {
    SPY_BAR_PROC,        // no /proc, or another PID namespace's
    SPY_BAR_HIDDEN,      // hidepid
    SPY_BAR_ENDED,       // a zombie or a kernel thread: there is nothing to read
    SPY_BAR_SYSTEM_CALL, // process_vm_readv is filtered, and /proc/PID/mem does not work
    SPY_BAR_USERNS,      // a user namespace
    SPY_BAR_USER,        // another user or group
    SPY_BAR_CAPABILITIES,
    SPY_BAR_DUMPABLE,
    SPY_BAR_YAMA,
    SPY_BAR_MODULE, // AppArmor, SELinux, or an unknown reason
    SPY_BARS,
};

// text states the fact, cure what to change: each is one line without a full stop.
struct spy_reason {
    enum spy_bar bar;
    bool partly; // without a process: some processes can be read all the same
    char text[128];
    char cure[200];
};

// True if the bar keeps podspy from reading the process g; if g is NULL, from reading all that an
// agent reads, which includes other users' processes. Fills *ret then.
bool spy_bar_holds(enum spy_bar bar, const struct spy_rights *r, const struct spy_guard *g,
                   struct spy_reason *ret);
// The first bar that holds; false: none.
bool spy_reason_find(const struct spy_rights *r, const struct spy_guard *g, struct spy_reason *ret);

// The error for a process that the kernel refused to let podspy read (proc_fd: its folder) or open
// (proc_fd is -1). SPY_ERR_GONE if it has ended or never existed, else SPY_ERR_DENIED.
int spy_reason_explain(pid_t pid, int proc_fd, struct spy_err *err);
