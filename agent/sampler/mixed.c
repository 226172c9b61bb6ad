#include "agent/sampler/mixed.h"
#include "agent/sampler/merge.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { CFRAMES_MAX = SPY_NATIVE_FRAMES_MAX, LINKS_MAX = 1 << 17 };

struct spy_mixer {
    struct spy_native_cache *cache;
    struct spy_native_snapshot snapshot;
    struct spy_native_frame frames[SPY_NATIVE_FRAMES_MAX];
    struct spy_merge_native native[SPY_NATIVE_FRAMES_MAX];
    struct spy_merge_python *python;
    struct spy_merged *merged;
    struct spy_mixed_frame *out;
    size_t python_cap, merged_cap, out_cap;
};

// What is known of the code at an address.
struct known_code {
    uint64_t call; // 0: empty
    enum spy_merge_role role;
    bool is_wrapper;
    uint64_t name; // a hash of it, of Cython's functions
    struct spy_mixed_ids ids;
};

struct spy_mixed {
    struct spy_mixer *mixer;
    struct spy_native *native;
    const char *interpreter; // the path of its file
    const char *loop;
    bool by_entry, inlines;
    struct spy_py_hold hold;
    int captured; // the code of the capture; SPY_ERR_AGAIN: there was none
    uint64_t known_since;
    struct known_code known[SPY_MIXED_SLOTS];
};

struct spy_mixer *spy_mixer_new(size_t max_bytes)
{
    struct spy_mixer *m = calloc(1, sizeof *m);
    if (m)
        m->cache = spy_native_cache_new(max_bytes);
    if (m && !m->cache) {
        free(m);
        return NULL;
    }
    return m;
}

void spy_mixer_free(struct spy_mixer *m)
{
    if (!m)
        return;
    spy_native_snapshot_done(&m->snapshot);
    spy_native_cache_free(m->cache);
    free(m->python);
    free(m->merged);
    free(m->out);
    free(m);
}

void spy_mixed_capture(struct spy_mixed *m, pid_t tid)
{
    m->captured = spy_native_capture(m->native, tid, &m->mixer->snapshot);
}

static void capture_held(void *arg, pid_t tid)
{
    spy_mixed_capture(arg, tid);
}

struct spy_mixed *spy_mixed_new(struct spy_mixer *mixer, const struct spy_target *t,
                                const struct spy_python *python, bool inlines)
{
    const struct spy_py_runtime *rt = spy_python_runtime(python);
    struct spy_mixed *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->native = spy_native_new(mixer->cache, t);
    if (!m->native) {
        free(m);
        return NULL;
    }
    bool is_old = rt->layout.major == 2 || rt->layout.minor < 6;
    m->mixer = mixer;
    m->interpreter = rt->module;
    m->loop = is_old ? "PyEval_EvalFrameEx" : "_PyEval_EvalFrameDefault";
    m->inlines = inlines;
    m->by_entry = !rt->layout.heap_frames;
    m->hold = (struct spy_py_hold){.act = capture_held, .arg = m};
    m->captured = SPY_ERR_AGAIN;
    return m;
}

void spy_mixed_free(struct spy_mixed *m)
{
    if (!m)
        return;
    spy_native_free(m->native);
    free(m);
}

void spy_mixed_prepare(struct spy_mixed *m, bool runnable, bool waiting)
{
    m->captured = SPY_ERR_AGAIN;
    m->hold.runnable = runnable;
    m->hold.waiting = waiting;
}

const struct spy_py_hold *spy_mixed_hold(const struct spy_mixed *m)
{
    return &m->hold;
}

// --- what the code at an address is ---

// The interpreter is in a library of its own, or in the program, which then only starts it.
static bool is_of_interpreter(const struct spy_mixed *m, const char *module)
{
    const char *slash = strrchr(module, '/');
    return !strcmp(module, m->interpreter) || !strncmp(slash ? slash + 1 : module, "python", 6);
}

static struct known_code *find_known_code(struct spy_mixed *m, uint64_t call)
{
    _Static_assert(SPY_MIXED_SLOTS == 1 << 12, "the upper bits of the hash");
    struct known_code *k = &m->known[(call * UINT64_C(0x9e3779b97f4a7c15)) >> 52];
    if (k->call == call)
        return k;
    struct spy_native_symbol symbol = {.module = ""};
    bool is_mapped = spy_native_symbol(m->native, call, &symbol) == 0;
    bool inside = is_mapped && is_of_interpreter(m, symbol.module);
    *k = (struct known_code){.call = call, .role = spy_merge_role_of(symbol.name, inside, m->loop)};
    k->is_wrapper = is_mapped && symbol.is_wrapper;
    if (symbol.source && symbol.name) // the only functions with wrappers of their name
        k->name = spy_hash_bytes(symbol.name, strlen(symbol.name));
    return k;
}

