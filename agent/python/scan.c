#include "agent/python/scan.h"
#include "agent/python/code.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 16, OVERLAP = 512, BATCH = 64 };

// What interpreters.head may look like. SAME: the word after it, interpreters.main, is equal, as in
// a program with one interpreter. PAIR: there are more. HEAP: interp_head, before _PyRuntime
// existed, whose interpreter is not in a mapped file.
enum kind { SAME, PAIR, HEAP, KINDS };

struct candidate {
    uint64_t slot, interp, after; // the word at slot, and the next one
};

struct room {
    uint8_t block[BLOCK + OVERLAP];
    struct candidate lists[KINDS][SPY_PY_SCAN_CANDIDATES_MAX];
};

struct scan {
    const struct spy_target *t;
    const struct spy_maps *maps;
    uint64_t give_up, bytes;
    struct room *room;
    uint8_t *block;
    const struct spy_mapping *last; // of the last pointer; the next often points into it, too
    size_t n[KINDS], judged[KINDS]; // of room->lists
    int version; // SPY_ERR_NOTFOUND: no text was found yet; else what spy_py_layout_of_hex said
    struct spy_py_runtime *rt;
};

// True if this is writable data of the module: mapped from its file, or its .bss. An anonymous
// mapping counts only if it touches the one before.
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

// Calls `search` for each block of the module's data until it returns something other than
// NOTFOUND.
static int each_block(struct scan *s, const struct spy_module *mod,
                      int (*search)(struct scan *s, uint64_t addr, size_t n))
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
            if (s->bytes > SPY_PY_SCAN_BYTES_MAX || spy_clock_thread_cpu_ns() > s->give_up)
                return SPY_ERR_NOTFOUND;
            if (spy_target_read(s->t, at, s->block, n) == 0)
                r = search(s, at, n);
        }
    }
    return r;
}

// --- the version ---

// "3.11.2 (main, Mar 13 2023, 12:18:29) [GCC 12.2.0]"; up to 3.9 with a line break before the '['.
static int take_scanned_text(struct spy_py_runtime *rt, const uint8_t *from, const uint8_t *end)
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
    uint32_t hex = major << 24 | minor << 16 | micro << 8 | code << 4 | (serial & 15);
    return spy_py_layout_of_hex(hex, &rt->layout);
}

static int look_for_text(struct scan *s, uint64_t addr, size_t n)
{
    const uint8_t *at = s->block, *end = s->block + n;
    (void)addr;
    for (; (at = memchr(at, '(', (size_t)(end - at))); at++) {
        const uint8_t *from = at > s->block ? at - 1 : at;
        if (*from != ' ')
            continue;
        const uint8_t *space = from;
        while (from > s->block && space - from < 12 && (isalnum(from[-1]) || from[-1] == '.'))
            from--;
        if (space - from >= 5 && (from[0] == '2' || from[0] == '3') && from[1] == '.') {
            int r = take_scanned_text(s->rt, from, end);
            if (r != SPY_ERR_NOTFOUND)
                return r;
        }
    }
    return SPY_ERR_NOTFOUND;
}

// --- the interpreter ---

static bool is_pointer(uint64_t p)
{
    return p >= 4096 && p % 8 == 0;
}

static bool is_code_object(const struct scan *s, uint64_t addr)
{
    const struct spy_py_layout *l = &s->rt->layout;
    uint64_t type;
    return spy_target_read_u64(s->t, addr + l->ob_type, &type) == 0 &&
           spy_code_is_type(s->t, l, type);
}

// True if one of the thread's newest frames runs a code object.
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
        if (is_code_object(s, code & ~(uint64_t)l->f_code_tag))
            return true;
        if (spy_target_read_u64(s->t, frame + l->f_previous, &frame) < 0)
            return false;
    }
    return false;
}

