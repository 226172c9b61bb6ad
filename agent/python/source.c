#include "agent/python/source.h"
#include "agent/python/scan.h"
#include "agent/python/version.h"
#include "shared/base/clock.h"
#include <stdio.h>
#include <string.h>

static int look_up_symbol(const struct spy_py_source *s, const char *name, uint64_t *ret)
{
    return s->file ? spy_module_file_symbol(s->t, s->maps, s->mod, name, ret)
                   : spy_symbols_find(s->t, &s->symbols, name, ret);
}

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
    char known[SPY_PY_SUPPORTED];
    print_version(hex, rt->version, sizeof rt->version);
    if (spy_py_layout_of_hex(hex, &rt->layout) < 0)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "Python %s is not supported by this build (it knows %s)", rt->version,
                           spy_py_layout_supported(known, sizeof known));
    return 0;
}

// Interpreters up to 3.10 have their version only as a text.
static int version_by_text(const struct spy_py_source *s, struct spy_py_runtime *rt,
                           struct spy_err *err)
{
    char text[24], level[3] = "f", known[SPY_PY_SUPPORTED];
    unsigned major, minor, micro, serial = 0;
    if ((!spy_py_version_text(s->t, s->maps, s->mod, text, sizeof text) &&
         !spy_py_scan_version(s->t, s->maps, s->mod, text, sizeof text)) ||
        sscanf(text, "%1u.%2u.%2u%2[abrc]%2u", &major, &minor, &micro, level, &serial) < 3)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "the Python in %s does not tell its version (this build knows %s)",
                           s->mod->path, spy_py_layout_supported(known, sizeof known));
    unsigned code = level[0] == 'a' ? 0xa : level[0] == 'b' ? 0xb : level[0] == 'r' ? 0xc : 0xf;
    int r =
        set_version(rt, major << 24 | minor << 16 | micro << 8 | code << 4 | (serial & 15), err);
    uint64_t addr; // only a build with Py_TRACE_REFS has this function
    if (r == 0 && rt->layout.heap_frames && !s->file &&
        spy_symbols_find(s->t, &s->symbols, "_Py_AddToAllObjects", &addr) == 0)
        spy_py_layout_trace_refs(&rt->layout);
    return r;
}

int spy_py_source_version(const struct spy_py_source *s, struct spy_py_runtime *rt,
                          struct spy_err *err)
{
    uint8_t bytes[SPY_PY_DEBUG_OFFSETS_SIZE];
    uint32_t hex;
    bool free_threaded;
    int r = spy_target_read(s->t, rt->addr, bytes, sizeof bytes);
    if (r < 0)
        return spy_err_set(err, r, 0, "cannot read _PyRuntime of %s", rt->module);
    if (spy_py_debug_offsets_version(bytes, sizeof bytes, &hex, &free_threaded)) {
        r = set_version(rt, hex, err);
        if (r == 0 && spy_py_layout_apply(&rt->layout, bytes, sizeof bytes) < 0)
            return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                               "Python %s publishes debug offsets that make no sense: it is "
                               "damaged, or a development version",
                               rt->version);
        // A debug build has unpublished fields in its interpreter; only a debug build has this
        // symbol.
        uint64_t addr;
        if (look_up_symbol(s, "_Py_NegativeRefcount", &addr) == 0)
            rt->layout.interp_next_version = 0;
        return r;
    }
    uint64_t addr, value;
    if (look_up_symbol(s, "Py_Version", &addr) == 0 && spy_target_read_u64(s->t, addr, &value) == 0)
        return set_version(rt, (uint32_t)value, err);
    return version_by_text(s, rt, err);
}