struct spy_mixed_ids *spy_mixed_ids(struct spy_mixed *m, uint64_t call)
{
    return &find_known_code(m, call)->ids;
}

static bool is_shown_inline(const struct spy_mixed *m, const struct spy_native_symbol *symbol,
                            const char *function)
{
    bool inside = is_of_interpreter(m, symbol->module);
    return spy_merge_role_of(function, inside, m->loop) == SPY_MERGE_SHOWN;
}

// Lines may be those of the C file that Cython wrote, which are of no use.
static uint32_t line_in_source(struct spy_mixed *m, uint64_t call)
{
    struct spy_native_line lines[SPY_NATIVE_LINES_MAX];
    size_t n = m->inlines ? spy_native_lines(m->native, call, lines) : 0;
    const char *end = n && lines[n - 1].file ? strrchr(lines[n - 1].file, '.') : NULL;
    return end && !strcmp(end, ".pyx") ? lines[n - 1].line : 0;
}

size_t spy_mixed_names(struct spy_mixed *m, uint64_t call,
                       struct spy_mixed_name ret[SPY_MIXED_NAMES_MAX])
{
    const char *inlined[SPY_NATIVE_LINES_MAX];
    struct spy_native_symbol symbol = {.module = ""};
    if (spy_native_symbol(m->native, call, &symbol) < 0)
        symbol = (struct spy_native_symbol){.module = ""};
    struct spy_mixed_name own = {symbol.name ? symbol.name : "[unknown]", symbol.module, 0};
    if (symbol.source) {
        own.file = symbol.source;
        own.line = line_in_source(m, call);
    }
    size_t n_inlined = m->inlines ? spy_native_inlined(m->native, call, inlined) : 0, n = 0;
    // Where there are too many inline calls, the outermost are shown.
    size_t most = SPY_MIXED_NAMES_MAX - 1;
    for (size_t i = n_inlined > most ? n_inlined - most : 0; i < n_inlined; i++)
        if (inlined[i] && is_shown_inline(m, &symbol, inlined[i]))
            ret[n++] = (struct spy_mixed_name){inlined[i], symbol.module, 0};
    ret[n++] = own;
    return n;
}

static void forget_known_code(struct spy_mixed *m)
{
    uint64_t now = spy_clock_mono_ns();
    if (now - m->known_since < SPY_MIXED_KEEP_NS)
        return;
    memset(m->known, 0, sizeof m->known);
    m->known_since = now;
}

// --- merging ---

static void describe_native(struct spy_mixed *m, size_t n)
{
    struct spy_mixer *mixer = m->mixer;
    uint64_t low = mixer->snapshot.regs.r[SPY_REG_SP], inner = 0;
    for (size_t i = 0; i < n; i++) {
        const struct spy_native_frame *f = &mixer->frames[i];
        const struct known_code *k = find_known_code(m, f->call);
        bool repeats = k->is_wrapper && inner && k->name == inner;
        mixer->native[i] =
            (struct spy_merge_native){low, f->stack, repeats ? SPY_MERGE_HIDDEN : k->role};
        low = f->stack;
        inner = k->name;
    }
}

static int put_python_link(struct spy_mixer *m, size_t n, struct spy_py_link link)
{
    int r = spy_grow(&m->python, &m->python_cap, n + 1, sizeof *m->python, LINKS_MAX);
    if (r == 0)
        m->python[n] = (struct spy_merge_python){link.addr, link.is_entry, link.shown};
    return r;
}

static bool read_copy_word(const struct spy_native_snapshot *s, uint64_t addr, uint64_t *ret)
{
    uint64_t at = addr - s->regs.r[SPY_REG_SP];
    if (s->len < sizeof *ret || at > s->len - sizeof *ret)
        return false;
    memcpy(ret, s->stack + at, sizeof *ret);
    return true;
}

// A _PyCFrame of 3.11: where it is, and its current frame.
struct cframe {
    uint64_t addr, frame;
    struct spy_py_cframes places;
};

// False: the next lies outside of the stack, as the outermost does.
static bool read_cframe(const struct spy_native_snapshot *s, uint64_t addr, struct cframe *c)
{
    c->addr = addr;
    return read_copy_word(s, addr + c->places.frame_at, &c->frame);
}

