#include "agent/python/async.h"
#include "agent/python/async_inside.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 256 << 20, WORK_MAX = 1 << 23 };

const char *spy_py_waits_name(enum spy_py_waits waits)
{
    static const char *const names[] = {
#define NAME_OF(id, text) text,
        SPY_PY_WAITS(NAME_OF)
#undef NAME_OF
    };
    return names[waits];
}

int spy_async_begin(struct spy_async *a, struct spy_python *p, struct spy_py_tasks *out)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    uint8_t bytes[SPY_PY_DEBUG_OFFSETS_SIZE];
    if (l->free_threaded) // what tells a task from freed memory is not known there: async_read.c
        return SPY_ERR_UNSUPPORTED;
    a->p = p;
    a->out = out;
    a->header = (uint16_t)(l->ob_type + 8);
    a->values.target = p->target;
    a->values.layout = l;
    a->work = WORK_MAX;
    spy_py_objects_of(l, &a->values.objects);
    int r = spy_py_async_layout_of(l, &a->at);
    if (r == 0 && a->at.at_modules) {
        r = spy_target_read(p->target, p->runtime.addr, bytes, sizeof bytes);
        if (r == 0)
            r = spy_py_async_layout_apply(&a->at, bytes, sizeof bytes);
    }
    if (r == 0 && a->at.fut_awaited_by != SPY_PY_ABSENT)
        r = spy_async_find_published(a);
    return r;
}

void spy_async_end(struct spy_async *a)
{
    free(a->spans);
    free(a->log);
    free(a->again);
    free(a->codes);
    free(a->ips);
    free(a->tlbcs);
    free(a->ids);
    free(a->lines);
    free(a->pairs);
    free(a->purposes);
    spy_map_free(&a->by_addr);
    spy_map_free(&a->purpose_by_addr);
}

// --- order ---

// Numbers in names count as numbers.
static int compare_names(const char *a, const char *b)
{
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            char *a_end, *b_end;
            unsigned long long x = strtoull(a, &a_end, 10), y = strtoull(b, &b_end, 10);
            if (x != y)
                return x < y ? -1 : 1;
            a = a_end;
            b = b_end;
            continue;
        }
        if (*a != *b)
            break;
        a++;
        b++;
    }
    return (unsigned char)*a - (unsigned char)*b;
}

static int compare_tasks(const void *x, const void *y, void *arg)
{
    const struct spy_py_task *a = x, *b = y;
    const struct spy_py_tasks *tasks = arg;
    if (a->loop != b->loop)
        return a->loop < b->loop ? -1 : 1;
    int by_name =
        compare_names(spy_py_tasks_text(tasks, a->name), spy_py_tasks_text(tasks, b->name));
    return by_name ? by_name : a->addr < b->addr ? -1 : a->addr > b->addr;
}

// --- who awaits whom ---

static uint32_t find_task(const struct spy_async *a, uint64_t addr)
{
    uint64_t hash = spy_hash_mix(addr, 0);
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&a->by_addr, hash, &at)) != SPY_MAP_NONE;)
        if (a->out->list[i].addr == addr)
            return i;
    return SPY_MAP_NONE;
}

// The tasks have moved since they were listed.
static int index_tasks(struct spy_async *a)
{
    int r = 0;
    spy_map_clear(&a->by_addr);
    for (size_t i = 0; r == 0 && i < a->out->n; i++)
        r = spy_map_add(&a->by_addr, spy_hash_mix(a->out->list[i].addr, 0), (uint32_t)i);
    return r;
}

static int compare_pairs(const void *x, const void *y)
{
    return memcmp(x, y, 2 * sizeof(uint64_t));
}

// Turns addresses into indices, and drops pairs of tasks that are not listed.
static int keep_awaiters(struct spy_async *a)
{
    struct spy_py_tasks *out = a->out;
    size_t n = 0;
    for (size_t i = 0; i < a->n_pairs; i += 2) {
        uint32_t task = find_task(a, a->pairs[i]), by = find_task(a, a->pairs[i + 1]);
        if (task == SPY_MAP_NONE || by == SPY_MAP_NONE || task == by)
            continue;
        a->pairs[n++] = __builtin_bswap64(task); // so that memcmp orders them
        a->pairs[n++] = __builtin_bswap64(by);
    }
    if (n)
        qsort(a->pairs, n / 2, 2 * sizeof *a->pairs, compare_pairs);
    int r =
        spy_grow(&out->awaiters, &out->cap_awaiters, n / 2, sizeof *out->awaiters, SIZE_MAX / 8);
    for (size_t i = 0; r == 0 && i < n; i += 2) {
        struct spy_py_task *t = &out->list[__builtin_bswap64(a->pairs[i])];
        if (i && !memcmp(a->pairs + i, a->pairs + i - 2, 2 * sizeof *a->pairs))
            continue;
        if (!t->n_awaiters)
            t->first_awaiter = (uint32_t)out->n_awaiters;
        t->n_awaiters++;
        out->awaiters[out->n_awaiters++] = (uint32_t)__builtin_bswap64(a->pairs[i + 1]);
    }
    return r;
}

