#include "agent/python/async_inside.h"
#include "agent/python/word.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <string.h>

enum { HEAD_MAX = 256, PENDING = 0 };

// The fields of a task, of C or of Python.
struct fields {
    uint64_t loop, waiter, coroutine, name;
    bool done, cancelling;
};

// --- fields ---

static int read_c_fields(struct spy_async *a, uint64_t task, struct fields *f)
{
    const struct spy_py_async_layout *at = &a->at;
    uint8_t b[HEAD_MAX];
    if (at->task_head > sizeof b)
        return SPY_ERR_TORN;
    int r = spy_async_read(a, task, b, at->task_head);
    if (r == 0)
        r = spy_async_check_type(a, task, b);
    if (r < 0)
        return r;
    *f = (struct fields){
        .loop = spy_py_word(b, at->fut_loop),
        .waiter = spy_py_word(b, at->task_waiter),
        .coroutine = spy_py_word(b, at->task_coro),
        .name = spy_py_word(b, at->task_name),
        .done = spy_py_half(b, at->fut_state) != PENDING,
        .cancelling = spy_py_half(b, at->task_cancels) != 0,
    };
    return 0;
}

// The class has the state PENDING; an object has its own once that changes.
static bool is_py_done(struct spy_async *a, uint64_t object)
{
    char state[32];
    uint64_t str = spy_async_attribute(a, object, "_state");
    if (!str)
        return false;
    spy_async_text(a, str, state, sizeof state);
    return strcmp(state, "PENDING") != 0;
}

static int read_py_fields(struct spy_async *a, uint64_t task, struct fields *f)
{
    uint64_t requests = 0;
    *f = (struct fields){
        .loop = spy_async_attribute(a, task, "_loop"),
        .waiter = spy_async_attribute(a, task, "_fut_waiter"),
        .coroutine = spy_async_attribute(a, task, "_coro"),
        .name = spy_async_attribute(a, task, "_name"),
        .done = is_py_done(a, task),
    };
    f->cancelling =
        spy_async_int(a, spy_async_attribute(a, task, "_num_cancels_requested"), &requests) == 0 &&
        requests;
    return f->loop ? 0 : SPY_ERR_TORN;
}

static int read_fields(struct spy_async *a, uint64_t task, struct fields *f)
{
    enum spy_async_kind kind = spy_async_kind_of(a, task);
    if (!spy_async_is_task(kind))
        return SPY_ERR_NOTFOUND;
    return (kind == SPY_ASYNC_TASK ? read_c_fields : read_py_fields)(a, task, f);
}

uint64_t spy_async_coroutine(struct spy_async *a, uint64_t task)
{
    struct fields f;
    spy_async_forget(a);
    return read_fields(a, task, &f) == 0 && !f.done ? f.coroutine : 0;
}

uint64_t spy_async_frame(struct spy_async *a, uint64_t coroutine)
{
    uint64_t frame = 0;
    if (spy_async_kind_of(a, coroutine) != SPY_ASYNC_GENERATOR)
        return 0;
    if (!a->p->runtime.layout.heap_frames)
        return coroutine + a->at.gen_frame;
    return spy_async_word(a, coroutine + a->at.gen_frame, &frame) == 0 ? frame : 0;
}

// Since 3.13 a name that was not asked for yet is kept as its number.
static void read_task_name(struct spy_async *a, uint64_t name, char *out, size_t size)
{
    uint64_t number;
    spy_async_text(a, name, out, size);
    if (!out[0] && spy_async_int(a, name, &number) == 0)
        snprintf(out, size, "Task-%llu", (unsigned long long)number);
}

void spy_async_name(struct spy_async *a, uint64_t task, char *out, size_t size)
{
    struct fields f;
    spy_async_forget(a);
    out[0] = 0;
    if (read_fields(a, task, &f) == 0)
        read_task_name(a, f.name, out, size);
}

// --- what it waits for ---

