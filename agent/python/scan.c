#include "agent/python/scan.h"
#include "agent/python/code.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 16, OVERLAP = 512, BATCH = SPY_SPANS_MAX };

struct scan {
    const struct spy_target *t;
    const struct spy_maps *maps;
    uint64_t give_up, bytes;
    size_t candidates;
    bool many;      // interpreters: look for those too
    uint8_t *block; // BLOCK + OVERLAP
    struct spy_py_runtime *rt;
};

// The writable data of a module: what is mapped of its file, and its .bss that follows. A piece
// that is anonymous counts only where it touches the one before.
static bool is_data(const struct spy_maps *maps, size_t i, const struct spy_module *mod)
{
    const struct spy_mapping *m = &maps->list[i];
    if (!m->readable || !m->writable)
        return false;
    const char *path = spy_maps_path(maps, m);
    if (path[0])
        return !strcmp(path, mod->path);
    return i && maps->list[i - 1].end == m->start && maps->list[i - 1].writable &&
           !strcmp(spy_maps_path(maps, &maps->list[i - 1]), mod->path);
}

// Calls look for each block of the module's data until it says something else than NOTFOUND.
static int each_block(struct scan *s, const struct spy_module *mod,
                      int (*look)(struct scan *s, uint64_t addr, size_t n))
{
    int r = SPY_ERR_NOTFOUND;
    for (size_t i = 0; i < s->maps->n; i++) {
        const struct spy_mapping *m = &s->maps->list[i];
        if (!is_data(s->maps, i, mod))
            continue;
        for (uint64_t at = m->start; at < m->end && r == SPY_ERR_NOTFOUND; at += BLOCK) {
            uint64_t left = m->end - at;
            size_t n = left < BLOCK + OVERLAP ? (size_t)left : BLOCK + OVERLAP;
            s->bytes += n;
            if (s->bytes > SPY_PY_SCAN_BYTES_MAX || spy_clock_mono_ns() > s->give_up)
                return SPY_ERR_NOTFOUND;
            if (spy_target_read(s->t, at, s->block, n) == 0)
                r = look(s, at, n);
        }
    }
    return r;
}

// --- the version ---

static int set_layout(struct spy_py_runtime *rt, uint32_t hex)
{
    const struct spy_py_layout *l = spy_py_layout_find(hex >> 24, hex >> 16 & 255);
    rt->version_hex = hex;
    if (!l)
        return SPY_ERR_UNSUPPORTED;
    rt->layout = *l;
    return 0;
}

// "3.11.2 (main, Mar 13 2023, 12:18:29) [GCC 12.2.0]"; up to 3.9 with a line break before the '['.
static int take_text(struct spy_py_runtime *rt, const uint8_t *from, const uint8_t *end)
{
    char text[256], level[3] = "f";
    unsigned major, minor, micro, serial = 0;
    int at = 0;
    size_t n = (size_t)(end - from) < sizeof text - 1 ? (size_t)(end - from) : sizeof text - 1;
    memcpy(text, from, n);
    text[n] = 0;
    if (sscanf(text, "%1u.%2u.%2u%n%2[abrc]%2u%n", &major, &minor, &micro, &at, level, &serial,
               &at) < 3 ||
        strncmp(text + at, " (", 2) || !strstr(text + at, ") ") || !strchr(text + at, '[') ||
        at >= (int)sizeof rt->version)
        return SPY_ERR_NOTFOUND;
    memcpy(rt->version, text, (size_t)at);
    rt->version[at] = 0;
    unsigned code = level[0] == 'a' ? 0xa : level[0] == 'b' ? 0xb : level[0] == 'r' ? 0xc : 0xf;
    int r = set_layout(rt, major << 24 | minor << 16 | micro << 8 | code << 4 | (serial & 15));
    if (r == 0 && major == 3 && minor == 7 && micro < 4)
        rt->layout.runtime_gil = SPY_PY_ABSENT; // see version_by_text in runtime.c
    return r;
}

static int look_for_text(struct scan *s, uint64_t addr, size_t n)
{
    static const char mark[] = " (";
    (void)addr;
    const uint8_t *at = s->block;
    while ((at = memmem(at, n - (size_t)(at - s->block), mark, 2))) {
        const uint8_t *from = at;
        while (from > s->block && at - from < 12 && (isalnum(from[-1]) || from[-1] == '.'))
            from--;
        if (at - from >= 5 && (from[0] == '2' || from[0] == '3') && from[1] == '.') {
            int r = take_text(s->rt, from, s->block + n);
            if (r != SPY_ERR_NOTFOUND)
                return r;
        }
        at++;
    }
    return SPY_ERR_NOTFOUND;
}

// From 3.13 on.
static int look_for_cookie(struct scan *s, uint64_t addr, size_t n)
{
    uint32_t hex;
    bool free_threaded;
    for (size_t i = 0; i + 24 <= n; i += 8)
        if (spy_py_debug_offsets_version(s->block + i, n - i, &hex, &free_threaded) &&
            hex >> 16 >= 0x030d) {
            s->rt->addr = addr + i;
            return 0;
        }
    return SPY_ERR_NOTFOUND;
}

// --- the interpreter ---

static uint64_t word_at(const uint8_t *bytes)
{
    uint64_t v;
    memcpy(&v, bytes, sizeof v);
    return v;
}

static bool is_code(const struct scan *s, uint64_t addr)
{
    const struct spy_py_layout *l = &s->rt->layout;
    uint64_t type;
    return spy_target_read_u64(s->t, addr + l->ob_type, &type) == 0 &&
           spy_code_is_type(s->t, l, type);
}

