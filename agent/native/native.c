#include "agent/native/native.h"
#include "agent/native/perf_map.h"
#include "agent/native/places.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

// A stack of MISSES_MAX rows that were not known is made up to cost time.
enum { MISSES_MAX = 512 };
enum { ROWS = 4096, THREADS = 256, PAGE = 4096, WORD = 8 };

// A row of the tables that was found before. module_id 0: empty.
struct known_row {
    uint64_t pc; // as in the file
    uint32_t module_id;
    bool is_missing; // there is none
    struct spy_cfi_row row;
};

struct spy_native_cache {
    struct spy_modules_list modules;
    struct known_row rows[ROWS];
};

struct spy_native {
    struct spy_native_cache *cache;
    struct spy_places places;
    struct spy_perf_map perf_map;
    // Bytes of stack that threads need, by the number of the thread; 0: not known. Two threads may
    // share a place: the larger need wins.
    uint32_t needs[THREADS];
};

struct spy_native_cache *spy_native_cache_new(size_t max_bytes)
{
    struct spy_native_cache *c = calloc(1, sizeof *c);
    if (c)
        c->modules.max_bytes = max_bytes;
    return c;
}

void spy_native_cache_free(struct spy_native_cache *c)
{
    free(c);
}

struct spy_native *spy_native_new(struct spy_native_cache *c, const struct spy_target *t)
{
    struct spy_native *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->cache = c;
    n->places = (struct spy_places){.list = &c->modules, .target = t};
    return n;
}

void spy_native_free(struct spy_native *n)
{
    if (!n)
        return;
    spy_places_done(&n->places);
    spy_perf_map_done(&n->perf_map);
    free(n);
}

// --- capture ---

void spy_native_snapshot_done(struct spy_native_snapshot *s)
{
    free(s->stack);
    *s = (struct spy_native_snapshot){0};
}

static int read_registers(pid_t tid, struct spy_native_regs *ret)
{
    struct user_regs_struct user;
    struct iovec io = {&user, sizeof user};
    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &io) < 0)
        return spy_code_of_errno(errno);
    if (io.iov_len != sizeof user)
        return SPY_ERR_UNSUPPORTED;
    spy_regs_of_user(&user, ret);
    return 0;
}

// Page by page, in one call: the copy ends where the mapping does.
static int read_stack(const struct spy_target *t, struct spy_native_snapshot *s, size_t want)
{
    struct spy_span spans[SPY_NATIVE_STACK_MAX / PAGE + 1];
    uint64_t at = s->regs.r[SPY_REG_SP];
    size_t n = 0, done = 0, len = 0;
    if (at > UINT64_MAX - want)
        return SPY_ERR_TORN;
    for (size_t left = want; left; n++) {
        size_t piece = spy_min(left, PAGE - at % PAGE);
        spans[n] = (struct spy_span){at, s->stack + len, piece};
        at += piece;
        len += piece;
        left -= piece;
    }
    int r = spy_target_read_spans(t, spans, n, &done);
    s->len = 0;
    for (size_t i = 0; i < done; i++)
        s->len += spans[i].len;
    return s->len || r == 0 ? 0 : r;
}

int spy_native_capture(struct spy_native *n, pid_t tid, struct spy_native_snapshot *s)
{
    size_t need = n->needs[(unsigned)tid % THREADS];
    size_t want = need ? need : SPY_NATIVE_STACK_USUAL;
    int r = spy_grow(&s->stack, &s->cap, want, 1, SPY_NATIVE_STACK_MAX);
    if (r == 0)
        r = read_registers(tid, &s->regs);
    if (r < 0)
        return r;
    s->tid = tid;
    return read_stack(n->places.target, s, want);
}

// --- the copy ---

static uint64_t start_of(const struct spy_native_snapshot *s)
{
    return s->regs.r[SPY_REG_SP];
}

static int read_stack_word(const void *context, uint64_t addr, uint64_t *ret)
{
    const struct spy_native_snapshot *s = context;
    uint64_t at = addr - start_of(s);
    if (s->len < WORD || at > s->len - WORD)
        return SPY_ERR_LIMIT;
    memcpy(ret, s->stack + at, WORD);
    return 0;
}

// What an unwind ends with where a word is not in the copy: a place above it is more of the same
// stack; below it, or absurdly far above, is none.
static enum spy_native_end end_of_copy(const struct spy_native_snapshot *s, uint64_t addr)
{
    uint64_t at = addr - start_of(s);
    return at < (uint64_t)64 << 20 ? SPY_NATIVE_CUT : SPY_NATIVE_LOST;
}

// --- one step ---

struct step {
    struct spy_native *n;
    const struct spy_native_snapshot *s;
    struct spy_native_regs regs;
    size_t misses; // rows that were not known
    bool is_call;  // regs are those of a frame that called another one
    bool is_innermost;
    enum spy_native_end end; // valid once a step has failed
};

