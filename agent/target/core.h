// core.h - a core file as a target.
//
// An ELF file of type ET_CORE, as the kernel or gdb's generate-core-file writes it (core(5),
// elf(5)): PT_LOAD segments are the memory, NT_FILE names the mapped files, NT_PRSTATUS the threads
// (the thread that got the signal comes first), NT_PRPSINFO the process. Everything in it is
// hostile: sizes and counts are bounded, only tables are kept, and bytes are read from the file
// when they are needed. See still.h for what a core leaves out.
#pragma once
#include "agent/target/target.h"

enum { SPY_CORE_NOTES_MAX = 1 << 20, SPY_CORE_FILES_BYTES_MAX = 16 << 20 };

struct spy_core {
    pid_t pid;
    int signal;         // 0: none (gdb wrote it, and the process continued)
    char args[81];      // the start of its command line, without control characters
    uint64_t cut_bytes; // bytes missing at the end of the file; the rest is used
};

// SPY_ERR_NOTFOUND or SPY_ERR_DENIED (the file), SPY_ERR_INVALID (not a core file, or a damaged
// one), SPY_ERR_UNSUPPORTED (from another kind of machine), SPY_ERR_LIMIT, SPY_ERR_NOMEM. The files
// that the process had mapped are looked for below the folder sysroot, whose links cannot lead out
// of it; NULL: at their own paths.
int spy_core_open(const char *path, const char *sysroot, struct spy_target **ret,
                  struct spy_core *ret_core, struct spy_err *err);
// The same for an open file, which this closes, even on failure; `name` is for messages.
int spy_core_open_fd(int fd, const char *name, struct spy_target **ret, struct spy_core *ret_core,
                     struct spy_err *err);
// A file that was needed but could not be had; prefers a file that may be Python. path "": none.
struct spy_core_missing {
    const char *path; // borrowed
    bool differs;     // a file is there, but is not what was mapped: its build id differs
};
struct spy_core_missing spy_core_missing(const struct spy_target *t);
