#include "agent/python/find.h"
#include "agent/python/text.h"
#include "agent/python/thread_states.h"
#include "shared/base/clock.h"
#include <stdlib.h>

// For an interpreter found without symbols: does any thread have a stack that can be unwound to its
// end?
static bool has_stack(struct spy_python *p)
{
    enum { TRIES = 20, TRY_NS = 1000000 };
    struct spy_py_options o = {.pausing = SPY_PAUSE_NEVER};
    struct spy_py_stack st;
    for (int k = 0; k < TRIES && spy_python_refresh(p) == 0; k++) {
        for (size_t i = 0; i < p->n_threads; i++)
            if (spy_python_sample(p, p->threads[i], &o, &st) == 0 && st.n)
                return true;
        spy_clock_sleep_until(spy_clock_mono_ns() + TRY_NS);
    }
    return false;
}

int spy_python_attach(struct spy_target *t, struct spy_python **ret, struct spy_err *err)
{
    struct spy_py_runtime rt;
    int r = spy_py_runtime_find(t, &rt, err);
    if (r < 0)
        return r;
    struct spy_python *p = calloc(1, sizeof *p);
    if (!p)
        return spy_err_nomem(err);
    p->target = t;
    p->runtime = rt;
    p->dirty = true;
    p->text = SPY_BUF_INIT(4 * SPY_PY_TEXT_MAX + 8);
    p->name = SPY_BUF_INIT(SPY_PY_NAME_MAX + 4);
    spy_codes_init(&p->codes, t, &p->runtime.layout);
    if (rt.scanned && !has_stack(p)) {
        spy_python_free(p);
        return spy_err_set(
            err, SPY_ERR_NOTFOUND, 0,
            "there is no Python in process %d; a child of it may be Python (ps --forest)",
            (int)spy_target_pid(t));
    }
    *ret = p;
    return 0;
}

void spy_python_free(struct spy_python *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_threads; i++)
        spy_py_thread_free(p->threads[i]);
    free(p->threads);
    free(p->spare);
    free(p->found);
    free(p->left);
    free(p->tids);
    spy_map_free(&p->seen);
    spy_buf_free(&p->text);
    spy_buf_free(&p->name);
    spy_codes_done(&p->codes);
    free(p->scratch.copy);
    free(p->scratch.recs);
    free(p->scratch.kept);
    free(p->scratch.addrs);
    free(p->scratch.ids);
    free(p->scratch.frames);
    free(p);
}

const struct spy_py_runtime *spy_python_runtime(const struct spy_python *p)
{
    return &p->runtime;
}

struct spy_codes *spy_python_codes(struct spy_python *p)
{
    return &p->codes;
}

size_t spy_python_n_threads(const struct spy_python *p)
{
    return p->n_threads;
}

size_t spy_python_n_left_out(const struct spy_python *p)
{
    return p->n_left;
}

struct spy_py_thread *spy_python_thread(struct spy_python *p, size_t i)
{
    return p->threads[i];
}

pid_t spy_py_thread_tid(const struct spy_py_thread *th)
{
    return th->id.tid;
}

uint64_t spy_py_thread_gil(const struct spy_py_thread *th)
{
    return th->id.gil;
}

uint64_t spy_py_thread_ident(const struct spy_py_thread *th)
{
    return th->id.ident;
}

const char *spy_py_thread_name(const struct spy_py_thread *th)
{
    return th->id.name.text;
}

uint32_t spy_py_thread_name_changes(const struct spy_py_thread *th)
{
    return th->id.name.changes;
}

uint64_t *spy_py_thread_user(struct spy_py_thread *th)
{
    return th->id.user;
}
