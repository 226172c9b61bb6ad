// merge.h - puts the native frames of a stack between its Python frames.
//
// One C function, the interpreter's loop, runs the Python frames. Its C frames are matched with the
// Python frames that each runs, by address where versions allow: since 3.12 the interpreter keeps an
// entry frame for each run of the loop, and in 3.11 a _PyCFrame, as a variable of the loop, so that
// its address lies inside of the loop's C frame. Up to 3.10 each Python frame has a run of its own:
// there the loop is known by its name, and the numbers must be equal.
//
// Pure functions over copies: nothing is read, nothing is allocated.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spy_merge_role {
    SPY_MERGE_SHOWN,
    SPY_MERGE_NAMELESS, // shown, except below all Python frames: there it starts the program
    SPY_MERGE_HIDDEN,   // the interpreter's own way from one Python frame to the next
    SPY_MERGE_LOOP,     // by its name; never shown
};

// A native frame: [low, high) is its part of the C stack.
struct spy_merge_native {
    uint64_t low, high; // high 0: not known
    enum spy_merge_role role;
};

// A Python frame, or an entry: then addr is on the C stack, in the loop that runs the frames
// before it, up to the entry before that.
struct spy_merge_python {
    uint64_t addr;
    bool is_entry;
    bool shown;
};

// One frame of a merged stack.
struct spy_merged {
    uint32_t index; // of the native frame, or of the Python frame among those shown
    bool is_native;
};

// All lists are innermost first. `out` has room for all frames of both. Returns the number of
// frames, or SPY_ERR_TORN: the two stacks do not fit together. Each Python frame that is shown is
// in `out` once and in order, and each native frame that is shown is.
//
// by_entry: there are entries. False: one loop for each Python frame, except that the innermost
// loop may not have its frame yet.
int spy_merge(const struct spy_merge_native *native, size_t n_native,
              const struct spy_merge_python *python, size_t n_python, bool by_entry,
              struct spy_merged *out);

// What a function of this name is. name NULL: not known. in_interpreter: it is of the file that
// holds the interpreter. loop: the name of the loop's function in this version.
enum spy_merge_role spy_merge_role_of(const char *name, bool in_interpreter, const char *loop);
