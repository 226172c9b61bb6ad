#include "agent/python/runtime.h"
#include "agent/python/scan.h"
#include "agent/python/version.h"
#include "agent/target/symbols.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// CPU time: who is kept from a CPU must not conclude that there is no Python.
enum { MODULES_MAX = 1024, SEARCH_NS = 500000000 };

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// Modules named after Python come first; a process has hundreds of others.
static bool is_likely(const struct spy_module *mod)
{
    return strstr(base_name(mod->path), "python") != NULL;
}

static int in_memory(const struct spy_target *t, const struct spy_maps *maps,
                     const struct spy_module *mod, const char *name, uint64_t *ret)
{
    (void)maps;
    return spy_module_symbol(t, mod, name, ret);
}

// Where a symbol is looked for, the likely first. Files only when no memory has it, since each
// extension module may be named after Python, and only of what may be Python: a static one without
// dynamic symbols.
static const struct way {
    bool likely;
    int (*look)(const struct spy_target *t, const struct spy_maps *maps,
                const struct spy_module *mod, const char *name, uint64_t *ret);
} ways[] = {{true, in_memory}, {false, in_memory}, {true, spy_module_file_symbol}};

// PY_VERSION_HEX: major, minor, micro, then level (a, b, c, f) and serial in a half byte each.
static void print_version(uint32_t hex, char *out, size_t size)
{
    unsigned level = hex >> 4 & 15, serial = hex & 15;
    int n = snprintf(out, size, "%u.%u.%u", hex >> 24, hex >> 16 & 255, hex >> 8 & 255);
    const char *name = level == 0xa ? "a" : level == 0xb ? "b" : level == 0xc ? "rc" : NULL;
    if (name && n > 0 && (size_t)n < size)
        snprintf(out + n, size - (size_t)n, "%s%u", name, serial);
}

static int set_version(struct spy_py_runtime *rt, uint32_t hex, struct spy_err *err)
{
    rt->version_hex = hex;
    print_version(hex, rt->version, sizeof rt->version);
    const struct spy_py_layout *l = spy_py_layout_find(hex >> 24, hex >> 16 & 255);
    if (!l)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "Python %s is not supported by this build (it knows %s)", rt->version,
                           spy_py_layout_supported());
    rt->layout = *l;
    return 0;
}

// Interpreters up to 3.10 tell their version only as a text.
static int version_by_text(const struct spy_target *t, const struct spy_maps *maps,
                           const struct spy_module *mod, struct spy_py_runtime *rt,
                           struct spy_err *err)
{
    char text[24], level[3] = "f";
    unsigned major, minor, micro, serial = 0;
    if ((!spy_py_version_text(t, maps, mod, text, sizeof text) &&
         !spy_py_scan_version(t, maps, mod, text, sizeof text)) ||
        sscanf(text, "%1u.%2u.%2u%2[abrc]%2u", &major, &minor, &micro, level, &serial) < 3)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "the Python in %s does not tell its version (this build knows %s)",
                           mod->path, spy_py_layout_supported());
    unsigned code = level[0] == 'a' ? 0xa : level[0] == 'b' ? 0xb : level[0] == 'r' ? 0xc : 0xf;
    int r =
        set_version(rt, major << 24 | minor << 16 | micro << 8 | code << 4 | (serial & 15), err);
    uint64_t addr; // only a build with Py_TRACE_REFS has this function
    if (r == 0 && rt->layout.heap_frames &&
        spy_module_symbol(t, mod, "_Py_AddToAllObjects", &addr) == 0)
        spy_py_layout_trace_refs(&rt->layout);
    // The runtime grew in 3.7.4, before the GIL.
    if (r == 0 && minor == 7 && major == 3 && micro < 4)
        rt->layout.runtime_gil = SPY_PY_ABSENT;
    return r;
}

// 3.13 and later say of themselves what they are; before that the exported constant Py_Version
// does, which is where _PyRuntime was.
static int read_version(const struct spy_target *t, const struct spy_maps *maps,
                        const struct spy_module *mod, const struct way *way,
                        struct spy_py_runtime *rt, struct spy_err *err)
{
    uint8_t bytes[SPY_PY_DEBUG_OFFSETS_SIZE];
    uint32_t hex;
    bool free_threaded;
    int r = spy_target_read(t, rt->addr, bytes, sizeof bytes);
    if (r < 0)
        return spy_err_set(err, r, 0, "cannot read _PyRuntime of %s", rt->module);
    if (spy_py_debug_offsets_version(bytes, sizeof bytes, &hex, &free_threaded)) {
        r = set_version(rt, hex, err);
        if (r == 0 && spy_py_layout_apply(&rt->layout, bytes, sizeof bytes) < 0)
            return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                               "Python %s publishes debug offsets that make no sense", rt->version);
        // A debug build has more in its interpreter than it tells; only such a build has this
        // symbol.
        uint64_t addr;
        if (way->look(t, maps, mod, "_Py_NegativeRefcount", &addr) == 0)
            rt->layout.interp_next_version = 0;
        return r;
    }
    uint64_t addr, value;
    if (way->look(t, maps, mod, "Py_Version", &addr) == 0 &&
        spy_target_read_u64(t, addr, &value) == 0)
        return set_version(rt, (uint32_t)value, err);
    return version_by_text(t, maps, mod, rt, err);
}

