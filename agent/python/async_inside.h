// async_inside.h - what the files of async.h share. Inside of agent/python.
//
//   async.c          all tasks of a process, from outside
//   async_running.c  the task that a thread runs
//   async_list.c     the addresses of all tasks; the dict of asyncio.tasks
//   async_task.c     one task: its name, its state, what it waits for
//   async_chain.c    its coroutine and what that awaits, frame by frame
//   async_await.c    which tasks await it; what a future is for, by its callbacks
//   async_read.c     reads that can be repeated; kinds of objects, attributes, small numbers
//   async_layout.c   where fields lie
#pragma once
#include "agent/python/async.h"
#include "agent/python/async_layout.h"
#include "agent/python/reader.h"
#include "agent/python/value_inside.h"

// What an object is, by the name of its type or of one of the bases.
enum spy_async_kind {
    SPY_ASYNC_OTHER,
    SPY_ASYNC_TASK,   // of C
    SPY_ASYNC_FUTURE, // of C
    SPY_ASYNC_PY_TASK,
    SPY_ASYNC_PY_FUTURE,
    SPY_ASYNC_GENERATOR, // also a coroutine, an asynchronous generator
    SPY_ASYNC_WRAPPER,   // its first field is the generator
    SPY_ASYNC_FUTURE_ITER,
    SPY_ASYNC_METHOD,
    SPY_ASYNC_BUILTIN,
    SPY_ASYNC_WAKEUP, // 3.8: the callback of a task of C
    SPY_ASYNC_FUNCTION,
    SPY_ASYNC_PARTIAL,
    SPY_ASYNC_LOOP_HOLDER, // up to 3.11
};

enum {
    SPY_ASYNC_TYPES = 64,
    SPY_ASYNC_OBJECTS = 64,
    SPY_ASYNC_LOG_MAX = 4 * SPY_PY_TASK_DEPTH_MAX
};

// The type of an object, as it was read for the task at hand.
struct spy_async_object {
    uint64_t object, type;
    uint64_t task; // counts them
};

struct spy_async_type {
    uint64_t addr; // 0: none
    enum spy_async_kind kind;
    char name[SPY_VALUE_NAME_MAX + 1]; // without the module
};

// The future that something was found to make, e.g. gather().
struct spy_async_purpose {
    uint64_t future;
    enum spy_py_waits waits;
};

// One look at the tasks of a process.
struct spy_async {
    struct spy_python *p;
    struct spy_py_async_layout at;
    uint16_t header; // bytes of an object's header
    bool publishes;
    struct spy_py_async_published published;
    struct spy_py_values values; // for its reads
    struct spy_async_type types[SPY_ASYNC_TYPES];
    struct spy_async_object objects[SPY_ASYNC_OBJECTS];
    uint64_t task;           // rises with spy_async_forget
    uint64_t without_frames; // the coroutine that had none in the try before; 0: it had
    struct spy_py_tasks *out;
    struct spy_py_tasks_step step;
    struct spy_map by_addr; // tasks of out
    // What was read of the task at hand, and where it came from.
    struct spy_span *spans;
    uint8_t *log, *again;
    size_t n_spans, cap_spans, n_log, cap_log, cap_again;
    // Its frames, the outermost first: code objects and instructions.
    uint64_t *codes, *ips;
    int32_t *tlbcs, *ids;
    uint32_t *lines;
    size_t n_frames, cap_codes, cap_ips, cap_tlbcs, cap_ids, cap_lines;
    uint64_t last_frame; // the innermost frame
    uint64_t first_frame;
    // Pairs of tasks: the first is awaited by the second.
    uint64_t *pairs;
    size_t n_pairs, cap_pairs;
    size_t work; // look-ups of callbacks that are left
    struct spy_async_purpose *purposes;
    size_t n_purposes, cap_purposes;
    struct spy_map purpose_by_addr;
};

// --- async_read.c ---

