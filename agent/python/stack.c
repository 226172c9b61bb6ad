#include "agent/python/stack.h"
#include "agent/python/unwind.h"
#include "shared/base/mem.h"
#include <string.h>

static int grow_scratch(struct spy_py_scratch *s)
{
    int r = spy_grow(&s->addrs, &s->addrs_cap, s->n, sizeof *s->addrs, SPY_PY_CHAIN_MAX);
    if (r == 0)
        r = spy_grow(&s->ids, &s->ids_cap, s->n, sizeof *s->ids, SPY_PY_CHAIN_MAX);
    return r ? r : spy_grow(&s->frames, &s->frames_cap, s->n, sizeof *s->frames, SPY_PY_CHAIN_MAX);
}

// The code unit of a frame's instruction. generation: of the copies of bytecode when the frame was
// read.
static int64_t find_code_unit(struct spy_python *p, const struct spy_py_rec *rec,
                              uint32_t generation)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    if (rec->tlbc && rec->id >= 0) {
        uint64_t from = spy_codes_bytecode(&p->codes, rec->id, rec->tlbc, generation);
        return from ? (int64_t)(rec->ip - from) / 2 : INT64_MAX;
    }
    if (l->lasti_bytes)
        return (int32_t)rec->ip < 0 ? -1 : (int64_t)rec->ip * l->lasti_bytes / l->unit_bytes;
    if (rec->owner == SPY_PY_OWNER_OBJECT)
        return -1;
    return ((int64_t)(rec->ip - rec->code) - l->co_code) / 2;
}

// Is it the first frame of its chunk? The first chunk of a thread leaves its first slot free.
static bool begins_chunk(const struct spy_py_thread *th, const struct spy_py_rec *rec)
{
    uint64_t at = rec->addr - th->learned.places.list[rec->place].addr;
    return at == SPY_CHUNK_HEADER || at == SPY_CHUNK_HEADER + 8;
}

// Do neighbouring frames of the data stack touch? `outer` is the next one outwards that lies on it.
static bool frames_touch(const struct spy_python *p, const struct spy_py_thread *th,
                         const struct spy_py_rec *inner, const struct spy_py_rec *outer)
{
    if (inner->place == outer->place)
        return inner->addr == outer->addr + spy_codes_at(&p->codes, outer->id)->frame_bytes;
    return begins_chunk(th, inner);
}

// The frames that are shared with the last stack were validated then, among themselves.
static bool hangs_together(struct spy_python *p, const struct spy_py_thread *th)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    const struct spy_py_scratch *s = &p->scratch;
    const struct spy_py_rec *inner = NULL;
    for (size_t i = 0, n = spy_py_depth(th, s); i < n; i++) {
        const struct spy_py_rec *rec = spy_py_rec_at(th, s, i);
        if (i >= s->n && !inner)
            return true;
        if (rec->owner >= l->owner_entry)
            continue;
        if (rec->id < 0)
            return false;
        int64_t unit = find_code_unit(p, rec, s->tlbc_generation);
        const struct spy_code *code = spy_codes_at(&p->codes, rec->id);
        if (unit < -1 || unit >= code->units)
            return false;
        // A generator that has not begun cannot have called anybody.
        if (i && rec->owner == l->owner_generator && unit < code->first_traceable)
            return false;
        if (!th->learned.places.list[rec->place].is_chunk)
            continue;
        if (inner && !frames_touch(p, th, inner, rec))
            return false;
        inner = rec;
        if (i >= s->n)
            return true;
    }
    return !inner || s->truncated || begins_chunk(th, inner);
}

int spy_py_stack_validate(struct spy_python *p, const struct spy_py_thread *th)
{
    return hangs_together(p, th) ? 0 : SPY_ERR_TORN;
}

// True if the code objects of the shared frames need no check.
static bool shared_codes_hold(const struct spy_python *p, const struct spy_py_thread *th,
                              struct spy_codes_when when)
{
    const struct spy_py_scratch *s = &p->scratch;
    if (s->tlbc_generation != th->last.tlbc_generation)
        return false;
    if (when.generation && when.generation == th->last.generation && !p->codes.miscounted &&
        !p->runtime.layout.interp_next_version)
        return true;
    for (size_t i = s->from; i < th->last.n_recs; i++)
        if (th->last.recs[i].id >= 0 &&
            (i == s->from || th->last.recs[i].id != th->last.recs[i - 1].id) &&
            spy_codes_due(&p->codes, th->last.recs[i].id, when))
            return false;
    return true;
}

