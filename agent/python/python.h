// python.h - the Python inside a process: its threads, and the stack of each at one instant.
//
// Truth comes first: a stack is given only if it is valid. One system call (process_vm_readv) reads
// the part of the data stack that held the thread's frames last time, then the thread state, and
// then the newest frames once more; the stack is unwound from that copy. It is valid only if
//   - every frame is inside the copy (else the places are corrected, and all is read again),
//   - the newest frames are the same in both copies,
//   - neighbouring frames on the data stack touch: parent + its size == child,
//   - each instruction pointer is inside its code object, and each code object is one (code.h).
// If reads of a thread often fail and it may not be paused, a read must also take no longer than
// usual. Where nothing moves, in a thread that is held or a core file, one copy is enough.
//
// A read that fails is tried again, and then, if the settings allow, made with that one thread
// paused (pause.h). Pausing only after failures would favour states that last long, so a thread
// whose reads fail more often than 1 in SPY_PY_TORN_ONE_IN is paused for nearly every sample.
//
// Threads: one spy_python and everything it gives belongs to one thread at a time.
#pragma once
#include "agent/python/code.h"
#include "agent/python/runtime.h"
#include "agent/target/pause.h"
#include "agent/target/switches.h"
#include "agent/target/threads.h"

enum {
    SPY_PY_DEPTH_MAX = 16384,  // deeper stacks lose their outermost frames and are marked
    SPY_PY_LISTED_MAX = 65536, // threads listed; SPY_PY_THREADS_MAX are sampled
    SPY_PY_NAME_MAX = 128,     // bytes of a thread's name, in whole characters
    SPY_PY_TRIES = 3,
    SPY_PY_TORN_ONE_IN = 50,
};

struct spy_py_frame {
    int32_t code;  // id in spy_python_codes; valid until its epoch changes
    uint32_t line; // 0: not known
};

// SALVAGED: only the outer frames, which were proven; what the innermost of them called changed
// faster than it could be read (salvage.h).
enum spy_py_how { SPY_PY_CLEAN, SPY_PY_SALVAGED, SPY_PY_PAUSED };

// One thread at one instant.
struct spy_py_stack {
    const struct spy_py_frame *frames; // innermost first; borrowed until the next call
    size_t n;                          // 0: it runs no Python code
    size_t n_same;  // how many of the outermost frames are as in the last stack of this thread
    bool truncated; // the outermost frames are missing: too deep
    bool unchanged; // the same stack as the last one given for this thread
    bool running;   // on a CPU, or ready to run, if the system cannot tell
    bool runnable;  // ready to run, waiting for a CPU; then it is not running
    bool holds_gil, waits_gil, collecting;
    enum spy_py_how how;
};

struct spy_py_thread; // opaque: what is kept of a thread between samples

// What the caller does with a thread while it is held: `act` is called once its frames are copied,
// and must be short. The thread is then held for each read of its stack that is given, as by
// SPY_PAUSE_ALWAYS, unless that is refused (how is not SPY_PY_PAUSED then).
struct spy_py_hold {
    void (*act)(void *arg, pid_t tid);
    void *arg;
    // Which threads are held besides those that run; the others are read without.
    bool runnable; // those that wait for a CPU
    bool waiting;  // all, even a thread that has not run since its last sample
};

struct spy_py_options {
    enum spy_pausing pausing;
    struct spy_pause *pause; // required unless NEVER; shared by all targets of one thread
    // NULL: a thread whose CPU the caller has taken counts as waiting for a CPU.
    struct spy_own_switches *self;
    // The caller moves to the CPU that spy_python_take_wish names, if it can. A thread whose reads
    // often fail is then read while the caller has that thread's CPU, and need not be paused.
    bool follows;
    int cpu; // if it follows: the only CPU that the caller may run on now; -1: it is not bound
    const struct spy_py_hold *hold; // NULL: nothing is done then; else pausing is ALWAYS
};

struct spy_python;