// NULL: none.
static const struct spy_cfi_row *find_row(struct step *st, const struct spy_native_module *m,
                                          uint64_t pc)
{
    struct spy_native_cache *c = st->n->cache;
    uint64_t hash = (pc + m->id) * 0x9e3779b97f4a7c15;
    struct known_row *known = &c->rows[hash >> 52];
    _Static_assert(ROWS == 1 << 12, "the upper bits of the hash");
    if (__builtin_expect(known->pc == pc && known->module_id == m->id, 1))
        return known->is_missing ? NULL : &known->row;
    if (!m->has_cfi || st->misses == MISSES_MAX)
        return NULL;
    st->misses++;
    known->is_missing = spy_cfi_find(&m->cfi, pc, &known->row) < 0;
    known->pc = pc;
    known->module_id = m->id;
    return known->is_missing ? NULL : &known->row;
}

static bool fail_step(struct step *st, enum spy_native_end end)
{
    st->end = end;
    return false;
}

static bool find_cfa(struct step *st, const struct spy_cfi *cfi, const struct spy_cfi_row *row,
                     uint64_t *ret)
{
    if (row->cfa_is_expression)
        return spy_cfi_evaluate(cfi, row->cfa_value, &st->regs, NULL, read_stack_word, st->s,
                                ret) == 0 ||
               fail_step(st, SPY_NATIVE_LOST);
    *ret = st->regs.r[row->cfa_register] + (uint64_t)(int64_t)row->cfa_value;
    return true;
}

static bool find_register(struct step *st, const struct spy_cfi *cfi, const struct spy_cfi_row *row,
                          unsigned number, uint64_t cfa, uint64_t *ret)
{
    uint64_t at;
    int32_t value = row->values[number];
    switch (row->kinds[number]) {
    case SPY_CFI_AT_CFA:
        at = cfa + (uint64_t)(int64_t)value;
        break;
    case SPY_CFI_CFA_PLUS:
        *ret = cfa + (uint64_t)(int64_t)value;
        return true;
    case SPY_CFI_REGISTER:
        *ret = value >= 0 && value < SPY_N_REGS ? st->regs.r[value] : 0;
        return true;
    case SPY_CFI_AT_EXPRESSION:
        if (spy_cfi_evaluate(cfi, value, &st->regs, &cfa, read_stack_word, st->s, &at) < 0)
            return fail_step(st, SPY_NATIVE_LOST);
        break;
    case SPY_CFI_EXPRESSION:
        return spy_cfi_evaluate(cfi, value, &st->regs, &cfa, read_stack_word, st->s, ret) == 0 ||
               fail_step(st, SPY_NATIVE_LOST);
    default:
        *ret = 0;
        return true;
    }
    // In an epilogue the rules of registers that were popped already are not taken back.
    if (at < st->regs.r[SPY_REG_SP] && number != row->return_register) {
        *ret = st->regs.r[number];
        return true;
    }
    return read_stack_word(st->s, at, ret) == 0 || fail_step(st, end_of_copy(st->s, at));
}

// By the tables. A frame without a return address is the outermost.
static bool step_by_row(struct step *st, const struct spy_cfi *cfi, const struct spy_cfi_row *row,
                        uint64_t *ret_cfa)
{
    struct spy_native_regs up = st->regs;
    uint64_t cfa, sp = st->regs.r[SPY_REG_SP];
    if (row->kinds[row->return_register] == SPY_CFI_UNDEFINED)
        return fail_step(st, SPY_NATIVE_OUTERMOST);
    if (!find_cfa(st, cfi, row, &cfa))
        return false;
    // The stack grows in one direction; the kernel's frame may lie on a stack of its own.
    if (!row->is_signal && (cfa < sp || (cfa == sp && !st->is_innermost)))
        return fail_step(st, SPY_NATIVE_LOST);
    up.r[SPY_REG_SP] = cfa;
    for (uint64_t left = row->has; left; left &= left - 1) {
        unsigned number = (unsigned)__builtin_ctzll(left);
        if (!find_register(st, cfi, row, number, cfa, &up.r[number]))
            return false;
    }
    up.r[SPY_REG_PC] = spy_regs_plain_address(up.r[row->return_register]);
    st->regs = up;
    st->is_call = !row->is_signal;
    *ret_cfa = cfa;
    return true;
}

static bool is_executable(const struct step *st, uint64_t address)
{
    return spy_places_find(&st->n->places, address) != NULL;
}