// Exactly len bytes; spy_async_unchanged reads them again.
int spy_async_read(struct spy_async *a, uint64_t addr, void *to, size_t len);
void spy_async_forget(struct spy_async *a);
// 0: all that was read since spy_async_forget is as it was; SPY_ERR_TORN; or a code.
int spy_async_unchanged(struct spy_async *a);
// A word that is not read again.
int spy_async_word(struct spy_async *a, uint64_t addr, uint64_t *ret);
// spy_async_unchanged also compares the type of this object with what it was found to be.
int spy_async_keep_type(struct spy_async *a, uint64_t object);
// SPY_ERR_TORN: the object's bytes, read since, have another type. SPY_ERR_NOTFOUND: it was freed.
int spy_async_check_type(struct spy_async *a, uint64_t object, const uint8_t *bytes);
// The type of an object. Borrowed until the next call. SPY_ERR_TORN: no object lies there.
int spy_async_type_of(struct spy_async *a, uint64_t object, const struct spy_async_type **ret);
enum spy_async_kind spy_async_kind_of(struct spy_async *a,
                                      uint64_t object); // OTHER also on failure
static inline bool spy_async_is_task(enum spy_async_kind kind)
{
    return kind == SPY_ASYNC_TASK || kind == SPY_ASYNC_PY_TASK;
}
static inline bool spy_async_is_future(enum spy_async_kind kind)
{
    return kind >= SPY_ASYNC_TASK && kind <= SPY_ASYNC_PY_FUTURE;
}
bool spy_async_is_none(struct spy_async *a, uint64_t object);
// An attribute that the object keeps in its own dict; 0: there is none, or it is None.
uint64_t spy_async_attribute(struct spy_async *a, uint64_t object, const char *name);
// The str, or "": UTF-8, cut to size.
void spy_async_text(struct spy_async *a, uint64_t str, char *out, size_t size);
// The int, if it is small and not negative. SPY_ERR_NOTFOUND.
int spy_async_int(struct spy_async *a, uint64_t object, uint64_t *ret);
// The items of a list or tuple. *ret_n at most `max`.
int spy_async_items(struct spy_async *a, uint64_t object, bool is_tuple, uint64_t *items,
                    size_t max, size_t *ret_n);
// Appends text to out->text: where it begins.
uint32_t spy_async_keep(struct spy_async *a, const char *text);

// --- async_list.c ---

// Each address once, into out->list. SPY_ERR_NOTFOUND: asyncio is not imported.
int spy_async_list(struct spy_async *a);
// The dict of asyncio.tasks in an interpreter, and a name in it. SPY_ERR_NOTFOUND.
int spy_async_module(struct spy_async *a, uint64_t interp, uint64_t *ret_dict);
int spy_async_find_name(struct spy_async *a, uint64_t module_dict, const char *name, uint64_t *ret);
// 3.14+: what _asyncio publishes, into a->published. SPY_ERR_UNSUPPORTED.
int spy_async_find_published(struct spy_async *a);
// Calls `each` with the items of a set; those that `weak` references refer to.
typedef int (*spy_async_each)(struct spy_async *a, uint64_t object, void *arg);
int spy_async_set(struct spy_async *a, uint64_t set, bool weak, spy_async_each each, void *arg);

// --- async_chain.c ---

// Reads the frames of a coroutine and of what it awaits. *ret_end: what the innermost awaits, which
// is not a coroutine; 0: nothing. *ret_runs: it is running.
int spy_async_chain(struct spy_async *a, uint64_t coroutine, uint64_t *ret_end, bool *ret_runs);
// Their code objects and lines. SPY_ERR_TORN: a code object is missing.
int spy_async_resolve(struct spy_async *a);

// --- async_task.c ---

int spy_async_task(struct spy_async *a, struct spy_py_task *task);
// The coroutine of a task; 0: none.
uint64_t spy_async_coroutine(struct spy_async *a, uint64_t task);
void spy_async_name(struct spy_async *a, uint64_t task, char *out, size_t size);
// The frame of a coroutine, as spy_python_link gives it; 0: none.
uint64_t spy_async_frame(struct spy_async *a, uint64_t coroutine);

// --- async_await.c ---

// Adds pairs for the tasks that await this one.
void spy_async_awaiters(struct spy_async *a, uint64_t task);
// What a future is for, once the tasks that make it end were passed to spy_async_awaiters.
enum spy_py_waits spy_async_purpose_of(struct spy_async *a, uint64_t future);

// --- async_running.c ---

// Adds the loop of each thread that runs one, and its task, to out->loops.
int spy_async_loops(struct spy_async *a);

// --- async.c ---

// a is zeroed first. SPY_ERR_UNSUPPORTED.
int spy_async_begin(struct spy_async *a, struct spy_python *p, struct spy_py_tasks *out);
void spy_async_end(struct spy_async *a);