// Finds the interpreter in t, which is borrowed until spy_python_free. SPY_ERR_NOTFOUND: no Python;
// SPY_ERR_UNSUPPORTED, SPY_ERR_AGAIN (it is starting), SPY_ERR_DENIED, SPY_ERR_GONE: see find.h.
int spy_python_attach(struct spy_target *t, struct spy_python **ret, struct spy_err *err);
void spy_python_free(struct spy_python *p);
const struct spy_py_runtime *spy_python_runtime(const struct spy_python *p);
struct spy_codes *spy_python_codes(struct spy_python *p);

// Updates the list of threads if it may have changed. Call it before each round: it costs nothing
// unless a read of the last round showed a change, or a quarter of a second has passed.
// SPY_ERR_GONE: the process has ended, or called exec: attach again.
int spy_python_refresh(struct spy_python *p);
// The list has changed, as the caller knows: the next refresh reads it.
void spy_python_note_change(struct spy_python *p);
size_t spy_python_n_threads(const struct spy_python *p);
// The number of threads that are not in the list, because they have not run for the longest time. A
// thread that begins to work is in the list within seconds.
size_t spy_python_n_left_out(const struct spy_python *p);
// The threads in order of their start, the oldest first. Valid until the next refresh.
struct spy_py_thread *spy_python_thread(struct spy_python *p, size_t i);

// The thread's number in our numbering, and the pthread_self() that Python calls ident.
pid_t spy_py_thread_tid(const struct spy_py_thread *th); // 0: not known
uint64_t spy_py_thread_ident(const struct spy_py_thread *th);
// Which GIL the thread takes: equal for the threads of one interpreter, and of all that share a GIL.
// 0: not known.
uint64_t spy_py_thread_gil(const struct spy_py_thread *th);
// The name that the program gave the thread (threading.Thread.name), known once its stack was read
// and updated within seconds of a change; "MainThread"; for other threads, and before that, the
// system's name (comm). Without control characters. Borrowed until the next refresh or sample.
const char *spy_py_thread_name(const struct spy_py_thread *th);
// Rises whenever the name changes.
uint32_t spy_py_thread_name_changes(const struct spy_py_thread *th);
// Four words for the caller, zero at first: e.g. ids of its profile.
uint64_t *spy_py_thread_user(struct spy_py_thread *th);

// True if every thread was waiting when last sampled, none has run since, and no name has changed:
// all stacks are as they were. May be called in a round, after the refresh, instead of sampling the
// threads. Costs a small file per thread, up to the first that has run.
bool spy_python_is_quiet(struct spy_python *p);

// The stack of one thread now. SPY_ERR_GONE: the thread or process has ended; SPY_ERR_TORN: no read
// was valid, which the caller counts as failed; SPY_ERR_DENIED.
int spy_python_sample(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_options *options, struct spy_py_stack *ret);
// The CPU that the next samples are best taken on: that of a thread that would have to be paused on
// any other. For a caller that follows, once a round. away: for one round on any CPU but that, to
// find out whether a pause would still be necessary. cpu is -1: it does not matter.
struct spy_py_wish {
    int cpu;
    bool away;
};
struct spy_py_wish spy_python_take_wish(struct spy_python *p);
// The chain behind the last stack given for th, innermost first, with what is not shown: so that
// native frames can be merged with it (agent/sampler/merge.h).
struct spy_py_link {
    uint64_t addr; // of the frame, in the target
    bool shown;    // is one of the frames that are given
    bool is_entry; // an entry of the interpreter from C; its frame lies on the C stack
};
size_t spy_python_n_links(const struct spy_py_thread *th);
struct spy_py_link spy_python_link(const struct spy_python *p, const struct spy_py_thread *th,
                                   size_t i);
// 3.11 has no entries. Instead each lies in a _PyCFrame on the C stack: where the innermost lay then
// (0 in other versions), and where in it are the pointers to its newest frame and to the one before.
struct spy_py_cframes {
    uint64_t addr;
    uint16_t frame_at, previous_at;
};
struct spy_py_cframes spy_python_cframes(const struct spy_python *p,
                                         const struct spy_py_thread *th);
// Where frame i of the last stack given for th is in its source, with columns; the line is the
// frame's. All 0 where that is not known; known only if spy_codes_keep_tables was called before the
// sample. *at is 0 with the first frame, and then what the previous frame left there.
struct spy_location spy_python_location(struct spy_python *p, const struct spy_py_thread *th,
                                        size_t i, size_t *at);
