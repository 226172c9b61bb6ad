// mixed.h - stacks with native frames: captured with the Python stack in one hold of the thread,
// unwound after it runs again, and merged (merge.h).
//
//     spy_mixed_prepare(m);
//     options.hold = spy_mixed_hold(m);           // pausing is ALWAYS
//     r = spy_python_sample(python, th, &options, &stack);
//     n = spy_mixed_merge(m, python, th, &stack, &frames);
//
// What a function is, and the caller's id of it, is kept by address: after the first samples
// nothing is looked up by name, and nothing is allocated. A function is looked up again after
// SPY_MIXED_KEEP_NS, since a library may have taken the place of another.
//
// Threads: a mixer and all that is made over it belong to one thread at a time.
#pragma once
#include "agent/native/native.h"
#include "agent/python/python.h"

enum { SPY_MIXED_SLOTS = 4096 };
#define SPY_MIXED_KEEP_NS (2 * UINT64_C(1000000000))

struct spy_mixer; // what all targets share: files and room for one sample
struct spy_mixed; // one target

// max_bytes: of the files' tables and symbols, see native.h. NULL: no memory.
struct spy_mixer *spy_mixer_new(size_t max_bytes);
void spy_mixer_free(struct spy_mixer *m);
// Reads debugging information, see spy_native_lines for what that costs.
void spy_mixer_show_lines(struct spy_mixer *m);

// Both are borrowed and must outlive it. NULL: no memory.
struct spy_mixed *spy_mixed_new(struct spy_mixer *m, const struct spy_target *t,
                                const struct spy_python *python);
void spy_mixed_free(struct spy_mixed *m);

// Before each sample. Which threads are held, see struct spy_py_hold.
void spy_mixed_prepare(struct spy_mixed *m, bool runnable, bool waiting);
const struct spy_py_hold *spy_mixed_hold(const struct spy_mixed *m);

// Instead of both, for a caller that holds the thread and reads its stack meanwhile. Keep it short.
void spy_mixed_capture(struct spy_mixed *m, pid_t tid);

struct spy_mixed_frame {
    bool is_native;
    uint32_t python; // index in the stack's frames
    uint64_t call;   // of a native frame: what names it
};

// The stack must be what was read while the thread was held (how is SPY_PY_PAUSED, unless the caller
// held it). The frames are innermost first; borrowed until the next call with the mixer. Returns the number of frames, or
//   SPY_ERR_AGAIN     the thread was not held for this stack: there are no native frames of it
//   SPY_ERR_TORN      they do not fit together; SPY_ERR_LIMIT: the native stack is not whole
//   others            of spy_native_capture and spy_native_unwind
int spy_mixed_merge(struct spy_mixed *m, const struct spy_python *python,
                    const struct spy_py_thread *th, const struct spy_py_stack *stack,
                    const struct spy_mixed_frame **ret);

// Words for the caller, kept by the address of a native frame; zero when it is met first, and again
// now and then.
enum { SPY_MIXED_LINES_MAX = 6, SPY_MIXED_USER = 2 + SPY_MIXED_LINES_MAX };
uint32_t *spy_mixed_user(struct spy_mixed *m, uint64_t call);
// What to show of a native frame: never NULL. Borrowed until the next call with this target.
struct spy_mixed_name {
    const char *function, *module;
};
struct spy_mixed_name spy_mixed_name(struct spy_mixed *m, uint64_t call);

// The same with the calls that the compiler put inline there, from the innermost to the function
// that has the code, where spy_mixer_show_lines was called and debugging information names them.
// Returns their number, at least 1.
struct spy_mixed_line {
    const char *function, *file; // file: the module's where the source is not known
    uint32_t line;               // 0: not known
};
size_t spy_mixed_lines(struct spy_mixed *m, uint64_t call,
                       struct spy_mixed_line ret[SPY_MIXED_LINES_MAX]);
