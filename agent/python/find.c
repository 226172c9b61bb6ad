#include "agent/python/find.h"
#include "agent/python/others.h"
#include "agent/python/scan.h"
#include "agent/python/source.h"
#include "agent/target/maps_load.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// CPU time: a process that is short of CPU must not conclude that there is no Python.
enum { SEARCH_NS = 500000000 };

// The state of a search. `best` is an interpreter that runs, or the first that was found.
struct search {
    const struct spy_target *t;
    const struct spy_maps *maps;
    struct spy_module *mods;
    size_t n;
    char exe[PATH_MAX];
    uint64_t give_up;
    size_t looked; // files
    bool found;
    size_t n_threads; // of best; 0: it does not run
    struct spy_py_runtime best;
    int r; // of the first interpreter that cannot be read
    struct spy_err err;
};

static void note_other(struct spy_py_runtime *rt, const struct spy_py_runtime *other)
{
    snprintf(rt->other_version, sizeof rt->other_version, "%s", other->version);
    snprintf(rt->other_module, sizeof rt->other_module, "%s", other->module);
}

static void take_runtime(struct search *s, struct spy_py_runtime *rt)
{
    size_t n = spy_py_count_threads(s->t, rt, s->n_threads ? SPY_PY_THREADS_MAX : 1);
    if (n && s->n_threads) {
        s->n_threads = spy_py_count_threads(s->t, &s->best, SPY_PY_THREADS_MAX);
        if (n <= s->n_threads) {
            note_other(&s->best, rt);
            return;
        }
        note_other(rt, &s->best);
    }
    if (n || !s->found) {
        s->best = *rt;
        s->n_threads = n;
        s->found = true;
    }
}