// True if it has a list of threads that all belong to this interpreter, and one of them runs
// Python. Without the second condition, lists of the object allocator would pass.
static bool is_interpreter(const struct scan *s, uint64_t interp)
{
    enum { CHECKED = 64 };
    const struct spy_py_layout *l = &s->rt->layout;
    uint64_t ts, of, ident, next;
    bool runs = false;
    if (spy_target_read_u64(s->t, interp + l->interp_threads_head, &ts) < 0 || !is_pointer(ts))
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

// Reads the word at each address; what cannot be read is 0.
static void read_words(const struct spy_target *t, const uint64_t *addrs, uint64_t *words, size_t n)
{
    struct spy_span spans[BATCH];
    for (size_t i = 0; i < n; i++)
        spans[i] = (struct spy_span){addrs[i], &words[i], sizeof *words};
    memset(words, 0, n * sizeof *words);
    for (size_t at = 0; at < n;) {
        size_t done = 0;
        int r = spy_target_read_spans(t, spans + at, n - at, &done);
        at += done;
        if (r != SPY_ERR_TORN)
            return;
        words[at++] = 0; // a part of it may have been read
    }
}

// Two reads find where the first threads of a whole batch would lie: nearly all candidates have
// none there.
static bool find_in_batch(struct scan *s, const struct candidate *list, size_t n)
{
    const struct spy_py_layout *l = &s->rt->layout;
    uint64_t addrs[BATCH] = {0}, words[BATCH];
    const struct candidate *left[BATCH];
    size_t n_left = 0;
    for (size_t i = 0; i < n; i++)
        addrs[i] = list[i].interp + l->interp_threads_head;
    read_words(s->t, addrs, words, n);
    for (size_t i = 0; i < n; i++)
        if (is_pointer(words[i])) {
            addrs[n_left] = words[i] + l->ts_interp;
            left[n_left++] = &list[i];
        }
    read_words(s->t, addrs, words, n_left);
    for (size_t i = 0; i < n_left && spy_clock_thread_cpu_ns() <= s->give_up; i++)
        if (words[i] == left[i]->interp && is_interpreter(s, words[i]) &&
            (l->runtime_is_head || is_head(s, words[i], left[i]->after))) {
            s->rt->addr = left[i]->slot - l->runtime_interp_head;
            return true;
        }
    return false;
}

static bool find_interp(struct scan *s, enum kind kind)
{
    while (s->judged[kind] < s->n[kind] && spy_clock_thread_cpu_ns() <= s->give_up) {
        const struct candidate *list = &s->room->lists[kind][s->judged[kind]];
        size_t n = s->n[kind] - s->judged[kind];
        n = n < BATCH ? n : BATCH;
        s->judged[kind] += n;
        if (s->judged[SAME] + s->judged[PAIR] > SPY_PY_SCAN_CANDIDATES_MAX)
            return false;
        if (find_in_batch(s, list, n))
            return true;
    }
    return false;
}

// --- one pass over the data ---

static void add_candidate(struct scan *s, enum kind kind, const struct candidate *c)
{
    if (s->n[kind] < SPY_PY_SCAN_CANDIDATES_MAX)
        s->room->lists[kind][s->n[kind]++] = *c;
}

static void take_candidate(struct scan *s, const struct candidate *c)
{
    uint64_t p = c->interp;
    if (!s->last || p < s->last->start || p >= s->last->end)
        s->last = spy_maps_find(s->maps, p);
    if (!s->last || !s->last->writable)
        return;
    if (c->after == p)
        add_candidate(s, SAME, c);
    else if (c->after && c->after % 8 == 0)
        add_candidate(s, PAIR, c);
    if (spy_maps_path(s->maps, s->last)[0] != '/')
        add_candidate(s, HEAP, c);
}

// Since 3.13 the cookie identifies the interpreter and ends the pass. Before, the interpreter can
// be found among the candidates only once the version is known, and its text may come after them.
static int look_for_all(struct scan *s, uint64_t addr, size_t n)
{
    uint32_t hex;
    bool free_threaded;
    for (size_t i = 0; i + 16 <= n && i < BLOCK; i += 8) {
        const uint8_t *at = s->block + i;
        if (*at == 'x' && spy_py_debug_offsets_version(at, n - i, &hex, &free_threaded) &&
            hex >> 16 >= 0x030d) {
            *s->rt = (struct spy_py_runtime){.addr = addr + i};
            return 0;
        }
        struct candidate c = {.slot = addr + i};
        memcpy(&c.interp, at, 8);
        if (!is_pointer(c.interp))
            continue;
        memcpy(&c.after, at + 8, 8);
        take_candidate(s, &c);
    }
    if (s->version == SPY_ERR_NOTFOUND)
        s->version = look_for_text(s, addr, n);
    if (s->version == 0 && find_interp(s, s->rt->layout.runtime_is_head ? HEAP : SAME))
        return 0;
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
    int r = each_block(s, mod, look_for_all);
    if (r == 0 || s->version < 0)
        return r == 0 ? 0 : s->version;
    return !s->rt->layout.runtime_is_head && find_interp(s, PAIR) ? 0 : SPY_ERR_NOTFOUND;
}

int spy_py_scan(const struct spy_target *t, const struct spy_maps *maps,
                const struct spy_module *mods, size_t n, uint64_t give_up,
                struct spy_py_runtime *ret, struct spy_err *err)
{
    char known[SPY_PY_SUPPORTED];
    _cleanup_free_ struct room *room = malloc(sizeof *room);
    if (!room)
        return spy_err_nomem(err);
    for (size_t i = 0; i < n; i++) {
        struct spy_py_runtime rt = {0};
        struct scan s = {.t = t, .maps = maps, .give_up = give_up, .room = room, .rt = &rt};
        s.block = room->block;
        s.version = SPY_ERR_NOTFOUND;
        int r = scan_module(&s, &mods[i]);
        if (r == SPY_ERR_UNSUPPORTED)
            return spy_err_set(err, r, 0, "Python %s is not supported by this build (it knows %s)",
                               rt.version, spy_py_layout_supported(known, sizeof known));
        if (r < 0)
            continue;
        snprintf(rt.module, sizeof rt.module, "%s", mods[i].path);
        rt.scanned = true;
        *ret = rt;
        return 0;
    }
    return SPY_ERR_NOTFOUND;
}