// Where a coroutine of a library waits, by the end of its file and its function (NULL: any).
static const struct place {
    const char *file, *function;
    enum spy_py_waits waits;
    bool of_self; // the class of its first argument tells more
} waiting_places[] = {
    {"asyncio/tasks.py", "sleep", SPY_PY_WAITS_SLEEP, false},
    {"asyncio/tasks.py", "_wait", SPY_PY_WAITS_WAIT, false},
    {"asyncio/tasks.py", "wait_for", SPY_PY_WAITS_WAIT, false},
    {"asyncio/tasks.py", "_cancel_and_wait", SPY_PY_WAITS_WAIT, false},
    {"asyncio/taskgroups.py", NULL, SPY_PY_WAITS_GROUP, false},
    {"asyncio/locks.py", NULL, SPY_PY_WAITS_LOCK, true},
    {"asyncio/queues.py", NULL, SPY_PY_WAITS_QUEUE, true},
    {"asyncio/streams.py", NULL, SPY_PY_WAITS_SOCKET, true},
    {"asyncio/selector_events.py", NULL, SPY_PY_WAITS_SOCKET, false},
    {"asyncio/base_events.py", "serve_forever", SPY_PY_WAITS_SERVER, true},
    {"asyncio/base_events.py", "wait_closed", SPY_PY_WAITS_SERVER, true},
    {"asyncio/base_subprocess.py", NULL, SPY_PY_WAITS_PROCESS, false},
    {"aiohttp/streams.py", NULL, SPY_PY_WAITS_SOCKET, true},
};

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

// Names are qualified since 3.11.
static bool is_waiting_function(const struct spy_code *c, const char *name)
{
    const char *dot = strrchr(c->name, '.');
    return !name || !strcmp(dot ? dot + 1 : c->name, name);
}

// The innermost frame may be Future.__await__ of a future of Python.
static const struct place *find_waiting_place(const struct spy_async *a)
{
    for (size_t i = a->n_frames; i-- > 0;) {
        const struct spy_code *c = spy_codes_at(&a->p->codes, a->ids[i]);
        if (ends_in(c->filename, "asyncio/futures.py"))
            continue;
        for (size_t k = 0; k < SPY_COUNT(waiting_places); k++)
            if (ends_in(c->filename, waiting_places[k].file) &&
                is_waiting_function(c, waiting_places[k].function))
                return &waiting_places[k];
        return NULL;
    }
    return NULL;
}

static uint32_t keep_class_of(struct spy_async *a, uint64_t object)
{
    const struct spy_async_type *type;
    return object && spy_async_type_of(a, object, &type) == 0 ? spy_async_keep(a, type->name) : 0;
}

static void describe_wait(struct spy_async *a, struct spy_py_task *t)
{
    const struct place *place = find_waiting_place(a);
    enum spy_async_kind kind = spy_async_kind_of(a, t->waiter);
    uint64_t self = 0;
    if (spy_async_is_task(kind)) {
        t->waits = SPY_PY_WAITS_TASK;
    } else if (place) {
        t->waits = place->waits;
        if (place->of_self &&
            spy_async_word(a, a->last_frame + a->values.objects.frame_locals, &self) == 0)
            t->detail = keep_class_of(a, self & ~(uint64_t)a->p->runtime.layout.f_code_tag);
    } else {
        t->waits = SPY_PY_WAITS_FUTURE;
        t->detail = keep_class_of(a, t->waiter);
    }
}

static bool is_waiter_done(struct spy_async *a, uint64_t waiter)
{
    uint32_t state;
    enum spy_async_kind kind = spy_async_kind_of(a, waiter);
    if (kind == SPY_ASYNC_PY_TASK || kind == SPY_ASYNC_PY_FUTURE)
        return is_py_done(a, waiter);
    return spy_async_is_future(kind) &&
           spy_target_read(a->p->target, waiter + a->at.fut_state, &state, sizeof state) == 0 &&
           state != PENDING;
}

// --- one task ---