static bool return_to(struct step *st, uint64_t at, uint64_t fp, uint64_t *ret_cfa)
{
    uint64_t address;
    if (read_stack_word(st->s, at, &address) < 0)
        return fail_step(st, end_of_copy(st->s, at));
    address = spy_regs_plain_address(address);
    if (!address)
        return fail_step(st, SPY_NATIVE_OUTERMOST);
    if (!is_executable(st, address))
        return fail_step(st, SPY_NATIVE_LOST);
    st->regs.r[SPY_REG_PC] = address;
    st->regs.r[SPY_REG_FP] = fp;
    st->regs.r[SPY_REG_SP] = *ret_cfa = at + WORD;
    st->is_call = true;
    return true;
}

#if defined(__x86_64__)
// Is there a call instruction before it? Direct (e8), or indirect with its operand in zero to five
// bytes more (ff /2).
static bool is_after_call(const struct step *st, uint64_t address)
{
    static const uint8_t lengths[] = {2, 3, 4, 6, 7};
    uint8_t code[7];
    if (!is_executable(st, address) ||
        spy_target_read(st->n->places.target, address - sizeof code, code, sizeof code) < 0)
        return false;
    const uint8_t *end = code + sizeof code;
    bool found = end[-5] == 0xe8;
    for (size_t i = 0; i < sizeof lengths; i++)
        found |= end[-lengths[i]] == 0xff && (end[1 - lengths[i]] & 0x38) == 0x10;
    return found;
}

// mov %rsp,%rbp among the first instructions of the function, before pc.
static bool has_set_frame_pointer(const struct step *st, uint64_t start)
{
    static const uint8_t move[] = {0x48, 0x89, 0xe5};
    uint8_t code[64];
    size_t n = spy_min(st->regs.r[SPY_REG_PC] - start, sizeof code);
    return spy_target_read(st->n->places.target, start, code, n) < 0 ||
           memmem(code, n, move, sizeof move);
}

// The innermost function may have no frame pointer, or not yet: then the return address is at the
// stack pointer, *ret_above bytes above it. Told by its instructions; start is 0 where its start is
// not known. ret is c3, endbr64 f3 0f 1e fa, push %rbp 55; ff 25 jumps through the table of a PLT.
static bool is_frame_pointer_unset(const struct step *st, uint64_t start, uint64_t *ret_above)
{
    static const uint8_t endbr[] = {0xf3, 0x0f, 0x1e, 0xfa};
    uint8_t code[4];
    uint64_t sp = st->regs.r[SPY_REG_SP], pc = st->regs.r[SPY_REG_PC], first, second;
    *ret_above = 0;
    if (!st->is_innermost || spy_target_read(st->n->places.target, pc, code, sizeof code) < 0)
        return false;
    if (code[0] == 0xc3 || !memcmp(code, endbr, sizeof endbr))
        return true;
    if (!start)
        return code[0] == 0x55 || (code[0] == 0xff && code[1] == 0x25) ||
               (code[0] == 0xf2 && code[1] == 0xff && code[2] == 0x25);
    if (has_set_frame_pointer(st, start) || read_stack_word(st->s, sp, &first) < 0)
        return false;
    if (first == st->regs.r[SPY_REG_FP] && read_stack_word(st->s, sp + WORD, &second) == 0 &&
        is_after_call(st, second))
        *ret_above = WORD;
    return *ret_above || is_after_call(st, first);
}
#else
static bool is_frame_pointer_unset(const struct step *st, uint64_t start, uint64_t *ret_above)
{
    (void)st;
    (void)start;
    (void)ret_above;
    return false;
}
#endif

static bool step_by_frame_pointer(struct step *st, uint64_t start, uint64_t *ret_cfa)
{
    uint64_t sp = st->regs.r[SPY_REG_SP], fp = st->regs.r[SPY_REG_FP], above, up = fp;
    if (is_frame_pointer_unset(st, start, &above))
        return return_to(st, sp + above, fp, ret_cfa);
    if (!fp)
        return fail_step(st, SPY_NATIVE_OUTERMOST);
    if (fp < sp || fp % WORD)
        return fail_step(st, SPY_NATIVE_LOST);
    if (read_stack_word(st->s, fp, &up) < 0)
        return fail_step(st, end_of_copy(st->s, fp));
    return return_to(st, fp + WORD, up, ret_cfa);
}

// 0: not known.
static uint64_t start_of_function(const struct spy_place *place, const struct spy_native_module *m,
                                  uint64_t pc)
{
    size_t i = m ? spy_symtab_find(&m->symtab, pc - place->bias) : SIZE_MAX;
    return i == SIZE_MAX ? 0 : m->symtab.list[i].start + place->bias;
}