// Up to 3.6 there is no _PyRuntime, but a variable that points to the GIL's holder. interp_head is
// not exported; in a stripped program the interpreter is taken from the thread that holds the GIL.
// rt->interp stays 0 if no thread holds it now.
static int read_old(const struct spy_py_source *s, struct spy_py_runtime *rt, struct spy_err *err)
{
    uint64_t tstate;
    int r = version_by_text(s, rt, err);
    if (r < 0 || (!s->file && look_up_symbol(s, "interp_head", &rt->addr) == 0) ||
        spy_module_file_symbol(s->t, s->maps, s->mod, "interp_head", &rt->addr) == 0)
        return r;
    r = spy_target_read_u64(s->t, rt->current, &tstate);
    if (r == 0 && tstate)
        r = spy_target_read_u64(s->t, tstate + rt->layout.ts_interp, &rt->interp);
    return r < 0 ? spy_err_set(err, r, 0, "cannot read _PyThreadState_Current of %s", rt->module)
                 : 0;
}

int spy_py_source_read(const struct spy_py_source *s, struct spy_py_runtime *ret,
                       struct spy_err *err)
{
    struct spy_py_runtime rt = {0};
    int r;
    snprintf(rt.module, sizeof rt.module, "%s", s->mod->path);
    if (look_up_symbol(s, "_PyRuntime", &rt.addr) == 0)
        r = spy_py_source_version(s, &rt, err);
    else if (look_up_symbol(s, "_PyThreadState_Current", &rt.current) == 0)
        r = read_old(s, &rt, err);
    else
        return SPY_ERR_NOTFOUND;
    if (r == 0)
        *ret = rt;
    return r;
}

int spy_py_wait_for_interp(const struct spy_target *t, struct spy_py_runtime *rt,
                           struct spy_err *err)
{
    enum { POLLS = 200, POLL_NS = 250000 };
    if (!spy_target_is_live(t))
        return spy_err_set(
            err, SPY_ERR_NOTFOUND, 0,
            "no thread had the GIL, and %s has no symbol interp_head: try again while it works",
            rt->module);
    for (int i = 0; i < POLLS; i++) {
        uint64_t tstate;
        int r = spy_target_read_u64(t, rt->current, &tstate);
        if (r == 0 && tstate)
            r = spy_target_read_u64(t, tstate + rt->layout.ts_interp, &rt->interp);
        if (r < 0)
            return spy_err_set(err, r, 0, "cannot read _PyThreadState_Current of %s", rt->module);
        if (rt->interp)
            return 0;
        spy_clock_sleep_until(spy_clock_mono_ns() + POLL_NS);
    }
    return spy_err_set(
        err, SPY_ERR_AGAIN, 0,
        "no thread of the Python in process %d took the GIL: try again while it works",
        (int)spy_target_pid(t));
}

// --- which of them runs ---

// The first interpreter; 0: it is not initialised, or, up to 3.6, not known.
static uint64_t first_interp(const struct spy_target *t, const struct spy_py_runtime *rt)
{
    uint64_t interp;
    if (rt->interp || !rt->addr)
        return rt->interp;
    return spy_target_read_u64(t, rt->addr + rt->layout.runtime_interp_head, &interp) < 0 ? 0
                                                                                          : interp;
}

size_t spy_py_count_threads(const struct spy_target *t, const struct spy_py_runtime *rt, size_t max)
{
    const struct spy_py_layout *l = &rt->layout;
    uint64_t interp = first_interp(t, rt), addr, of, ident;
    uint8_t b[512];
    size_t n = 0, steps = 0;
    for (int i = 0; interp && i < SPY_PY_INTERPRETERS_MAX; i++) {
        int r = spy_target_read_u64(t, interp + l->interp_threads_head, &addr);
        while (r == 0 && addr && n < max && steps++ < SPY_PY_THREADS_MAX) {
            r = spy_target_read(t, addr, b, l->ts_size);
            memcpy(&of, b + l->ts_interp, 8);
            memcpy(&ident, b + l->ts_thread_id, 8);
            memcpy(&addr, b + l->ts_next, 8);
            if (r < 0 || of != interp)
                break;
            n += ident != 0;
        }
        if (n >= max || spy_target_read_u64(t, interp + l->interp_next, &interp) < 0)
            break;
    }
    return n;
}