static struct spy_codes_when make_when(const struct spy_python *p, const struct spy_py_facts *facts)
{
    return (struct spy_codes_when){p->sample, facts->code_generation, facts->next_version};
}

bool spy_py_stack_is_settled(const struct spy_python *p, const struct spy_py_thread *th,
                             const struct spy_py_facts *facts)
{
    const struct spy_py_scratch *s = &p->scratch;
    struct spy_codes_when when = make_when(p, facts);
    if (th->last.codes_epoch != p->codes.epoch)
        return false;
    uint64_t last = 0; // a recursion repeats one code object
    for (size_t i = 0, n = spy_py_depth(th, s); i < n; i++) {
        const struct spy_py_rec *rec = spy_py_rec_at(th, s, i);
        if (rec->owner >= p->runtime.layout.owner_entry)
            continue;
        if (rec->tlbc ||
            (rec->code != last && !spy_codes_settled(&p->codes, rec->code, rec->id, when)))
            return false;
        last = rec->code;
    }
    return true;
}

int spy_py_stack_resolve(struct spy_python *p, struct spy_py_thread *th,
                         const struct spy_py_facts *facts)
{
    struct spy_py_scratch *s = &p->scratch;
    const struct spy_py_layout *l = &p->runtime.layout;
    struct spy_codes_when when = make_when(p, facts);
    int r = 0;
    spy_codes_make_room(&p->codes, spy_py_depth(th, s));
    bool known = th->last.codes_epoch == p->codes.epoch;
    if (!known || !shared_codes_hold(p, th, when))
        r = spy_py_unwind_flatten(th, s);
    if (r == 0)
        r = grow_scratch(s);
    if (r < 0)
        return r;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->recs[i].owner < l->owner_entry) {
            s->addrs[n] = s->recs[i].code;
            s->ids[n++] = known ? s->recs[i].id : SPY_CODE_NONE;
        }
    r = spy_codes_resolve(&p->codes, when, s->addrs, s->ids, n);
    for (size_t i = s->n; r == 0 && i-- > 0;) // spread out over the frames that have none
        s->recs[i].id = s->recs[i].owner < l->owner_entry ? s->ids[--n] : SPY_CODE_NONE;
    return r;
}

// True if the frame keeps its own line, since no instruction gives it (frame.h).
static bool knows_line(const struct spy_python *p, const struct spy_py_rec *rec)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    return rec->owner == SPY_PY_OWNER_OBJECT ||
           (l->lasti_bytes && (int32_t)rec->ip < 0 && !spy_codes_at(&p->codes, rec->id)->units);
}

static uint32_t find_frame_line(const struct spy_python *p, const struct spy_py_rec *rec,
                                int64_t unit)
{
    if (!knows_line(p, rec))
        return spy_code_line(spy_codes_at(&p->codes, rec->id), unit);
    int64_t line = (int64_t)(p->runtime.layout.lasti_bytes ? rec->ip >> 32 : rec->ip);
    return line > 0 && line < INT32_MAX ? (uint32_t)line : 0;
}

// Tracebacks leave out frames that have not begun their function, and the interpreter's own; so
// does this.
static bool is_shown(const struct spy_python *p, const struct spy_py_rec *rec, int64_t unit)
{
    return rec->id >= 0 && (rec->owner == p->runtime.layout.owner_generator || knows_line(p, rec) ||
                            unit >= spy_codes_at(&p->codes, rec->id)->first_traceable);
}

// Replaces the n_before newest frames of the last stack with the n newest of the scratch.
static int splice_last(struct spy_py_thread *th, const struct spy_py_scratch *s, size_t n,
                       size_t n_before)
{
    size_t depth = spy_py_depth(th, s), n_frames = th->last.n_frames - n_before + n;
    int r = spy_grow(&th->last.recs, &th->last.recs_cap, depth, sizeof *th->last.recs,
                     SPY_PY_CHAIN_MAX);
    if (r == 0)
        r = spy_grow(&th->last.frames, &th->last.frames_cap, n_frames, sizeof *th->last.frames,
                     SPY_PY_DEPTH_MAX);
    if (r < 0)
        return r;
    if (s->n != s->from && th->last.n_recs != s->from)
        memmove(th->last.recs + s->n, th->last.recs + s->from,
                (th->last.n_recs - s->from) * sizeof *th->last.recs);
    if (s->n)
        memcpy(th->last.recs, s->recs, s->n * sizeof *s->recs);
    th->last.n_recs = depth;
    if (n != n_before && th->last.n_frames != n_before)
        memmove(th->last.frames + n, th->last.frames + n_before,
                (th->last.n_frames - n_before) * sizeof *th->last.frames);
    if (n)
        memcpy(th->last.frames, s->frames, n * sizeof *s->frames);
    th->last.n_frames = n_frames;
    return 0;
}

