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

// Both are borrowed and must outlive it. inlines: show calls that were put inline, by debugging
// information, whose first use costs milliseconds a megabyte. NULL: no memory.
struct spy_mixed *spy_mixed_new(struct spy_mixer *m, const struct spy_target *t,
                                const struct spy_python *python, bool inlines);
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
// held it). The frames are innermost first; borrowed until the next call with the mixer. Returns
// the number of frames, or
//   SPY_ERR_AGAIN     the thread was not held for this stack: there are no native frames of it
//   SPY_ERR_TORN      they do not fit together; SPY_ERR_LIMIT: the native stack is not whole
//   SPY_ERR_NOTFOUND  up to 3.10: no C frame is the interpreter's loop by its name
//   others            of spy_native_capture and spy_native_unwind
int spy_mixed_merge(struct spy_mixed *m, const struct spy_python *python,
                    const struct spy_py_thread *th, const struct spy_py_stack *stack,
                    const struct spy_mixed_frame **ret);

// The frames of a thread that Python does not know, which was captured; all are native. The codes of
// spy_mixed_merge; SPY_ERR_TORN: it runs Python code.
int spy_mixed_alone(struct spy_mixed *m, const struct spy_mixed_frame **ret);

// What a native frame is shown as: a function, and those that the compiler put inline in it.
enum { SPY_MIXED_NAMES_MAX = 8 };
struct spy_mixed_name {
    const char *function; // never NULL
    const char *file;     // the module, or the source of a Cython function
    uint32_t line;        // in that source; else 0
};
// Innermost first; returns their number, at least 1. Borrowed until the next call with this target.
size_t spy_mixed_names(struct spy_mixed *m, uint64_t call,
                       struct spy_mixed_name ret[SPY_MIXED_NAMES_MAX]);

// The caller's ids of them, kept by the address of a native frame. epoch is 0 when it is met first,
// and again now and then.
struct spy_mixed_ids {
    uint32_t epoch, n;
    uint32_t ids[SPY_MIXED_NAMES_MAX];
};
struct spy_mixed_ids *spy_mixed_ids(struct spy_mixed *m, uint64_t call);