static bool step_up(struct step *st, struct spy_place *place, struct spy_native_frame *f)
{
    struct spy_native_module *m = place ? spy_place_module(&st->n->places, place) : NULL;
    const struct spy_cfi_row *row = m ? find_row(st, m, f->call - place->bias) : NULL;
    f->is_signal = row && row->is_signal;
    f->by_frame_pointer = !row;
    if (!row && !place && !st->is_innermost)
        return fail_step(st, SPY_NATIVE_LOST);
    if (row)
        return step_by_row(st, &m->cfi, row, &f->stack);
    return step_by_frame_pointer(st, start_of_function(place, m, f->call), &f->stack);
}

// --- all steps ---

// *ret_unknown: the stack leads to memory that was not executable when the maps were read.
static size_t walk_up(struct spy_native *n, const struct spy_native_snapshot *s,
                      struct spy_native_frame *frames, size_t max, enum spy_native_end *ret_end,
                      bool *ret_unknown)
{
    struct step st = {.n = n, .s = s, .regs = s->regs, .is_innermost = true};
    *ret_unknown = false;
    for (size_t i = 0; i < max; i++, st.is_innermost = false) {
        struct spy_native_frame *f = &frames[i];
        uint64_t pc = st.regs.r[SPY_REG_PC];
        *f = (struct spy_native_frame){.address = pc, .call = pc - st.is_call};
        struct spy_place *place = spy_places_find(&n->places, f->call);
        if (!place) {
            *ret_unknown |= pc != 0;
            if (i) { // the way here was wrong, or the end: a return address of 0
                *ret_end = pc ? SPY_NATIVE_LOST : SPY_NATIVE_OUTERMOST;
                return i;
            }
        }
        if (!step_up(&st, place, f)) {
            *ret_end = st.end;
            return i + 1;
        }
    }
    *ret_end = SPY_NATIVE_FULL;
    return max;
}

// What the next capture of the thread copies: twice as much after a stack that was cut; else what
// this one needed and a page or two, approached slowly from above.
static void learn_need(struct spy_native *n, const struct spy_native_snapshot *s,
                       const struct spy_native_frame *outermost, enum spy_native_end end)
{
    uint32_t *need = &n->needs[(unsigned)s->tid % THREADS];
    size_t used = outermost->stack > start_of(s) ? outermost->stack - start_of(s) : 0;
    size_t wanted = spy_min(s->len, SPY_NATIVE_STACK_MAX);
    if (end == SPY_NATIVE_CUT)
        wanted = 2 * wanted;
    else if (end == SPY_NATIVE_OUTERMOST && used + SPY_NATIVE_STACK_USUAL / 2 < wanted)
        wanted -= wanted / 64;
    if (wanted < SPY_NATIVE_STACK_USUAL)
        wanted = SPY_NATIVE_STACK_USUAL;
    *need = (uint32_t)spy_min(wanted, SPY_NATIVE_STACK_MAX);
}

int spy_native_unwind(struct spy_native *n, const struct spy_native_snapshot *s,
                      struct spy_native_frame *frames, size_t max, enum spy_native_end *ret_end)
{
    enum spy_native_end end = SPY_NATIVE_FULL;
    bool unknown = false;
    int r = spy_places_renew(&n->places, SPY_PLACES_AGE_NS);
    if (r < 0 && !n->places.loaded_ns) // a target that has just ended is still mapped as it was
        return r;
    max = spy_min(max, SPY_NATIVE_FRAMES_MAX);
    size_t got = max ? walk_up(n, s, frames, max, &end, &unknown) : 0;
    if (unknown && spy_places_renew(&n->places, SPY_PLACES_PAUSE_NS) == 1)
        got = walk_up(n, s, frames, max, &end, &unknown);
    if (got)
        learn_need(n, s, &frames[got > 1 ? got - 2 : 0], end);
    *ret_end = end;
    return (int)got;
}

// --- names ---

int spy_native_symbol(struct spy_native *n, uint64_t address, struct spy_native_symbol *ret)
{
    struct spy_place *place = spy_places_find(&n->places, address);
    if (!place)
        return SPY_ERR_NOTFOUND;
    struct spy_native_module *m = spy_place_module(&n->places, place);
    *ret = (struct spy_native_symbol){.module = spy_maps_path(&n->places.maps, place->mapping)};
    if (!m) {
        ret->name = spy_perf_map_find(&n->perf_map, address);
        if (!ret->name && spy_perf_map_renew(&n->perf_map, n->places.target))
            ret->name = spy_perf_map_find(&n->perf_map, address);
        return 0;
    }
    ret->file_address = address - place->bias;
    memcpy(ret->build_id, m->build_id, m->build_id_len);
    ret->build_id_len = m->build_id_len;
    size_t i = spy_symtab_find(&m->symtab, ret->file_address);
    if (i != SIZE_MAX) {
        ret->name = spy_symtab_name(&m->symtab, i);
        ret->offset = ret->file_address - m->symtab.list[i].start;
    }
    return 0;
}