int spy_py_stack_keep(struct spy_python *p, struct spy_py_thread *th,
                      const struct spy_py_facts *facts, uint64_t slices, struct spy_py_stack *stack)
{
    struct spy_py_scratch *s = &p->scratch;
    bool known = th->last.is_valid && th->last.codes_epoch == p->codes.epoch;
    size_t n = 0, n_before = 0, same = 0, old_frames = th->last.n_frames;
    for (size_t i = 0; i < s->n; i++) {
        struct spy_py_rec *rec = &s->recs[i];
        int64_t unit = find_code_unit(p, rec, s->tlbc_generation);
        rec->shown = is_shown(p, rec, unit);
        if (rec->shown)
            s->frames[n++] = (struct spy_py_frame){rec->id, find_frame_line(p, rec, unit)};
    }
    for (size_t i = 0; i < s->from; i++)
        n_before += th->last.recs[i].shown;
    while (
        known && same < n && same < n_before &&
        !memcmp(&s->frames[n - same - 1], &th->last.frames[n_before - same - 1], sizeof *s->frames))
        same++;
    known = known && th->last.stack.truncated == s->truncated;
    int r = splice_last(th, s, n, n_before);
    if (r < 0) {
        spy_py_stack_forget(th);
        return r;
    }
    stack->frames = th->last.frames;
    stack->n = th->last.n_frames;
    stack->truncated = s->truncated;
    stack->n_same = known ? same + (th->last.n_frames - n) : 0;
    stack->unchanged = known && stack->n_same == stack->n && stack->n == old_frames;
    th->last.codes_epoch = p->codes.epoch;
    th->last.generation = facts->code_generation;
    th->last.tlbc_generation = s->tlbc_generation;
    th->last.slices = slices;
    th->last.ran = p->refreshed;
    th->last.stack = *stack;
    th->last.is_valid = true;
    return 0;
}

size_t spy_python_n_links(const struct spy_py_thread *th)
{
    return th->last.n_recs;
}

struct spy_py_link spy_python_link(const struct spy_python *p, const struct spy_py_thread *th,
                                   size_t i)
{
    const struct spy_py_rec *rec = &th->last.recs[i];
    return (struct spy_py_link){rec->addr, rec->shown, rec->owner >= p->runtime.layout.owner_entry};
}

struct spy_py_cframes spy_python_cframes(const struct spy_python *p, const struct spy_py_thread *th)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    if (l->cframe_previous == SPY_PY_ABSENT)
        return (struct spy_py_cframes){0};
    return (struct spy_py_cframes){th->learned.cframe, l->ts_frame, l->cframe_previous};
}

void spy_py_stack_forget(struct spy_py_thread *th)
{
    th->last.is_valid = false;
}

void spy_py_stack_set_runnable(struct spy_py_thread *th)
{
    th->last.stack.runnable = true;
}

struct spy_location spy_python_location(struct spy_python *p, const struct spy_py_thread *th,
                                        size_t i, size_t *at)
{
    while (*at < th->last.n_recs && !th->last.recs[*at].shown)
        ++*at;
    if (i >= th->last.n_frames || *at == th->last.n_recs)
        return (struct spy_location){0};
    const struct spy_py_rec *rec = &th->last.recs[(*at)++];
    if (knows_line(p, rec))
        return (struct spy_location){.line = th->last.frames[i].line};
    struct spy_location l = spy_code_location(spy_codes_at(&p->codes, rec->id),
                                              find_code_unit(p, rec, th->last.tlbc_generation));
    // A copy of bytecode may have to be looked up again, and may belong to another thread by now.
    return l.line == th->last.frames[i].line ? l : (struct spy_location){0};
}
