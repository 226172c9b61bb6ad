#include "agent/python/situation.h"
#include "agent/python/reader.h"
#include "shared/base/mem.h"

// Include/internal/pycore_interp.h, pycore_ceval.h and pycore_runtime.h of each version. The request
// is an int of the runtime or the interpreter, or since 3.13 the lowest bit of a word of the thread
// state (_PY_GIL_DROP_REQUEST_BIT).
enum request { REQUEST_NONE, REQUEST_RUNTIME, REQUEST_INTERP, REQUEST_TSTATE };
struct row {
    uint16_t id; // PyInterpreterState.id
    uint16_t request_at;
    uint8_t request;
};

static struct row find_situation_row(const struct spy_py_layout *l)
{
    enum { EVAL_BREAKER = 24 };
    static const struct row rows[] = {
        [7] = {16, 716, REQUEST_RUNTIME}, [8] = {16, 596, REQUEST_RUNTIME},
        [9] = {24, 76, REQUEST_INTERP},   [10] = {24, 72, REQUEST_INTERP},
        [11] = {48, 104, REQUEST_INTERP}, [12] = {8, 372, REQUEST_INTERP},
    };
    if (l->major != 3 || l->minor < 7)
        return (struct row){SPY_PY_ABSENT, 0, REQUEST_NONE};
    if (l->minor >= SPY_COUNT(rows))
        return (struct row){(uint16_t)(l->interp_next + 8), EVAL_BREAKER, REQUEST_TSTATE};
    struct row row = rows[l->minor];
    if (row.request == REQUEST_RUNTIME && l->runtime_gil == SPY_PY_ABSENT) // an early micro version
        row.request = REQUEST_NONE;
    return row;
}

static int64_t read_id(const struct spy_python *p, const struct spy_py_thread *th, uint16_t at)
{
    uint64_t id;
    if (at == SPY_PY_ABSENT)
        return -1;
    return spy_target_read_u64(p->target, th->id.interp + at, &id) < 0 || id > INT32_MAX
               ? -1
               : (int64_t)id;
}

static bool is_requested(const struct spy_python *p, const struct spy_py_thread *th,
                         const struct row *row)
{
    const uint64_t base[] = {0, p->runtime.addr, th->id.interp, th->id.tstate};
    uint32_t word;
    return row->request && !p->runtime.layout.free_threaded &&
           spy_target_read(p->target, base[row->request] + row->request_at, &word, sizeof word) ==
               0 &&
           word & 1;
}

struct spy_py_situation spy_python_situation(const struct spy_python *p,
                                             const struct spy_py_thread *th)
{
    struct row row = find_situation_row(&p->runtime.layout);
    return (struct spy_py_situation){.interpreter = read_id(p, th, row.id),
                                     .asked_to_drop = is_requested(p, th, &row)};
}

// 3.11 keeps it in the byte before the frame's owner.
static bool is_entered_from_c(const struct spy_python *p, const struct spy_py_rec *rec)
{
    const struct spy_py_layout *l = &p->runtime.layout;
    uint8_t byte;
    if (l->heap_frames || l->minor > 11)
        return l->heap_frames;
    return spy_target_read(p->target, rec->addr + l->f_owner - 1, &byte, 1) == 0 && byte == 1;
}

struct spy_py_entry spy_python_entry(const struct spy_python *p, const struct spy_py_thread *th,
                                     size_t i, size_t *at)
{
    while (*at < th->last.n_recs && !th->last.recs[*at].shown)
        ++*at;
    if (i >= th->last.n_frames || *at == th->last.n_recs)
        return (struct spy_py_entry){0};
    const struct spy_py_rec *rec = &th->last.recs[(*at)++];
    bool shim = *at < th->last.n_recs && th->last.recs[*at].owner >= p->runtime.layout.owner_entry;
    return (struct spy_py_entry){.is_entry = is_entered_from_c(p, rec),
                                 .is_shim = p->runtime.layout.minor >= 12 && shim};
}
