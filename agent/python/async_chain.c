#include "agent/python/async_inside.h"
#include "agent/python/cycle.h"
#include "agent/python/frame.h"
#include "agent/python/word.h"
#include "shared/base/mem.h"
#include <string.h>

enum {
    BYTES = 512,     // of a generator with its frame, or of a frame on the heap
    YIELD_FROM = 72, // Include/opcode.h, 3.8 to 3.10
    AFTER_AWAIT = 2, // arguments of RESUME from this on, 3.11 and 3.12
    SLOTS_MAX = 1 << 20,
};

// One coroutine or generator as it was read.
struct generator {
    uint8_t bytes[BYTES];
    uint64_t frame;   // where its frame lies; 0: it has none any more
    const uint8_t *f; // the frame's bytes
    bool runs, begun;
};

static int read_heap_frame(struct spy_async *a, struct generator *g)
{
    const struct spy_py_layout *l = &a->p->runtime.layout;
    size_t len = l->f_size + 8u;
    if (!g->frame)
        return 0;
    if (!spy_py_frame_may_lie_at(g->frame) || len > sizeof g->bytes)
        return SPY_ERR_TORN;
    int r = spy_async_read(a, g->frame, g->bytes, len);
    g->f = g->bytes;
    if (r == 0) {
        g->runs = spy_py_frame_runs(l, g->f);
        g->begun = (int32_t)spy_py_half(g->f, l->f_ip) >= 0;
    }
    return r;
}

static int read_generator(struct spy_async *a, uint64_t object, struct generator *g)
{
    const struct spy_py_layout *l = &a->p->runtime.layout;
    const struct spy_py_async_layout *at = &a->at;
    memset(g, 0, sizeof *g);
    if (l->heap_frames) {
        int r = spy_async_read(a, object, g->bytes, at->gen_frame + sizeof g->frame);
        g->frame = spy_py_word(g->bytes, at->gen_frame);
        if (r == 0)
            r = spy_async_check_type(a, object, g->bytes);
        return r < 0 ? r : read_heap_frame(a, g);
    }
    size_t len = at->gen_frame + (size_t)l->f_size;
    if (len > sizeof g->bytes)
        return SPY_ERR_TORN;
    int r = spy_async_read(a, object, g->bytes, len);
    if (r == 0)
        r = spy_async_check_type(a, object, g->bytes);
    if (r < 0)
        return r;
    int8_t state = (int8_t)g->bytes[at->gen_state];
    if (state < at->state_first || state > at->state_last)
        return 0;
    g->frame = object + at->gen_frame;
    g->f = g->bytes + at->gen_frame;
    g->runs = state == at->state_executing;
    g->begun = state != at->state_first;
    return spy_py_frame_owner(l, g->f) == l->owner_generator ? 0 : SPY_ERR_TORN;
}

// Up to 3.10: the instruction that it continues with. *ret is its operation.
static int read_next_instruction(struct spy_async *a, const struct generator *g, uint8_t *ret)
{
    const struct spy_py_layout *l = &a->p->runtime.layout;
    uint64_t bytecode, at = (spy_py_half(g->f, l->f_ip) + 2u / l->lasti_bytes) * l->lasti_bytes;
    int r = spy_async_word(a, spy_py_word(g->f, l->f_code) + l->co_code, &bytecode);
    return r < 0 ? r : spy_target_read(a->p->target, bytecode + l->bytes_data + at, ret, 1);
}

// 3.11 and 3.12: is the instruction that it continues with the one after an await?
static int read_resume(struct spy_async *a, const struct generator *g, bool *ret)
{
    uint8_t unit[2];
    int r = spy_target_read(a->p->target, spy_py_word(g->f, a->p->runtime.layout.f_ip) + 2, unit,
                            sizeof unit);
    *ret = r == 0 && unit[1] >= AFTER_AWAIT;
    return r;
}

// Where the frame keeps what it awaits; 0: nowhere.
static int find_awaited(struct spy_async *a, const struct generator *g, uint64_t *ret)
{
    const struct spy_py_layout *l = &a->p->runtime.layout;
    const struct spy_py_async_layout *at = &a->at;
    uint8_t operation;
    bool awaits = true;
    int r = 0;
    *ret = 0;
    if (!g->begun || g->runs)
        return 0;
    if (l->heap_frames) {
        r = read_next_instruction(a, g, &operation);
        awaits = r == 0 && operation == YIELD_FROM;
    } else if (at->yields == SPY_PY_YIELDS_RESUME) {
        r = read_resume(a, g, &awaits);
    } else {
        int8_t state = (int8_t)g->bytes[at->gen_state];
        awaits = state >= at->state_awaits && state <= at->state_awaits_last;
    }
    if (r < 0 || !awaits)
        return r;
    uint64_t top;
    if (at->yields == SPY_PY_YIELDS_POINTER || at->yields == SPY_PY_YIELDS_STACK) {
        top = spy_py_word(g->f, at->f_stack);
    } else {
        uint32_t depth = spy_py_half(g->f, at->f_stack_depth);
        uint64_t from = at->yields == SPY_PY_YIELDS_DEPTH ? spy_py_word(g->f, at->f_stack)
                                                          : g->frame + l->f_size;
        if (!depth || depth > SLOTS_MAX)
            return SPY_ERR_TORN;
        top = from + depth * 8ull;
    }
    if (!spy_py_frame_may_lie_at(top))
        return SPY_ERR_TORN;
    *ret = top ? top - at->stack_back * 8u : 0;
    return 0;
}