// interp_head is no exported symbol; in a stripped program the interpreter is that of the thread
// which has the GIL, once one has it.
static int find_interp(const struct spy_target *t, const struct spy_maps *maps,
                       const struct spy_module *mod, struct spy_py_runtime *rt, struct spy_err *err)
{
    enum { POLLS = 200, POLL_NS = 250000 };
    if (spy_module_symbol(t, mod, "interp_head", &rt->addr) == 0 ||
        spy_module_file_symbol(t, maps, mod, "interp_head", &rt->addr) == 0)
        return 0;
    for (int i = 0; i < (spy_target_is_live(t) ? POLLS : 1); i++) {
        uint64_t tstate;
        int r = spy_target_read_u64(t, rt->current, &tstate);
        if (r == 0 && tstate)
            r = spy_target_read_u64(t, tstate + rt->layout.ts_interp, &rt->interp);
        if (r < 0)
            return spy_err_set(err, r, 0, "cannot read _PyThreadState_Current of %s", rt->module);
        if (rt->interp)
            return 0;
        if (!spy_target_is_live(t))
            return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                               "no thread had the GIL, and %s has no symbol interp_head",
                               rt->module);
        spy_clock_sleep_until(spy_clock_mono_ns() + POLL_NS);
    }
    return spy_err_set(err, SPY_ERR_AGAIN, 0, "no thread of the Python in process %d took the GIL",
                       (int)spy_target_pid(t));
}

// Up to 3.6 there is no _PyRuntime, but a variable that says whose GIL it is.
static int find_old(const struct spy_target *t, const struct spy_maps *maps,
                    const struct spy_module *mods, size_t n, struct spy_py_runtime *ret,
                    struct spy_err *err)
{
    for (size_t k = 0; k < SPY_COUNT(ways) * n; k++) {
        const struct way *way = &ways[k / n];
        const struct spy_module *mod = &mods[k % n];
        struct spy_py_runtime rt = {0};
        if (!way->likely || !is_likely(mod) ||
            way->look(t, maps, mod, "_PyThreadState_Current", &rt.current) < 0)
            continue;
        snprintf(rt.module, sizeof rt.module, "%s", mod->path);
        int r = version_by_text(t, maps, mod, &rt, err);
        if (r == 0)
            r = find_interp(t, maps, mod, &rt, err);
        if (r == 0)
            *ret = rt;
        return r;
    }
    return SPY_ERR_NOTFOUND;
}

static int find_unnamed(const struct spy_target *t, const struct spy_maps *maps,
                        const struct spy_module *mods, size_t n, struct spy_py_runtime *ret,
                        struct spy_err *err)
{
    struct spy_py_runtime rt;
    int r = spy_py_scan(t, maps, mods, n, spy_clock_thread_cpu_ns() + SEARCH_NS, &rt, err);
    // 3.13 and later: what was found is _PyRuntime with its offsets.
    const struct spy_module mod = {.path = rt.module};
    if (r == 0 && !rt.layout.major)
        r = read_version(t, maps, &mod, &ways[0], &rt, err);
    if (r == 0)
        *ret = rt;
    return r;
}

// From 3.7 on.
static int find_named(const struct spy_target *t, const struct spy_maps *maps,
                      const struct spy_module *mods, size_t n, struct spy_py_runtime *ret,
                      struct spy_err *err)
{
    // A process can map a thousand files whose hash chains are made to be long.
    uint64_t give_up = spy_clock_thread_cpu_ns() + SEARCH_NS;
    for (size_t k = 0; k < SPY_COUNT(ways) * n; k++) {
        const struct way *way = &ways[k / n];
        const struct spy_module *mod = &mods[k % n];
        struct spy_py_runtime rt = {0};
        if (is_likely(mod) != way->likely ||
            (!way->likely && spy_clock_thread_cpu_ns() >= give_up) ||
            way->look(t, maps, mod, "_PyRuntime", &rt.addr) < 0)
            continue;
        snprintf(rt.module, sizeof rt.module, "%s", mod->path);
        int r = read_version(t, maps, mod, way, &rt, err);
        if (r == 0)
            *ret = rt;
        return r;
    }
    return SPY_ERR_NOTFOUND;
}

int spy_py_runtime_find(const struct spy_target *t, struct spy_py_runtime *ret, struct spy_err *err)
{
    _cleanup_(spy_maps_free) struct spy_maps maps = {0};
    int r = spy_maps_load(t, &maps, err);
    if (r < 0)
        return r;
    _cleanup_free_ struct spy_module *mods = calloc(MODULES_MAX, sizeof *mods);
    if (!mods)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    size_t n = spy_modules(t, &maps, mods, MODULES_MAX);
    uint64_t probe;
    if (n && spy_target_read_u64(t, mods[0].start, &probe) == SPY_ERR_DENIED)
        return spy_target_explain_denied(t, err);
    if (!n && maps.n && spy_target_read_u64(t, maps.list[0].start, &probe) == SPY_ERR_DENIED)
        return spy_target_explain_denied(t, err);
    r = find_named(t, &maps, mods, n, ret, err);
    if (r == SPY_ERR_NOTFOUND)
        r = find_old(t, &maps, mods, n, ret, err);
    if (r == SPY_ERR_NOTFOUND)
        r = find_unnamed(t, &maps, mods, n, ret, err);
    if (r == SPY_ERR_NOTFOUND)
        return spy_err_set(err, r, 0, "there is no Python in process %d", (int)spy_target_pid(t));
    return r;
}