static int keep_frames(struct spy_async *a, struct spy_py_task *t)
{
    struct spy_py_tasks *out = a->out;
    size_t n = a->n_frames;
    int r = spy_grow(&out->frames, &out->cap_frames, out->n_frames + n, sizeof *out->frames,
                     SPY_PY_TASK_FRAMES_MAX);
    if (r < 0)
        return r;
    // The cache was emptied: what earlier frames are is forgotten.
    if (out->codes_epoch != a->p->codes.epoch && out->n_frames) {
        for (size_t i = 0; i < out->n_frames; i++)
            out->frames[i].code = SPY_CODE_NONE;
        out->truncated = true;
    }
    out->codes_epoch = a->p->codes.epoch;
    t->first_frame = (uint32_t)out->n_frames;
    t->n_frames = (uint32_t)n;
    for (size_t i = n; i-- > 0;)
        out->frames[out->n_frames++] = (struct spy_py_frame){a->ids[i], a->lines[i]};
    return 0;
}

// What a chain ends in, where that is neither a future nor its iterator: e.g. a coroutine of Cython.
static void keep_end(struct spy_async *a, struct spy_py_task *t, uint64_t end)
{
    enum spy_async_kind kind = spy_async_kind_of(a, end);
    if (!end || kind == SPY_ASYNC_FUTURE_ITER || spy_async_is_future(kind))
        return;
    t->ends = keep_class_of(a, end);
}

// The coroutine has returned, and the task does not say yet that it is done; or its memory was freed.
// A coroutine that is not Python's has no frames in the next try either.
static bool is_ending(struct spy_async *a, const struct fields *f)
{
    bool is_first = a->without_frames != f->coroutine;
    a->without_frames = a->n_frames ? 0 : f->coroutine;
    return !a->n_frames &&
           (is_first || !f->coroutine || spy_async_kind_of(a, f->coroutine) == SPY_ASYNC_GENERATOR);
}

static int read_task_once(struct spy_async *a, struct spy_py_task *t)
{
    struct fields f, again;
    uint64_t end;
    bool runs;
    char name[SPY_PY_TASK_NAME_MAX + 4];
    spy_async_forget(a);
    *t = (struct spy_py_task){.addr = t->addr};
    int r = read_fields(a, t->addr, &f);
    if (r < 0 || f.done)
        return r < 0 ? r : SPY_ERR_NOTFOUND;
    r = spy_async_chain(a, f.coroutine, &end, &runs);
    if (r == SPY_ERR_LIMIT) {
        t->truncated = true;
        r = 0;
    }
    if (r == 0 && is_ending(a, &f))
        r = SPY_ERR_TORN;
    if (r == 0 && !runs)
        r = spy_async_resolve(a);
    t->loop = f.loop;
    t->cancelling = f.cancelling;
    t->frame = a->first_frame;
    t->waiter = f.waiter && !spy_async_is_none(a, f.waiter) ? f.waiter : 0;
    read_task_name(a, f.name, name, sizeof name);
    if (r == 0)
        r = spy_async_unchanged(a);
    if (r == 0 && spy_async_kind_of(a, t->addr) == SPY_ASYNC_PY_TASK)
        r = read_fields(a, t->addr, &again) == 0 && !memcmp(&f, &again, sizeof f) ? 0
                                                                                  : SPY_ERR_TORN;
    t->name = spy_async_keep(a, name);
    if (r < 0)
        return r;
    t->state = runs                                         ? SPY_PY_TASK_RUNNING
               : t->waiter && !is_waiter_done(a, t->waiter) ? SPY_PY_TASK_AWAITING
                                                            : SPY_PY_TASK_READY;
    if (runs)
        return 0;
    if (t->waiter)
        describe_wait(a, t);
    keep_end(a, t, end);
    return keep_frames(a, t);
}

int spy_async_task(struct spy_async *a, struct spy_py_task *t)
{
    size_t text = a->out->text.len;
    int r = SPY_ERR_TORN;
    a->without_frames = 0;
    for (int i = 0; i < SPY_PY_TASK_TRIES && r == SPY_ERR_TORN; i++) {
        a->out->text.len = text;
        r = read_task_once(a, t);
    }
    if (r == SPY_ERR_TORN) {
        t->changing = true;
        a->out->n_changing++;
        r = 0;
    }
    return r;
}
