#include "agent/python/thread_name.h"
#include "agent/python/attribute.h"
#include "agent/python/text.h"
#include "shared/base/file.h"
#include <stdio.h>
#include <string.h>

enum { AT_A_TIME = 32 };

static bool text_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

// From 3.11 names are qualified.
static bool is_bootstrap(const struct spy_code *c)
{
    return (!strcmp(c->name, "Thread._bootstrap") || !strcmp(c->name, "_bootstrap") ||
            !strcmp(c->name, "__bootstrap") || !strcmp(c->name, "Thread.__bootstrap")) &&
           (text_ends_with(c->filename, "threading.py") ||
            text_ends_with(c->filename, "threading.pyc"));
}

// The outermost frame that has a code object; NULL where that is not Thread._bootstrap.
static const struct spy_py_rec *find_bootstrap(const struct spy_python *p,
                                               const struct spy_py_thread *th)
{
    enum { ENTRIES = 3 };                       // entries from C may lie outside of it
    if (th->last.codes_epoch != p->codes.epoch) // its ids are of code objects that were forgotten
        return NULL;
    for (size_t i = 0; i < ENTRIES && i < th->last.n_recs; i++) {
        const struct spy_py_rec *rec = &th->last.recs[th->last.n_recs - 1 - i];
        if (rec->shown && rec->id >= 0)
            return is_bootstrap(spy_codes_at(&p->codes, rec->id)) ? rec : NULL;
    }
    return NULL;
}

// Where the local variables of a frame begin. In a PyFrameObject that is behind 20 PyTryBlocks of
// 12 bytes, which follow the last field that layout.h knows.
static uint64_t find_locals(const struct spy_py_layout *l, const struct spy_py_rec *rec)
{
    if (!l->heap_frames)
        return rec->addr + l->f_size;
    return rec->addr + l->f_size + (l->f_executing == SPY_PY_ABSENT ? 248 : 240);
}

static int read_name_by_tid(struct spy_python *p, const struct spy_py_rec *rec)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    uint64_t self, code, name, str, type;
    int r = spy_target_read_u64(p->target, rec->addr + l->f_code, &code);
    if (r == 0)
        r = spy_target_read_u64(p->target, find_locals(l, rec), &self);
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

void spy_py_thread_name_by_system(const struct spy_python *p, struct spy_py_thread *th)
{
    struct spy_py_name *name = &th->id.name;
    char path[48];
    snprintf(path, sizeof path, "task/%d/comm", (int)th->id.tid);
    ssize_t n = th->id.is_main ? -1
                               : spy_file_read_small(spy_target_proc_fd(p->target), path,
                                                     name->text, sizeof name->text);
    name->changes++;
    name->looked_up = 0;
    if (n > 0)
        name->text[strcspn(name->text, "\n")] = 0;
    else
        snprintf(name->text, sizeof name->text, "%s", th->id.is_main ? "MainThread" : "");
}

void spy_py_thread_find_name(struct spy_python *p, struct spy_py_thread *th, uint64_t now)
{
    const struct spy_py_rec *rec = th->id.is_main ? NULL : find_bootstrap(p, th);
    th->id.name.looked_up = now;
    if (!rec || read_name_by_tid(p, rec) < 0 || !p->text.len)
        return;
    spy_buf_reset(&p->name);
    spy_buf_cut(&p->name, spy_buf_str(&p->text), p->text.len, SPY_PY_NAME_MAX);
    if (p->name.failed || !strcmp(th->id.name.text, spy_buf_str(&p->name)))
        return;
    snprintf(th->id.name.text, sizeof th->id.name.text, "%s", spy_buf_str(&p->name));
    th->id.name.changes++;
    p->renamed = true;
}

void spy_py_thread_find_names(struct spy_python *p, uint64_t now)
{
    if (!spy_target_is_live(p->target))
        return;
    size_t left = AT_A_TIME;
    for (size_t i = 0; i < p->n_threads && left; i++) {
        struct spy_py_thread *th = p->threads[p->name_next++ % p->n_threads];
        if (!th->id.name.looked_up || now - th->id.name.looked_up < SPY_PY_NAME_AGAIN_NS)
            continue;
        spy_py_thread_find_name(p, th, now);
        left--;
    }
}
