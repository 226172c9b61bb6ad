// reasons.h - why a process cannot be read, and what changes that: one table for dump, record, the
// agent and doctor, so that they never contradict each other.
//
// A bar is one thing that can stand between podspy and a process. Each is told from the facts of
// rights.h, without a system call. Of the bars that hold for a process, the first in the order
// below is the reason that a command gives; doctor has a line for each. Where the kernel refuses a
// read, at least one of them holds.
//
// Threads: any; nothing is shared.
#pragma once
#include "agent/target/rights.h"
#include "shared/base/err.h"

enum spy_bar {
    SPY_BAR_PROC,        // no /proc, or another PID namespace's
    SPY_BAR_HIDDEN,      // hidepid
    SPY_BAR_ENDED,       // a zombie or a kernel thread: there is nothing to read
    SPY_BAR_SYSTEM_CALL, // process_vm_readv is filtered, and /proc/PID/mem does not do
    SPY_BAR_USERNS,      // a user namespace
    SPY_BAR_USER,        // another user or group
    SPY_BAR_CAPABILITIES,
    SPY_BAR_DUMPABLE,
    SPY_BAR_YAMA,
    SPY_BAR_MODULE, // AppArmor, SELinux, or what cannot be told
    SPY_BARS,
};

// text says what is so, cure what to change: both one line that ends without a full stop.
struct spy_reason {
    enum spy_bar bar;
    bool partly; // without a process: some processes can be read all the same
    char text[128];
    char cure[200];
};

// Does the bar keep podspy from reading the process g, or, where g is NULL, from reading what an
// agent wants to read, other users' processes too? Fills *ret when it does.
bool spy_bar_holds(enum spy_bar bar, const struct spy_rights *r, const struct spy_guard *g,
                   struct spy_reason *ret);
// The first bar that holds; false: none.
bool spy_reason_find(const struct spy_rights *r, const struct spy_guard *g, struct spy_reason *ret);

// The error for a process of which the kernel refused to read something (proc_fd: its folder), or
// which cannot be opened (proc_fd is -1): SPY_ERR_GONE where it has ended or never was, else
// SPY_ERR_DENIED.
int spy_reason_explain(pid_t pid, int proc_fd, struct spy_err *err);
