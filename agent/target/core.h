// core.h - a core file as a target.
//
// An ELF file of type ET_CORE, as the kernel or gdb's generate-core-file writes it (core(5),
// elf(5)): PT_LOAD segments are the memory, NT_FILE tells which files were mapped where,
// NT_PRSTATUS (one for each thread, the one that got the signal first) the threads, NT_PRPSINFO the
// process. Everything in it is hostile: sizes and counts are bounded, nothing is kept but tables,
// and bytes are read from the file when they are wanted. See still.h for what a core leaves out.
#pragma once
#include "agent/target/target.h"

enum { SPY_CORE_NOTES_MAX = 1 << 20, SPY_CORE_FILES_BYTES_MAX = 16 << 20 };

struct spy_core {
    pid_t pid;
    int signal;         // 0: none (gdb wrote it, and the process lived on)
    char args[81];      // the start of its command line, without control characters
    uint64_t cut_bytes; // so much is missing at the end of the file; what was there is used
};

// SPY_ERR_NOTFOUND or SPY_ERR_DENIED (the file), SPY_ERR_INVALID (no core file, or a damaged one),
// SPY_ERR_UNSUPPORTED (of another kind of machine), SPY_ERR_LIMIT, SPY_ERR_NOMEM.
int spy_core_open(const char *path, struct spy_target **ret, struct spy_core *ret_core,
                  struct spy_err *err);
// The same for an open file, which is taken over (also on failure); `name` is for messages.
int spy_core_open_fd(int fd, const char *name, struct spy_target **ret, struct spy_core *ret_core,
                     struct spy_err *err);
// The path of a file that was wanted and is not here, or is another one than was mapped; prefers
// what may be Python. "": none. Borrowed.
const char *spy_core_missing(const struct spy_target *t);
