// async.h - the asyncio tasks of a process: what each awaits, and which tasks await it.
//
// asyncio keeps a list of all tasks: a weak set in asyncio.tasks or _asyncio (3.8 to 3.13), or
// linked lists of the threads and the interpreter, whose places _asyncio publishes (3.14 and later);
// tasks of other classes are in a set in every version. A task's chain is its coroutine, then what
// that awaits, and so on. Nothing in a future says what it is for: the kind of wait follows from
// the innermost frame, from the future's class and from its callbacks (async_await.c).
//
// The process runs meanwhile. A task is read, and read again: it counts only if all that its chain
// was made of is unchanged. A task that changes each time is listed without its frames. docs/async.md
// has what cannot be seen.
//
// Threads: as python.h.
#pragma once
#include "agent/python/python.h"
#include "shared/base/buf.h"

enum {
    SPY_PY_TASKS_MAX = 1 << 20,
    SPY_PY_TASK_DEPTH_MAX = 4096, // frames of one task; of deeper chains the outermost are given
    SPY_PY_TASK_FRAMES_MAX = 1 << 22,
    SPY_PY_TASK_TRIES = 8,
    SPY_PY_LOOPS_MAX = 4096,
    SPY_PY_TASK_NAME_MAX = 128, // bytes, in whole characters
};

// READY: its next step is due in the loop; it awaits nothing now.
enum spy_py_task_state { SPY_PY_TASK_AWAITING, SPY_PY_TASK_READY, SPY_PY_TASK_RUNNING };

// What a task waits for.
#define SPY_PY_WAITS(X)                                                                            \
    X(NOTHING, "nothing")                                                                          \
    X(TASK, "task")                                                                                \
    X(FUTURE, "future")                                                                            \
    X(GATHER, "gather")                                                                            \
    X(WAIT, "wait")                                                                                \
    X(GROUP, "task group")                                                                         \
    X(SHIELD, "shield")                                                                            \
    X(SLEEP, "sleep")                                                                              \
    X(LOCK, "lock")                                                                                \
    X(QUEUE, "queue")                                                                              \
    X(SOCKET, "socket")                                                                            \
    X(PROCESS, "process")                                                                          \
    X(SERVER, "server")                                                                            \
    X(EXECUTOR, "executor")
enum spy_py_waits {
#define WAITS_OF(id, text) SPY_PY_WAITS_##id,
    SPY_PY_WAITS(WAITS_OF)
#undef WAITS_OF
};
const char *spy_py_waits_name(enum spy_py_waits waits);

struct spy_py_task {
    uint64_t addr, loop;
    uint64_t waiter; // the future or task that it waits for; 0: none
    uint64_t frame;  // of its coroutine, as spy_python_link gives it; 0: none
    uint32_t name;   // see spy_py_tasks_text; "" is not known
    uint32_t detail; // the class of the lock or queue, or of the future; "": not known
    uint32_t ends;   // the class of an awaitable at the end of the chain that has no frame; ""
    uint32_t first_frame, n_frames;     // in frames
    uint32_t first_awaiter, n_awaiters; // in awaiters
    enum spy_py_task_state state;
    enum spy_py_waits waits;
    bool cancelling; // its cancellation was requested
    bool truncated;  // the innermost frames are left out
    bool changing;   // it changed in each read: no frames, and what it waits for is not known
};

struct spy_py_loop {
    uint64_t addr;
    uint32_t type;    // its class
    uint64_t ident;   // pthread_self() of the thread that runs it; 0: it does not run
    pid_t tid;        // of that thread; 0: not known
    uint64_t running; // the task that runs; 0: none
};

struct spy_py_tasks {
    struct spy_py_task *list; // by loop, then by name: "Task-2" before "Task-10"
    size_t n, cap;
    struct spy_py_frame *frames; // of each task the innermost first
    size_t n_frames, cap_frames;
    uint32_t *awaiters; // indices of tasks
    size_t n_awaiters, cap_awaiters;
    struct spy_py_loop *loops;
    size_t n_loops, cap_loops;
    struct spy_buf text;
    uint32_t codes_epoch; // that of the frames
    size_t n_changing;    // tasks
    size_t n_unlisted;    // lists of tasks that changed in each read, so tasks may be missing
    bool truncated;       // a limit was met
};

// Called before each task is read: 10,000 take a second.
struct spy_py_tasks_step {
    void (*step)(void *arg); // NULL: none
    void *arg;
};

// Reads all tasks. Call spy_python_refresh first. *ret is zero-initialised or was used before.
// SPY_ERR_NOTFOUND: the program has not imported asyncio; SPY_ERR_UNSUPPORTED: a version before
// 3.8, a free-threaded build, or its lists are not published; SPY_ERR_GONE, SPY_ERR_DENIED,
// SPY_ERR_NOMEM.
int spy_python_tasks(struct spy_python *p, struct spy_py_tasks_step step, struct spy_py_tasks *ret);
void spy_py_tasks_done(struct spy_py_tasks *tasks);
static inline const char *spy_py_tasks_text(const struct spy_py_tasks *tasks, uint32_t at)
{
    return spy_buf_str(&tasks->text) + at;
}

// The task that a thread runs now.
struct spy_py_running {
    uint64_t task, frame; // frame: of its coroutine, as spy_python_link gives it
    char name[SPY_PY_TASK_NAME_MAX + 4];
};
// What finding them takes, kept between calls. Zero-initialised at first.
struct spy_py_running_places;
int spy_python_running_open(struct spy_python *p, struct spy_py_running_places **ret);
void spy_python_running_close(struct spy_py_running_places *places);
// SPY_ERR_NOTFOUND: it runs no task; or the codes of a failed read.
int spy_python_running(struct spy_py_running_places *places, const struct spy_py_thread *th,
                       struct spy_py_running *ret);
