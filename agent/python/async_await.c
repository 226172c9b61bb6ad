#include "agent/python/async_inside.h"
#include "shared/base/mem.h"
#include <string.h>

// A future does not say who awaits it. Its callbacks do: a task that awaits it leaves its own
// wake-up there, and gather(), wait(), shield() and their like leave functions that end a future of
// theirs, which in turn has callbacks.
enum {
    DEPTH_MAX = 8,           // futures between two tasks
    CALLBACKS_MAX = 1 << 14, // of one future
    CELLS_MAX = 32,          // variables of a closure
    PAIRS_MAX = 1 << 22,
    GETTERS_MAX = 64,
};

static void add_waiter(struct spy_async *a, uint64_t task, uint64_t future, int depth);

// --- functions that end another future ---

enum way {
    WAY_SELF,           // self is the task that awaits
    WAY_SELF_ATTRIBUTE, // an attribute of self is
    WAY_SELF_QUEUE,     // an attribute of self is a queue that is waited for
    WAY_CLOSURE,        // the only future among its variables
    WAY_CLOSURE_QUEUE,  // the only queue
    WAY_ARGUMENT,       // the first argument of a functools.partial
};

static const struct passing {
    const char *module, *function; // __module__, __qualname__
    enum way way;
    const char *attribute;
    enum spy_py_waits waits; // for the future that it ends
} passings[] = {
    {"asyncio.tasks", "Task.__wakeup", WAY_SELF, NULL, SPY_PY_WAITS_NOTHING},
    {"asyncio.tasks", "gather.<locals>._done_callback", WAY_CLOSURE, NULL, SPY_PY_WAITS_GATHER},
    {"asyncio.tasks", "_gather.<locals>._done_callback", WAY_CLOSURE, NULL, SPY_PY_WAITS_GATHER},
    {"asyncio.tasks", "_wait.<locals>._on_completion", WAY_CLOSURE, NULL, SPY_PY_WAITS_WAIT},
    {"asyncio.tasks", "shield.<locals>._inner_done_callback", WAY_CLOSURE, NULL,
     SPY_PY_WAITS_SHIELD},
    {"asyncio.tasks", "as_completed.<locals>._on_completion", WAY_CLOSURE_QUEUE, NULL,
     SPY_PY_WAITS_NOTHING},
    {"asyncio.tasks", "_AsCompletedIterator._handle_completion", WAY_SELF_QUEUE, "_done",
     SPY_PY_WAITS_NOTHING},
    {"asyncio.tasks", "_release_waiter", WAY_ARGUMENT, NULL, SPY_PY_WAITS_WAIT},
    {"asyncio.taskgroups", "TaskGroup._on_task_done", WAY_SELF_ATTRIBUTE, "_parent_task",
     SPY_PY_WAITS_NOTHING},
};

// What the future of a concurrent.futures executor leaves in asyncio's.
static const struct passing executor = {"asyncio.futures",
                                        "_chain_future.<locals>._call_check_cancel", WAY_CLOSURE,
                                        NULL, SPY_PY_WAITS_EXECUTOR};

static bool is_passing(struct spy_async *a, uint64_t function, const struct passing *p,
                       const char *name)
{
    char module[64];
    uint64_t str;
    if (strcmp(p->function, name) || spy_async_word(a, function + a->at.function_module, &str) < 0)
        return false;
    spy_async_text(a, str, module, sizeof module);
    return !strcmp(p->module, module);
}

static void read_function_name(struct spy_async *a, uint64_t function, char *out, size_t size)
{
    uint64_t str;
    out[0] = 0;
    if (spy_async_word(a, function + a->values.objects.function_name, &str) == 0)
        spy_async_text(a, str, out, size);
}

static const struct passing *find_passing(struct spy_async *a, uint64_t function)
{
    char name[96];
    read_function_name(a, function, name, sizeof name);
    for (size_t i = 0; i < SPY_COUNT(passings); i++)
        if (is_passing(a, function, &passings[i], name))
            return &passings[i];
    return NULL;
}

static void note_purpose(struct spy_async *a, uint64_t future, enum spy_py_waits waits)
{
    uint64_t hash = spy_hash_mix(future, 0);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&a->purpose_by_addr, hash, &at)) != SPY_MAP_NONE;)
        if (a->purposes[i].future == future)
            return;
    if (spy_grow(&a->purposes, &a->cap_purposes, a->n_purposes + 1, sizeof *a->purposes,
                 SPY_PY_TASKS_MAX) == 0 &&
        spy_map_add(&a->purpose_by_addr, hash, (uint32_t)a->n_purposes) == 0)
        a->purposes[a->n_purposes++] = (struct spy_async_purpose){future, waits};
}

// --- who is behind a future ---