static bool next_cframe(const struct spy_native_snapshot *s, struct cframe *c)
{
    uint64_t previous;
    return read_copy_word(s, c->addr + c->places.previous_at, &previous) && previous > c->addr &&
           read_cframe(s, previous, c);
}

// The chain of 3.11 has no entries: they are put where the frames of one _PyCFrame end, which is
// where those of the next begin.
static int describe_python(struct spy_mixed *m, const struct spy_python *python,
                           const struct spy_py_thread *th, size_t *ret)
{
    const struct spy_native_snapshot *s = &m->mixer->snapshot;
    struct cframe c = {.places = spy_python_cframes(python, th)}, next = c;
    size_t n = 0, n_links = spy_python_n_links(th);
    int r = 0;
    bool more = c.places.addr && n_links && read_cframe(s, c.places.addr, &c);
    next = c;
    bool has_next = more && next_cframe(s, &next);
    for (size_t i = 0; i < n_links && r == 0; i++) {
        struct spy_py_link link = spy_python_link(python, th, i);
        while (has_next && i && link.addr == next.frame && r == 0) {
            r = put_python_link(m->mixer, n++, (struct spy_py_link){c.addr, false, true});
            c = next;
            has_next = next_cframe(s, &next);
        }
        if (r == 0)
            r = put_python_link(m->mixer, n++, link);
    }
    if (r == 0 && more)
        r = put_python_link(m->mixer, n++, (struct spy_py_link){c.addr, false, true});
    *ret = n;
    return r == 0 && has_next ? SPY_ERR_TORN : r;
}

static int grow_merged(struct spy_mixer *m, size_t n)
{
    int r = spy_grow(&m->merged, &m->merged_cap, n, sizeof *m->merged, LINKS_MAX);
    return r ? r : spy_grow(&m->out, &m->out_cap, n, sizeof *m->out, LINKS_MAX);
}

static int merge_described(struct spy_mixed *m, size_t n_native, size_t n_python)
{
    struct spy_mixer *mixer = m->mixer;
    int n = grow_merged(mixer, n_native + n_python + 1);
    if (n == 0)
        n = spy_merge(mixer->native, n_native, mixer->python, n_python, m->by_entry, mixer->merged);
    for (int i = 0; i < n; i++) {
        struct spy_merged f = mixer->merged[i];
        mixer->out[i] = f.is_native ? (struct spy_mixed_frame){true, 0, mixer->frames[f.index].call}
                                    : (struct spy_mixed_frame){false, f.index, 0};
    }
    return n;
}

// The number of frames of a whole stack.
static int unwind_captured(struct spy_mixed *m)
{
    enum spy_native_end end;
    if (m->captured < 0)
        return m->captured;
    forget_known_code(m);
    int n = spy_native_unwind(m->native, &m->mixer->snapshot, m->mixer->frames,
                              SPY_NATIVE_FRAMES_MAX, &end);
    return n >= 0 && end != SPY_NATIVE_OUTERMOST ? SPY_ERR_LIMIT : n;
}

static bool runs_python(const struct spy_mixer *mixer, size_t n)
{
    bool found = false;
    for (size_t i = 0; i < n; i++)
        found |= mixer->native[i].role == SPY_MERGE_LOOP;
    return found;
}

int spy_mixed_merge(struct spy_mixed *m, const struct spy_python *python,
                    const struct spy_py_thread *th, const struct spy_py_stack *stack,
                    const struct spy_mixed_frame **ret)
{
    size_t n_python = 0;
    int n = unwind_captured(m);
    if (n < 0)
        return n;
    if (stack->truncated)
        return SPY_ERR_LIMIT;
    describe_native(m, (size_t)n);
    if (!m->by_entry && stack->n && !runs_python(m->mixer, (size_t)n))
        return SPY_ERR_NOTFOUND;
    int r = describe_python(m, python, th, &n_python);
    if (r == 0)
        r = merge_described(m, (size_t)n, n_python);
    *ret = m->mixer->out;
    return r;
}

int spy_mixed_alone(struct spy_mixed *m, const struct spy_mixed_frame **ret)
{
    int n = unwind_captured(m);
    if (n < 0)
        return n;
    describe_native(m, (size_t)n);
    if (runs_python(m->mixer, (size_t)n))
        return SPY_ERR_TORN;
    n = merge_described(m, (size_t)n, 0);
    *ret = m->mixer->out;
    return n;
}