static void begin_step(const struct spy_async *a)
{
    if (a->step.step)
        a->step.step(a->step.arg);
}

static void name_purposes(struct spy_async *a)
{
    for (size_t i = 0; i < a->out->n; i++) {
        struct spy_py_task *t = &a->out->list[i];
        begin_step(a);
        spy_async_forget(a);
        if (t->waits == SPY_PY_WAITS_FUTURE)
            t->waits = spy_async_purpose_of(a, t->waiter);
        // gather() has a class of its own for its future.
        if (t->waits == SPY_PY_WAITS_FUTURE &&
            !strcmp(spy_py_tasks_text(a->out, t->detail), "_GatheringFuture"))
            t->waits = SPY_PY_WAITS_GATHER;
        if (t->waits == SPY_PY_WAITS_GATHER || t->waits == SPY_PY_WAITS_SHIELD)
            t->detail = 0;
    }
}

// --- all ---

static int read_listed_tasks(struct spy_async *a)
{
    struct spy_py_tasks *out = a->out;
    size_t n = 0;
    int r = 0;
    for (size_t i = 0; i < out->n && r == 0; i++) {
        struct spy_py_task t = {.addr = out->list[i].addr};
        begin_step(a);
        r = spy_async_task(a, &t);
        if (r == 0)
            out->list[n++] = t;
        if (r == SPY_ERR_LIMIT)
            out->truncated = true;
        if (r == SPY_ERR_NOTFOUND || r == SPY_ERR_LIMIT) // it has ended
            r = 0;
    }
    out->n = n;
    return r;
}

static void name_loops(struct spy_async *a)
{
    const struct spy_async_type *type;
    for (size_t i = 0; i < a->out->n_loops; i++)
        if (spy_async_type_of(a, a->out->loops[i].addr, &type) == 0)
            a->out->loops[i].type = spy_async_keep(a, type->name);
}

// Loops that do not run, but have tasks.
static int add_still_loops(struct spy_async *a)
{
    struct spy_py_tasks *out = a->out;
    for (size_t i = 0; i < out->n; i++) {
        size_t k = 0;
        if (i && out->list[i].loop == out->list[i - 1].loop)
            continue;
        while (k < out->n_loops && out->loops[k].addr != out->list[i].loop)
            k++;
        if (k < out->n_loops)
            continue;
        int r = spy_grow(&out->loops, &out->cap_loops, out->n_loops + 1, sizeof *out->loops,
                         SPY_PY_LOOPS_MAX);
        if (r < 0)
            return r == SPY_ERR_LIMIT ? 0 : r;
        out->loops[out->n_loops++] = (struct spy_py_loop){.addr = out->list[i].loop};
    }
    return 0;
}

static int look_at_tasks(struct spy_async *a)
{
    struct spy_py_tasks *out = a->out;
    int r = spy_async_list(a);
    if (r == 0)
        r = spy_async_loops(a);
    if (r == 0)
        r = read_listed_tasks(a);
    if (r < 0)
        return r;
    if (out->n)
        qsort_r(out->list, out->n, sizeof *out->list, compare_tasks, out);
    for (size_t i = 0; i < out->n; i++) {
        begin_step(a);
        spy_async_forget(a);
        spy_async_awaiters(a, out->list[i].addr);
    }
    out->truncated = out->truncated || !a->work;
    r = index_tasks(a);
    if (r == 0)
        r = keep_awaiters(a);
    if (r == 0)
        r = add_still_loops(a);
    if (r == 0) {
        name_purposes(a);
        name_loops(a);
    }
    return r == 0 && out->text.failed ? out->text.failed : r;
}

static void reset_tasks(struct spy_py_tasks *t)
{
    t->n = t->n_frames = t->n_awaiters = t->n_loops = t->n_changing = t->n_unlisted = 0;
    t->truncated = false;
    spy_buf_reset(&t->text);
    t->text.max = TEXT_MAX;
    spy_buf_append(&t->text, "", 1); // at 0
}

int spy_python_tasks(struct spy_python *p, struct spy_py_tasks_step step, struct spy_py_tasks *ret)
{
    reset_tasks(ret);
    struct spy_async *a = calloc(1, sizeof *a);
    int r = a ? spy_async_begin(a, p, ret) : SPY_ERR_NOMEM;
    if (r == 0) {
        a->step = step;
        r = look_at_tasks(a);
    }
    if (a)
        spy_async_end(a);
    free(a);
    return r;
}

void spy_py_tasks_done(struct spy_py_tasks *t)
{
    free(t->list);
    free(t->frames);
    free(t->awaiters);
    free(t->loops);
    spy_buf_free(&t->text);
    *t = (struct spy_py_tasks){0};
}