static int add_awaiting_frame(struct spy_async *a, const struct generator *g)
{
    const struct spy_py_layout *l = &a->p->runtime.layout;
    size_t n = a->n_frames + 1;
    int r = spy_grow(&a->codes, &a->cap_codes, n, sizeof *a->codes, SPY_PY_TASK_DEPTH_MAX);
    if (r == 0)
        r = spy_grow(&a->ips, &a->cap_ips, n, sizeof *a->ips, SPY_PY_TASK_DEPTH_MAX);
    if (r == 0)
        r = spy_grow(&a->tlbcs, &a->cap_tlbcs, n, sizeof *a->tlbcs, SPY_PY_TASK_DEPTH_MAX);
    if (r < 0)
        return r;
    a->codes[a->n_frames] = spy_py_word(g->f, l->f_code) & ~(uint64_t)l->f_code_tag;
    a->ips[a->n_frames] = spy_py_frame_instruction(l, g->f);
    a->tlbcs[a->n_frames++] = spy_py_frame_tlbc(l, g->f);
    a->last_frame = g->frame;
    if (n == 1)
        a->first_frame = g->frame;
    return 0;
}

// What a frame keeps where it lies: a reference may be tagged (_PyStackRef).
static int read_awaited(struct spy_async *a, uint64_t slot, uint64_t *ret)
{
    int r = spy_async_read(a, slot, ret, sizeof *ret);
    *ret &= ~(uint64_t)a->p->runtime.layout.f_code_tag;
    return r;
}

int spy_async_chain(struct spy_async *a, uint64_t coroutine, uint64_t *ret_end, bool *ret_runs)
{
    struct spy_py_cycle c = {0};
    struct generator g;
    uint64_t slot, object = coroutine;
    int r = 0;
    a->n_frames = 0;
    a->first_frame = a->last_frame = 0;
    *ret_runs = false;
    while (r == 0 && object && !spy_py_cycle_closes(&c, object)) {
        enum spy_async_kind kind = spy_async_kind_of(a, object);
        if (kind == SPY_ASYNC_WRAPPER) {
            r = spy_async_read(a, object + a->header, &object, sizeof object);
            continue;
        }
        if (kind != SPY_ASYNC_GENERATOR)
            break;
        r = read_generator(a, object, &g);
        if (r == 0 && !g.frame)
            object = 0;
        if (r < 0 || !object)
            break;
        r = add_awaiting_frame(a, &g);
        *ret_runs = *ret_runs || g.runs;
        if (r == 0)
            r = find_awaited(a, &g, &slot);
        object = 0;
        if (r == 0 && slot)
            r = read_awaited(a, slot, &object);
    }
    *ret_end = object;
    if (r == SPY_ERR_NOTFOUND) // a part of the chain was freed, not the task
        r = SPY_ERR_TORN;
    // Memory that was freed meanwhile may seem to end the chain.
    return r == 0 && object ? spy_async_keep_type(a, object) : r;
}

// --- what the frames are ---

static int64_t find_awaiting_unit(struct spy_async *a, size_t i)
{
    const struct spy_py_layout *l = &a->p->runtime.layout;
    uint64_t from = a->codes[i] + l->co_code;
    if (l->lasti_bytes)
        return (int32_t)a->ips[i] < 0 ? -1 : (int64_t)a->ips[i] * l->lasti_bytes / l->unit_bytes;
    if (a->tlbcs[i])
        from = spy_codes_bytecode(&a->p->codes, a->ids[i], a->tlbcs[i], 0);
    return from ? (int64_t)(a->ips[i] - from) / 2 : INT64_MAX;
}

int spy_async_resolve(struct spy_async *a)
{
    struct spy_codes *codes = &a->p->codes;
    size_t n = a->n_frames;
    int r = spy_grow(&a->ids, &a->cap_ids, n, sizeof *a->ids, SPY_PY_TASK_DEPTH_MAX);
    if (r == 0)
        r = spy_grow(&a->lines, &a->cap_lines, n, sizeof *a->lines, SPY_PY_TASK_DEPTH_MAX);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        a->ids[i] = SPY_CODE_NONE;
    spy_codes_make_room(codes, n);
    r = spy_codes_resolve(codes, (struct spy_codes_when){.sample = ++a->p->sample}, a->codes,
                          a->ids, n);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (a->ids[i] < 0)
            return SPY_ERR_TORN;
        const struct spy_code *code = spy_codes_at(codes, a->ids[i]);
        int64_t unit = find_awaiting_unit(a, i);
        if (unit < -1 || unit >= code->units)
            return SPY_ERR_TORN;
        a->lines[i] = spy_code_line(code, unit);
    }
    return r;
}