static void look_into(struct search *s, const struct spy_py_source *from)
{
    struct spy_py_runtime rt = {0};
    struct spy_err err = {0};
    int r = spy_py_source_read(from, &rt, &err);
    if (r == 0) {
        take_runtime(s, &rt);
    } else if (r != SPY_ERR_NOTFOUND && !s->r) {
        s->r = r;
        s->err = err;
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// Every extension module may be named after Python: "_json.cpython-311-x86_64-linux-gnu.so".
enum rank { RANK_PROGRAM, RANK_NAMED, RANK_LIKELY, RANK_OTHER };

static enum rank rank_of(const struct search *s, const struct spy_module *mod)
{
    const char *name = base_name(mod->path);
    if (!strcmp(mod->path, s->exe))
        return RANK_PROGRAM;
    if (!strncmp(name, "python", 6) || !strncmp(name, "libpython", 9))
        return RANK_NAMED;
    return strstr(name, "python") ? RANK_LIKELY : RANK_OTHER;
}

// Where symbols are looked up, likely places first. Files are read only if memory has no symbols,
// and only files that may be Python: a static program without dynamic symbols.
static const struct pass {
    enum rank first, last;
    bool file;
    bool all; // search all these files, even after an interpreter that runs was found
} passes[] = {
    {RANK_PROGRAM, RANK_PROGRAM, false, true}, {RANK_NAMED, RANK_NAMED, false, true},
    {RANK_LIKELY, RANK_LIKELY, false, false},  {RANK_OTHER, RANK_OTHER, false, false},
    {RANK_PROGRAM, RANK_LIKELY, true, false},
};

// Searches from high addresses to low, because later mappings mostly lie lower. The search is
// bounded: a process can map thousands of files with hash chains that were made to be long.
static void make_pass(struct search *s, const struct pass *pass)
{
    for (size_t i = s->n; i-- > 0;) {
        struct spy_py_source from = {
            .t = s->t, .maps = s->maps, .mod = &s->mods[i], .file = pass->file};
        enum rank rank = rank_of(s, from.mod);
        if (rank < pass->first || rank > pass->last ||
            (pass->file && !strstr(base_name(from.mod->path), "python")))
            continue;
        if ((s->n_threads && !pass->all) || spy_clock_thread_cpu_ns() >= s->give_up)
            return;
        s->looked += !pass->file;
        if (pass->file || spy_symbols_open(s->t, from.mod, &from.symbols) == 0)
            look_into(s, &from);
    }
}

// --- without symbols ---

static size_t keep_programs(struct search *s, struct spy_module *out)
{
    struct spy_symbols symbols;
    size_t n = 0;
    for (size_t i = 0; i < s->n && spy_clock_thread_cpu_ns() < s->give_up; i++) {
        int r = spy_symbols_open(s->t, &s->mods[i], &symbols);
        if ((r == 0 || r == SPY_ERR_NOTFOUND) &&
            !(s->found && !strcmp(s->mods[i].path, s->best.module)))
            out[n++] = s->mods[i];
    }
    return n;
}

static int find_unnamed(struct search *s, struct spy_py_runtime *ret, struct spy_err *err)
{
    struct spy_py_runtime rt;
    _cleanup_free_ struct spy_module *programs = calloc(s->n + 1, sizeof *programs);
    if (!programs)
        return spy_err_nomem(err);
    s->give_up = spy_clock_thread_cpu_ns() + SEARCH_NS;
    size_t n = keep_programs(s, programs);
    int r = spy_py_scan(s->t, s->maps, programs, n, s->give_up, &rt, err);
    // 3.13 and later: _PyRuntime was found, and has its offsets.
    const struct spy_module mod = {.path = rt.module};
    const struct spy_py_source from = {.t = s->t, .maps = s->maps, .mod = &mod};
    if (r == 0 && !rt.layout.major)
        r = spy_py_source_version(&from, &rt, err);
    if (r == 0 && s->found && !spy_py_count_threads(s->t, &rt, 1))
        r = SPY_ERR_NOTFOUND;
    if (r == 0)
        *ret = rt;
    return r;
}

// Takes an interpreter that does not run, since none does.
static int take_idle(struct search *s, struct spy_py_runtime *ret, struct spy_err *err)
{
    if (s->best.current && !s->best.addr && !s->best.interp) {
        int r = spy_py_wait_for_interp(s->t, &s->best, err);
        if (r < 0)
            return r;
    }
    *ret = s->best;
    return 0;
}

static int explain_none(const struct search *s, bool gave_up, struct spy_err *err)
{
    if (gave_up)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "no Python was found in %zu of the %zu files that process %d has "
                           "mapped: the search ended after half a second of CPU time",
                           s->looked, s->n, (int)spy_target_pid(s->t));
    return spy_err_set(
        err, SPY_ERR_NOTFOUND, 0,
        "there is no Python in process %d; a child of it may be Python (ps --forest)",
        (int)spy_target_pid(s->t));
}

static int choose_interpreter(struct search *s, struct spy_py_runtime *ret, struct spy_err *err)
{
    for (size_t i = 0; i < SPY_COUNT(passes); i++)
        if (!s->n_threads || passes[i].all)
            make_pass(s, &passes[i]);
    if (s->n_threads) {
        *ret = s->best;
        return 0;
    }
    bool gave_up = s->looked < s->n;
    const char *other = spy_py_other(s->exe, s->mods, s->n);
    if (other)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "process %d runs %s; podspy reads CPython only",
                           (int)spy_target_pid(s->t), other);
    if (s->r) {
        if (err)
            *err = s->err;
        return s->r;
    }
    int r = find_unnamed(s, ret, err);
    if (r < 0 && s->found)
        return take_idle(s, ret, err);
    return r == SPY_ERR_NOTFOUND ? explain_none(s, gave_up, err) : r;
}

static void read_exe(struct search *s)
{
    char name[32];
    ssize_t n =
        readlinkat(spy_target_proc_fd(s->t), spy_target_file(s->t, "exe", name, sizeof name),
                   s->exe, sizeof s->exe - 1);
    s->exe[n > 0 ? n : 0] = 0; // a core file has none
}

int spy_py_runtime_find(const struct spy_target *t, struct spy_py_runtime *ret, struct spy_err *err)
{
    _cleanup_(spy_maps_free) struct spy_maps maps = {0};
    int r = spy_maps_load(t, &maps, err);
    if (r < 0)
        return r;
    _cleanup_free_ struct spy_module *mods = NULL;
    struct search s = {.t = t, .maps = &maps, .give_up = spy_clock_thread_cpu_ns() + SEARCH_NS};
    if (spy_modules(&maps, &mods, &s.n) < 0)
        return spy_err_nomem(err);
    s.mods = mods;
    uint64_t probe;
    const uint64_t first = s.n ? mods[0].start : maps.n ? maps.list[0].start : 0;
    if (first && spy_target_read_u64(t, first, &probe) == SPY_ERR_DENIED)
        return spy_target_explain_denied(t, err);
    read_exe(&s);
    return choose_interpreter(&s, ret, err);
}
