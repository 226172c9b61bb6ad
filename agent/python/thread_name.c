#include "agent/python/thread_name.h"
#include "agent/python/attribute.h"
#include "agent/python/text.h"
#include <stdio.h>
#include <string.h>

enum { AT_A_TIME = 32 };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

// From 3.11 names are qualified.
static bool is_bootstrap(const struct spy_code *c)
{
    return (!strcmp(c->name, "Thread._bootstrap") || !strcmp(c->name, "_bootstrap") ||
            !strcmp(c->name, "__bootstrap") || !strcmp(c->name, "Thread.__bootstrap")) &&
           (ends_with(c->filename, "threading.py") || ends_with(c->filename, "threading.pyc"));
}

// The outermost frame that has a code object; NULL where that is not Thread._bootstrap.
static const struct spy_py_rec *find_bootstrap(const struct spy_python *p,
                                               const struct spy_py_thread *th)
{
    enum { ENTRIES = 3 }; // outside of it may be where the interpreter was entered from C
    if (th->codes_epoch != p->codes.epoch) // its numbers are of code objects that were forgotten
        return NULL;
    for (size_t i = 0; i < ENTRIES && i < th->n_last; i++) {
        const struct spy_py_rec *rec = &th->last[th->n_last - 1 - i];
        if (rec->shown && rec->id >= 0)
            return is_bootstrap(spy_codes_at(&p->codes, rec->id)) ? rec : NULL;
    }
    return NULL;
}

// Where the local variables of a frame begin. In a PyFrameObject that is behind 20 PyTryBlocks of
// 12 bytes, which follow the last field that layout.h knows.
static uint64_t locals_of(const struct spy_py_layout *l, const struct spy_py_rec *rec)
{
    if (!l->heap_frames)
        return rec->addr + l->f_size;
    return rec->addr + l->f_size + (l->f_executing == SPY_PY_ABSENT ? 248 : 240);
}

static int read_name(struct spy_python *p, const struct spy_py_rec *rec)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    uint64_t self, code, name, str, type;
    int r = spy_target_read_u64(p->target, rec->addr + l->f_code, &code);
    if (r == 0)
        r = spy_target_read_u64(p->target, locals_of(l, rec), &self);
    if (r == 0 && (code & ~(uint64_t)l->f_code_tag) != rec->code)
        r = SPY_ERR_TORN;
    if (r == 0)
        r = spy_py_attribute(p->target, l, self & ~(uint64_t)l->f_code_tag,
                             l->major == 2 ? "_Thread__name" : "_name", &name, &str);
    if (r == 0)
        r = spy_target_read_u64(p->target, name + l->ob_type, &type);
    if (r < 0)
        return r;
    spy_buf_reset(&p->text);
    return type == str ? spy_py_text(p->target, l, name, &p->text) : SPY_ERR_TORN;
}

void spy_py_thread_find_name(struct spy_python *p, struct spy_py_thread *th, uint64_t now)
{
    const struct spy_py_rec *rec = th->is_main ? NULL : find_bootstrap(p, th);
    th->named = now;
    if (!rec || read_name(p, rec) < 0 || !p->text.len)
        return;
    spy_buf_reset(&p->name);
    spy_buf_cut(&p->name, spy_buf_str(&p->text), p->text.len, SPY_PY_NAME_MAX);
    if (p->name.failed || !strcmp(th->name, spy_buf_str(&p->name)))
        return;
    snprintf(th->name, sizeof th->name, "%s", spy_buf_str(&p->name));
    th->name_changes++;
    p->renamed = true;
}

void spy_py_thread_find_names(struct spy_python *p, uint64_t now)
{
    if (!spy_target_is_live(p->target))
        return;
    size_t left = AT_A_TIME;
    for (size_t i = 0; i < p->n_threads && left; i++) {
        struct spy_py_thread *th = p->threads[p->name_next++ % p->n_threads];
        if (!th->named || now - th->named < SPY_PY_NAME_AGAIN_NS)
            continue;
        spy_py_thread_find_name(p, th, now);
        left--;
    }
}