// Those who wait in Queue.get() have futures in a deque of the queue.
static void add_getters(struct spy_async *a, uint64_t task, uint64_t queue, int depth)
{
    const struct spy_py_objects *o = &a->values.objects;
    uint64_t deque = spy_async_attribute(a, queue, "_getters"), w[4], n, item;
    const struct spy_async_type *type;
    if (!deque || spy_async_type_of(a, deque, &type) < 0 || strcmp(type->name, "deque") ||
        spy_async_word(a, deque + o->deque_length, &n) < 0 ||
        spy_target_read(a->p->target, deque + o->deque_block, w, sizeof w) < 0)
        return;
    // Only those in the first block.
    for (uint64_t i = w[2];
         n && n <= INT32_MAX && i < o->block_length && i - w[2] < n && i - w[2] < GETTERS_MAX; i++)
        if (spy_async_word(a, w[0] + o->block_items + i * 8, &item) == 0)
            add_waiter(a, task, item, depth);
}

static void add_closure(struct spy_async *a, uint64_t task, uint64_t function,
                        const struct passing *p, int depth)
{
    const struct spy_async_type *type;
    uint64_t closure, cells[CELLS_MAX], value;
    size_t n;
    if (spy_async_word(a, function + a->at.function_closure, &closure) < 0 || !closure ||
        spy_async_items(a, closure, true, cells, CELLS_MAX, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        if (spy_async_word(a, cells[i] + a->values.objects.cell_value, &value) < 0 || !value ||
            spy_async_type_of(a, value, &type) < 0)
            continue;
        if (p->way == WAY_CLOSURE_QUEUE && !strcmp(type->name, "Queue"))
            add_getters(a, task, value, depth);
        if (p->way == WAY_CLOSURE && spy_async_is_future(type->kind)) {
            note_purpose(a, value, p->waits);
            add_waiter(a, task, value, depth);
        }
    }
}

// A bound method: its function, and self.
static void add_method(struct spy_async *a, uint64_t task, uint64_t method, int depth)
{
    uint64_t w[2], value;
    if (spy_target_read(a->p->target, method + a->header, w, sizeof w) < 0)
        return;
    const struct passing *p = find_passing(a, w[0]);
    if (!p || (p->way != WAY_SELF && !p->attribute))
        return;
    value = p->way == WAY_SELF ? w[1] : spy_async_attribute(a, w[1], p->attribute);
    if (p->way == WAY_SELF_QUEUE && value)
        add_getters(a, task, value, depth);
    else
        add_waiter(a, task, value, depth);
}

// The wake-up of a task of C is a built-in method of that task, since 3.9. Its others are, too.
static bool is_wakeup(struct spy_async *a, uint64_t definition)
{
    uint64_t name;
    char text[32];
    a->values.reads_left = SPY_PY_VALUE_READS;
    return spy_async_word(a, definition, &name) == 0 &&
           spy_value_peek_c_string(&a->values, name, text, sizeof text) == 0 &&
           !strcmp(text, "task_wakeup");
}

static void add_partial(struct spy_async *a, uint64_t task, uint64_t partial, int depth)
{
    uint64_t w[2], item; // fn, args
    size_t n;
    if (spy_target_read(a->p->target, partial + a->header, w, sizeof w) < 0 ||
        spy_async_kind_of(a, w[0]) != SPY_ASYNC_FUNCTION)
        return;
    const struct passing *p = find_passing(a, w[0]);
    if (!p || p->way != WAY_ARGUMENT || spy_async_items(a, w[1], true, &item, 1, &n) < 0 || !n)
        return;
    note_purpose(a, item, p->waits);
    add_waiter(a, task, item, depth);
}

static void add_callback(struct spy_async *a, uint64_t task, uint64_t callback, int depth)
{
    const struct passing *p;
    uint64_t w[2];
    if (!a->work)
        return;
    a->work--;
    switch (spy_async_kind_of(a, callback)) {
    case SPY_ASYNC_BUILTIN:
        if (spy_target_read(a->p->target, callback + a->header, w, sizeof w) == 0 &&
            is_wakeup(a, w[0]))
            add_waiter(a, task, w[1], depth);
        break;
    case SPY_ASYNC_WAKEUP:
        if (spy_async_word(a, callback + a->header, w) == 0)
            add_waiter(a, task, w[0], depth);
        break;
    case SPY_ASYNC_METHOD:
        add_method(a, task, callback, depth);
        break;
    case SPY_ASYNC_PARTIAL:
        add_partial(a, task, callback, depth);
        break;
    case SPY_ASYNC_FUNCTION:
        p = find_passing(a, callback);
        if (p)
            add_closure(a, task, callback, p, depth);
        break;
    default:
        break;
    }
}

// --- the callbacks of a future ---

typedef void (*with_callback)(struct spy_async *a, uint64_t task, uint64_t callback, int depth);

// Each is a tuple of the callback and its context.
static void visit_list(struct spy_async *a, uint64_t list, with_callback visit, uint64_t task,
                       int depth)
{
    uint64_t item, at, n, tuple;
    if (!list || spy_async_word(a, list + a->p->runtime.layout.ob_size, &n) < 0 ||
        spy_async_word(a, list + a->values.objects.list_items, &at) < 0)
        return;
    for (uint64_t i = 0; i < n && i < CALLBACKS_MAX && a->work; i++)
        if (spy_async_word(a, at + i * 8, &tuple) < 0 ||
            spy_async_word(a, tuple + a->values.objects.tuple_items, &item) < 0)
            return;
        else
            visit(a, task, item, depth);
}

static void visit_callbacks(struct spy_async *a, uint64_t future, with_callback visit,
                            uint64_t task, int depth)
{
    enum spy_async_kind kind = spy_async_kind_of(a, future);
    uint64_t first = 0, list = 0;
    const struct spy_async_type *type;
    if (kind == SPY_ASYNC_TASK || kind == SPY_ASYNC_FUTURE) {
        if (spy_async_word(a, future + a->at.fut_callback0, &first) < 0 ||
            spy_async_word(a, future + a->at.fut_callbacks, &list) < 0)
            return;
    } else if (spy_async_is_future(kind)) {
        list = spy_async_attribute(a, future, "_callbacks");
    }
    if (first)
        visit(a, task, first, depth);
    if (list && spy_async_type_of(a, list, &type) == 0 && !strcmp(type->name, "list"))
        visit_list(a, list, visit, task, depth);
}

// --- what 3.14 and later note ---

struct awaited {
    uint64_t task;
    int depth;
};

static int add_awaited_by(struct spy_async *a, uint64_t object, void *arg)
{
    const struct awaited *w = arg;
    if (a->work)
        a->work--;
    add_waiter(a, w->task, object, w->depth);
    return a->work ? 0 : SPY_ERR_LIMIT;
}

// The awaiters that a future of C notes: one, or a set of them.
static uint64_t find_awaited_by(struct spy_async *a, uint64_t future, uint8_t *ret_is_set)
{
    uint64_t by;
    if (spy_async_word(a, future + a->at.fut_awaited_by, &by) < 0 || !by ||
        spy_target_read(a->p->target, future + a->at.fut_awaited_by_is_set, ret_is_set, 1) < 0)
        return 0;
    return by;
}

static void visit_awaited_by(struct spy_async *a, uint64_t future, uint64_t task, int depth)
{
    enum spy_async_kind kind = spy_async_kind_of(a, future);
    struct awaited w = {task, depth};
    uint8_t is_set = 1;
    if (a->at.fut_awaited_by == SPY_PY_ABSENT)
        return;
    uint64_t by = kind == SPY_ASYNC_TASK || kind == SPY_ASYNC_FUTURE
                      ? find_awaited_by(a, future, &is_set)
                      : spy_async_attribute(a, future, "_Future__asyncio_awaited_by");
    if (by && is_set)
        spy_async_set(a, by, false, add_awaited_by, &w);
    else if (by)
        add_awaited_by(a, by, &w);
}

static void add_pair(struct spy_async *a, uint64_t task, uint64_t by)
{
    if (spy_grow(&a->pairs, &a->cap_pairs, a->n_pairs + 2, sizeof *a->pairs, 2 * PAIRS_MAX) < 0) {
        a->out->truncated = true;
        return;
    }
    a->pairs[a->n_pairs++] = task;
    a->pairs[a->n_pairs++] = by;
}

// `future` is ended when the task is, or is a task that waits for it.
static void add_waiter(struct spy_async *a, uint64_t task, uint64_t future, int depth)
{
    enum spy_async_kind kind = spy_async_kind_of(a, future);
    if (depth > DEPTH_MAX || !a->work)
        return;
    if (depth && spy_async_is_task(kind)) {
        add_pair(a, task, future);
    } else if (spy_async_is_future(kind)) {
        visit_callbacks(a, future, add_callback, task, depth + 1);
        visit_awaited_by(a, future, task, depth + 1);
    }
}

void spy_async_awaiters(struct spy_async *a, uint64_t task)
{
    add_waiter(a, task, task, 0);
}

// --- what a future is for ---

static void note_executor(struct spy_async *a, uint64_t future, uint64_t callback, int depth)
{
    char name[96];
    (void)depth;
    if (spy_async_kind_of(a, callback) != SPY_ASYNC_FUNCTION)
        return;
    read_function_name(a, callback, name, sizeof name);
    if (is_passing(a, callback, &executor, name))
        note_purpose(a, future, executor.waits);
}

enum spy_py_waits spy_async_purpose_of(struct spy_async *a, uint64_t future)
{
    uint64_t hash = spy_hash_mix(future, 0);
    visit_callbacks(a, future, note_executor, future, 0);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&a->purpose_by_addr, hash, &at)) != SPY_MAP_NONE;)
        if (a->purposes[i].future == future)
            return a->purposes[i].waits;
    return SPY_PY_WAITS_FUTURE;
}