// Does one of the thread's newest frames run a code object?
static bool runs_code(const struct scan *s, uint64_t ts)
{
    enum { FRAMES = 8 };
    const struct spy_py_layout *l = &s->rt->layout;
    uint64_t frame, code;
    if (l->ts_cframe != SPY_PY_ABSENT && spy_target_read_u64(s->t, ts + l->ts_cframe, &ts) < 0)
        return false;
    if (spy_target_read_u64(s->t, ts + l->ts_frame, &frame) < 0)
        return false;
    for (int i = 0; frame && i < FRAMES; i++) {
        if (spy_target_read_u64(s->t, frame + l->f_code, &code) < 0)
            return false;
        if (is_code(s, code & ~(uint64_t)l->f_code_tag))
            return true;
        if (spy_target_read_u64(s->t, frame + l->f_previous, &frame) < 0)
            return false;
    }
    return false;
}

// Is there a list of threads that are all of this interpreter, of which one runs Python? Without
// the last, the lists of the object allocator look like it.
static bool is_interp(const struct scan *s, uint64_t interp)
{
    enum { CHECKED = 64 };
    const struct spy_py_layout *l = &s->rt->layout;
    uint64_t ts, of, ident, next;
    bool runs = false;
    if (spy_target_read_u64(s->t, interp + l->interp_threads_head, &ts) < 0 || !ts || ts % 8)
        return false;
    for (int i = 0; ts && i < CHECKED; i++) {
        if (spy_target_read_u64(s->t, ts + l->ts_interp, &of) < 0 || of != interp ||
            spy_target_read_u64(s->t, ts + l->ts_thread_id, &ident) < 0 || !ident ||
            spy_target_read_u64(s->t, ts + l->ts_next, &next) < 0 || next == ts)
            return false;
        runs = runs || runs_code(s, ts);
        ts = next;
    }
    return runs;
}

// interpreters.main is the last one of the list.
static bool is_head(const struct scan *s, uint64_t interp, uint64_t after)
{
    for (int i = 0; interp && i < 256; i++) {
        if (interp == after)
            return true;
        if (spy_target_read_u64(s->t, interp + s->rt->layout.interp_next, &interp) < 0)
            return false;
    }
    return false;
}

// Where _PyRuntime exists, interpreters.main follows interpreters.head, and is the same while there
// is one interpreter: that saves nearly all reads. Before, an interpreter lies on the heap.
static bool is_candidate(const struct scan *s, uint64_t p, uint64_t after)
{
    if (p < 4096 || p % 8)
        return false;
    if (!s->rt->layout.runtime_is_head && (s->many ? !after || after % 8 : p != after))
        return false;
    const struct spy_mapping *m = spy_maps_find(s->maps, p);
    return m && m->writable &&
           (!s->rt->layout.runtime_is_head || spy_maps_path(s->maps, m)[0] != '/');
}

static int look_for_interp(struct scan *s, uint64_t addr, size_t n)
{
    const struct spy_py_layout *l = &s->rt->layout;
    for (size_t i = 0; i + 16 <= n && i < BLOCK; i += 8) {
        uint64_t p = word_at(s->block + i), after = word_at(s->block + i + 8);
        if (!is_candidate(s, p, after))
            continue;
        if (++s->candidates > SPY_PY_SCAN_CANDIDATES_MAX)
            return SPY_ERR_LIMIT;
        if (is_interp(s, p) && (l->runtime_is_head || is_head(s, p, after))) {
            s->rt->addr = addr + i - l->runtime_interp_head;
            return 0;
        }
    }
    return SPY_ERR_NOTFOUND;
}

bool spy_py_scan_version(const struct spy_target *t, const struct spy_maps *maps,
                         const struct spy_module *mod, char *out, size_t size)
{
    _cleanup_free_ uint8_t *block = malloc(BLOCK + OVERLAP);
    struct spy_py_runtime rt = {0};
    struct scan s = {.t = t, .maps = maps, .give_up = UINT64_MAX, .block = block, .rt = &rt};
    if (!block || each_block(&s, mod, look_for_text) == SPY_ERR_NOTFOUND)
        return false;
    snprintf(out, size, "%s", rt.version);
    return true;
}

static int scan_module(struct scan *s, const struct spy_module *mod)
{
    int r = each_block(s, mod, look_for_cookie);
    if (r == 0)
        return 0; // its debug offsets tell the rest
    r = each_block(s, mod, look_for_text);
    for (int many = 0; r == 0 && many < 2; many++) {
        s->many = many;
        r = each_block(s, mod, look_for_interp);
        if (r == 0 || s->rt->layout.runtime_is_head)
            return r;
        r = 0;
    }
    return r < 0 ? r : SPY_ERR_NOTFOUND;
}

int spy_py_scan(const struct spy_target *t, const struct spy_maps *maps,
                const struct spy_module *mods, size_t n, uint64_t give_up,
                struct spy_py_runtime *ret, struct spy_err *err)
{
    _cleanup_free_ uint8_t *block = malloc(BLOCK + OVERLAP);
    if (!block)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < n; i++) {
        struct spy_py_runtime rt = {0};
        struct scan s = {.t = t, .maps = maps, .give_up = give_up, .block = block, .rt = &rt};
        int r = scan_module(&s, &mods[i]);
        if (r == SPY_ERR_UNSUPPORTED)
            return spy_err_set(err, r, 0, "Python %s is not supported by this build (it knows %s)",
                               rt.version, spy_py_layout_supported());
        if (r < 0)
            continue;
        snprintf(rt.module, sizeof rt.module, "%s", mods[i].path);
        rt.scanned = true;
        *ret = rt;
        return 0;
    }
    return SPY_ERR_NOTFOUND;
}
