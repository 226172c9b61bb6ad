// native.h - native stacks: what runs below and between the Python frames of a thread.
//
// A sample is taken in two steps, so that a thread is held as shortly as can be. While the caller
// holds it (pause.h), spy_native_capture copies its registers and one piece of its stack. After it
// runs again, spy_native_unwind finds the frames in that copy, by the unwind tables of the files
// that are mapped (.eh_frame, else .debug_frame); a function without tables by its instructions
// (code.h) or by its frame pointer. Names are looked up when asked for.
//
// Nothing is written to the target. All that comes from it or from its files is hostile: lengths
// and loops are bounded, and each step must lead up the stack, to an address in executable memory.
//
// Which files are mapped is read from /proc/PID/maps: at first, again once a second, and when a
// stack leads to an address that was not mapped before (dlopen), at most ten times a second. A
// library that takes the place of a closed library may go unnoticed for a second.
//
// A stack may continue elsewhere: below a signal handler that has a stack of its own (sigaltstack),
// or a function that changed stacks and has tables that say so. The first stack of a thread that
// does so ends there: as SPY_NATIVE_CUT if that lies up to 64 MiB above the copy, else as
// SPY_NATIVE_LOST. Afterwards a capture of that thread walks up the copy while the thread is held,
// at most 256 frames and without loading files, and copies up to two pieces more. A coroutine
// (swapcontext, boost) ends at its own bottom; greenlets share one stack and end at the thread's.
//
// A thread of a 32-bit program is SPY_ERR_UNSUPPORTED.
//
// Cost on x86-64, with all files loaded: a capture two system calls; a frame some 370 instructions
// to unwind and a binary search to name. Loading a file: see module.h. What was measured is in
// docs/adr/0017-native-stacks-by-own-tables.md.
//
// Threads: a cache and all that is made over it belong to one thread at a time. Capture belongs to
// the thread that holds the target's thread.
#pragma once
#include "agent/native/snapshot.h"
#include "agent/target/target.h"

struct spy_native_cache; // files, shared by all targets that map them
struct spy_native;       // one target

enum { SPY_NATIVE_FRAMES_MAX = 4096 };

// Keeps at most max_bytes of tables and symbols; a file that does not fit has no tables or no
// names. NULL: no memory. Free it after all spy_native over it.
struct spy_native_cache *spy_native_cache_new(size_t max_bytes);
enum { SPY_NATIVE_CACHE_USUAL = 256 << 20 };
void spy_native_cache_free(struct spy_native_cache *c);

// Both are borrowed and must outlive it. Reads nothing yet. NULL: no memory.
struct spy_native *spy_native_new(struct spy_native_cache *c, const struct spy_target *t);
void spy_native_free(struct spy_native *n);

// tid must be in a ptrace stop of this thread. Copies SPY_NATIVE_STACK_USUAL bytes, or fewer where
// the stack ends; more for a thread whose stack was cut before. SPY_ERR_GONE, SPY_ERR_TORN (the
// stack pointer leads nowhere), SPY_ERR_UNSUPPORTED, SPY_ERR_NOMEM (only while the buffer grows).
int spy_native_capture(struct spy_native *n, pid_t tid, struct spy_native_snapshot *s);

// Why a stack ends where it does.
enum spy_native_end {
    SPY_NATIVE_OUTERMOST, // it is whole
    SPY_NATIVE_CUT,       // it is longer than the copy
    SPY_NATIVE_LOST,      // no way up that holds
    SPY_NATIVE_FULL,      // more than max frames
};

struct spy_native_frame {
    uint64_t address; // of the instruction that runs, or to which a call returns
    uint64_t call;    // an address in the calling instruction, which is what names it; the same as
                      // `address` where nothing was called: the innermost, and what a signal hit
    uint64_t stack;   // the frame's canonical frame address: where the caller's stack pointer is,
                      // above the last frame's except where the stack continues elsewhere;
                      // 0: not known, the last frame of a stack that is not whole
    bool is_signal;   // what the kernel puts between a signal handler and what it interrupted
    bool by_frame_pointer; // its caller was found so, or by instructions: without tables
};

// From the innermost frame outwards. Returns the number of frames, at least 1 where max >= 1;
// SPY_ERR_GONE, SPY_ERR_DENIED or SPY_ERR_NOMEM where the maps were never read. Allocates only
// while files are loaded or maps are read.
int spy_native_unwind(struct spy_native *n, const struct spy_native_snapshot *s,
                      struct spy_native_frame *frames, size_t max, enum spy_native_end *ret_end);

// Rises when other files are mapped than before, or in other places, as spy_native_unwind finds.
// While it stays, an address has the same symbol, unless its file_address is 0.
uint32_t spy_native_changes(const struct spy_native *n);

struct spy_native_symbol {
    const char *name;      // NULL: not known. Bytes of the target, any but NUL
    const char *module;    // path, "[vdso]", or "": code of no file
    uint64_t file_address; // as symbols and debug information count it; 0 with module ""
    const char *source;    // "mod.pyx" where the function is Cython's; else NULL
    bool is_wrapper; // of a function that has a frame of its own: Cython's, which is inside of
                     // it under the same name unless the compiler joined them; or a Python
                     // function's, made by -X perf (py::NAME:FILE), which is the Python frame
    uint64_t offset; // from the start of the symbol; of the split-off part if it is in one
    uint8_t build_id[32];
    size_t build_id_len; // 0: none
};
// By spy_native_frame.call. What it points at is borrowed and stays until the next call with this
// target. SPY_ERR_NOTFOUND: nothing executable is mapped there. First look-ups of a name allocate.
int spy_native_symbol(struct spy_native *n, uint64_t address, struct spy_native_symbol *ret);

struct spy_native_line {
    const char *function; // NULL: the symbol's
    const char *file; // as the compiler was given it, absolute where it says so; NULL: not known
    uint32_t line;    // 0: not known
};
enum { SPY_NATIVE_LINES_MAX = 16 };

// The source of an address, by debugging information of its file or of its debug file: from the
// innermost call that the compiler put inline to the function that has the code. Returns their
// number; 0: nothing is known. The debugging information of a file is read as far as questions
// need it: its tables at the first, while the target lives, each compile unit when it is asked for.
// It takes up to SPY_NATIVE_DEBUG_MAX bytes with its tables. What ret points at stays until the
// next call.
size_t spy_native_lines(struct spy_native *n, uint64_t address,
                        struct spy_native_line ret[SPY_NATIVE_LINES_MAX]);
// The functions of the inlined calls only, without the function that has the code: reads no lines.
size_t spy_native_inlined(struct spy_native *n, uint64_t address,
                          const char *ret[SPY_NATIVE_LINES_MAX]);
enum { SPY_NATIVE_DEBUG_MAX = 128 << 20 };
