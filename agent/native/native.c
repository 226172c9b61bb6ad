#include "agent/native/native.h"
#include "agent/native/code.h"
#include "agent/native/cython.h"
#include "agent/native/perf_map.h"
#include "agent/native/places.h"
#include "agent/native/snapshot.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A stack of MISSES_MAX rows that were not known is made up to cost time.
enum { MISSES_MAX = 512 };
enum { ROWS = 4096, CODE_ROWS = 512, THREADS = 256, WORD = 8 };
// While a thread is held: frames walked at most, and rows that may be looked for.
enum { HELD_FRAMES_MAX = 256, HELD_MISSES = 32 };
enum { CODE_ROWS_MAX = 32 }; // made in one stack at most
enum { FETCHED_MAX = 128, LINE = 64 };
enum { BELOW_MISSING = 256 }; // bytes copied below a word that was not there: its neighbours

// A row of the tables that was found before. module_id 0: empty.
struct known_row {
    uint64_t pc; // as in the file
    uint32_t module_id;
    bool is_missing; // there is none
    uint8_t table;   // in which of the module's it was found
    struct spy_cfi_row row;
};

// What the next capture of a thread copies.
struct need {
    uint32_t bytes; // of stack; 0: not known
    uint64_t end;   // where the memory of its stack ends; 0: not known
    bool is_split;  // its stack went on elsewhere
};

// What the instructions at an address say. module_id 0: empty.
struct known_code_row {
    uint64_t pc;
    uint32_t module_id;
    bool is_missing;
    struct spy_cfi_row row;
};

struct spy_native_cache {
    struct spy_modules_list modules;
    struct known_row rows[ROWS];
    struct known_code_row code_rows[CODE_ROWS];
};

struct spy_native {
    struct spy_native_cache *cache;
    struct spy_places places;
    struct spy_perf_map perf_map;
    char source[256];     // of the last symbol
    uint64_t stack_start; // of the main thread, where the kernel put its arguments; 0: not known
    bool knows_stack_start;
    struct need needs[THREADS]; // by the number of the thread; two threads may share a place
    // Which of the cache's rows the last unwind used, in its order.
    uint16_t used[FETCHED_MAX];
    size_t n_used;
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

// --- one step ---

struct step {
    struct spy_native *n;
    const struct spy_native_snapshot *s;
    struct spy_native_regs regs;
    size_t misses; // rows that were not known
    bool is_call;  // regs are those of a frame that called another one
    bool is_innermost;
    bool is_held;            // the thread waits meanwhile: no file is loaded
    bool is_guess;           // a frame pointer led here, which may be another value
    unsigned jumps;          // to another stack
    size_t n_rows;           // that were used
    bool was_signal;         // a handler's stack was left, which may be one of its own
    uint64_t missing;        // where the stack continues outside of the copy; 0: not known
    enum spy_native_end end; // valid once a step has failed
};

// In the first table of the module that has one, which is that of .eh_frame.
static bool search_tables(const struct spy_native_module *m, uint64_t pc, struct known_row *ret)
{
    for (ret->table = 0; ret->table < m->n_cfi; ret->table++)
        if (spy_cfi_find(&m->cfi[ret->table], pc, &ret->row) == 0)
            return true;
    return false;
}

static void note_used(struct step *st, const struct known_row *row)
{
    struct spy_native *n = st->n;
    if (st->n_rows == FETCHED_MAX)
        return;
    n->used[st->n_rows++] = (uint16_t)(row - n->cache->rows);
    n->n_used = st->n_rows;
}

// An unwind uses mostly the rows of the last one, which the target has pushed out of the CPU's
// caches since. To fetch them side by side takes far less time than one after another.
static void fetch_rows(const struct spy_native *n)
{
    for (size_t i = 0; i < n->n_used; i++) {
        const char *row = (const char *)&n->cache->rows[n->used[i]];
        __builtin_prefetch(row);
        __builtin_prefetch(row + LINE);
    }
}

// NULL: none.
static const struct known_row *find_unwind_row(struct step *st, const struct spy_native_module *m,
                                               uint64_t pc)
{
    struct spy_native_cache *c = st->n->cache;
    uint64_t hash = (pc + m->id) * 0x9e3779b97f4a7c15;
    struct known_row *known = &c->rows[hash >> 52];
    _Static_assert(ROWS == 1 << 12, "the upper bits of the hash");
    note_used(st, known);
    if (__builtin_expect(known->pc == pc && known->module_id == m->id, 1))
        return known->is_missing ? NULL : known;
    if (!m->n_cfi || st->misses == MISSES_MAX)
        return NULL;
    st->misses++;
    known->is_missing = !search_tables(m, pc, known);
    known->pc = pc;
    known->module_id = m->id;
    return known->is_missing ? NULL : known;
}

static bool fail_step(struct step *st, enum spy_native_end end)
{
    st->end = end;
    return false;
}

// What an unwind ends with where a word is not in the copy: a place above it is more of the same
// stack; below it, or absurdly far above, is none. It may be had next time, in a piece of its own.
static enum spy_native_end end_of_copy(struct step *st, uint64_t addr)
{
    uint64_t sp = st->regs.r[SPY_REG_SP];
    bool is_same = addr - st->s->regs.r[SPY_REG_SP] < SPY_NATIVE_STACK_MAX;
    if (!is_same || st->jumps || st->was_signal)
        st->missing = addr - sp < SPY_NATIVE_PIECE / 2 ? sp : addr - spy_min(addr, BELOW_MISSING);
    return spy_snapshot_is_above(st->s, addr) ? SPY_NATIVE_CUT : SPY_NATIVE_LOST;
}

static bool find_cfa(struct step *st, const struct spy_cfi *cfi, const struct spy_cfi_row *row,
                     uint64_t *ret)
{
    if (row->cfa_is_expression)
        return spy_cfi_evaluate(cfi, row->cfa_value, &st->regs, NULL, spy_snapshot_word, st->s,
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
        if (spy_cfi_evaluate(cfi, value, &st->regs, &cfa, spy_snapshot_word, st->s, &at) < 0)
            return fail_step(st, SPY_NATIVE_LOST);
        break;
    case SPY_CFI_EXPRESSION:
        return spy_cfi_evaluate(cfi, value, &st->regs, &cfa, spy_snapshot_word, st->s, ret) == 0 ||
               fail_step(st, SPY_NATIVE_LOST);
    default:
        *ret = 0;
        return true;
    }
    // In an epilogue the rules of registers that were popped already are not taken back.
    if (at < st->regs.r[SPY_REG_SP] && cfa >= st->regs.r[SPY_REG_SP] &&
        number != row->return_register) {
        *ret = st->regs.r[number];
        return true;
    }
    return spy_snapshot_word(st->s, at, ret) == 0 || fail_step(st, end_of_copy(st, at));
}

// The stack grows in one direction. It may continue on another one: where the kernel called a
// handler, or where a function remembers the stack that it left in a register of its own.
static bool is_way_up(struct step *st, const struct spy_cfi_row *row, uint64_t cfa)
{
    uint64_t sp = st->regs.r[SPY_REG_SP];
    if (cfa - sp < SPY_NATIVE_STACK_MAX && (cfa > sp || st->is_innermost))
        return true;
    if (!row->is_signal && !row->cfa_is_expression && row->cfa_register == SPY_REG_SP)
        return cfa > sp;
    return !st->is_guess && st->jumps++ < SPY_NATIVE_PIECES_MAX;
}

// By the tables. A frame without a return address is the outermost.
static bool step_by_row(struct step *st, const struct spy_cfi *cfi, const struct spy_cfi_row *row,
                        uint64_t *ret_cfa)
{
    struct spy_native_regs up = st->regs;
    uint64_t cfa;
    if (row->kinds[row->return_register] == SPY_CFI_UNDEFINED)
        return fail_step(st, SPY_NATIVE_OUTERMOST);
    if (!find_cfa(st, cfi, row, &cfa))
        return false;
    if (!is_way_up(st, row, cfa))
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
    st->was_signal |= row->is_signal;
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
    if (spy_snapshot_word(st->s, at, &address) < 0)
        return fail_step(st, end_of_copy(st, at));
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
    if (has_set_frame_pointer(st, start) || spy_snapshot_word(st->s, sp, &first) < 0)
        return false;
    if (first == st->regs.r[SPY_REG_FP] && spy_snapshot_word(st->s, sp + WORD, &second) == 0 &&
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
    if (spy_snapshot_word(st->s, fp, &up) < 0)
        return fail_step(st, end_of_copy(st, fp));
    return return_to(st, fp + WORD, up, ret_cfa);
}

// --- without tables ---

// UINT64_MAX: not known.
static uint64_t start_of_next_function(const struct spy_native_module *m, uint64_t pc)
{
    size_t i = spy_symtab_after(&m->symtab, pc);
    return i < m->symtab.n ? m->symtab.list[i].start : UINT64_MAX;
}

static const struct spy_cfi_row *find_code_row(struct step *st, const struct spy_place *place,
                                               const struct spy_native_module *m, uint64_t address)
{
    uint64_t pc = address - place->bias, hash = (pc + m->id) * 0x9e3779b97f4a7c15;
    struct known_code_row *known = &st->n->cache->code_rows[hash >> 55];
    _Static_assert(CODE_ROWS == 1 << 9, "the upper bits of the hash");
    if (known->pc == pc && known->module_id == m->id)
        return known->is_missing ? NULL : &known->row;
    if (st->is_held || st->misses >= MISSES_MAX)
        return NULL;
    st->misses += MISSES_MAX / CODE_ROWS_MAX;
    uint64_t limit = start_of_next_function(m, pc);
    limit = limit == UINT64_MAX ? limit : limit + place->bias;
    known->is_missing = spy_code_row(st->n->places.target, address, limit, &known->row) < 0;
    known->pc = pc;
    known->module_id = m->id;
    return known->is_missing ? NULL : &known->row;
}

static bool step_by_code(struct step *st, const struct spy_place *place,
                         const struct spy_native_module *m, uint64_t address, uint64_t *ret_cfa)
{
    static const struct spy_cfi no_table;
    const struct spy_cfi_row *row = find_code_row(st, place, m, address);
    struct step up = *st;
    if (!row || !step_by_row(&up, &no_table, row, ret_cfa) ||
        !is_after_call(&up, up.regs.r[SPY_REG_PC]))
        return false;
    *st = up;
    return true;
}

#if defined(__x86_64__)
// mov $15,%rax; syscall: what a handler of musl returns to. Above it lies what the kernel saved
// (struct ucontext of the kernel, whose registers are in this order).
static bool step_by_signal_code(struct step *st, uint64_t *ret_cfa)
{
    static const uint8_t wanted[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
    static const uint8_t order[] = {8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16};
    enum { REGISTERS_AT = 40 };
    uint8_t code[sizeof wanted];
    struct spy_native_regs regs;
    uint64_t at = st->regs.r[SPY_REG_SP] + REGISTERS_AT;
    if (spy_target_read(st->n->places.target, st->regs.r[SPY_REG_PC], code, sizeof code) < 0 ||
        memcmp(code, wanted, sizeof code) != 0)
        return false;
    for (size_t i = 0; i < sizeof order; i++)
        if (spy_snapshot_word(st->s, at + WORD * i, &regs.r[order[i]]) < 0)
            return false;
    st->regs = regs;
    *ret_cfa = regs.r[SPY_REG_SP];
    st->is_call = false;
    st->was_signal = true;
    return true;
}

// syscall; hlt a few bytes behind the call: a thread of musl begins there (clone.s).
static bool is_start_of_thread(const struct step *st, uint64_t address)
{
    static const uint8_t wanted[] = {0x0f, 0x05, 0xf4};
    uint8_t code[16];
    return is_after_call(st, address) &&
           spy_target_read(st->n->places.target, address, code, sizeof code) == 0 &&
           memmem(code, sizeof code, wanted, sizeof wanted);
}
#else
static bool step_by_signal_code(struct step *st, uint64_t *ret_cfa)
{
    (void)st;
    (void)ret_cfa;
    return false;
}

static bool is_start_of_thread(const struct step *st, uint64_t address)
{
    (void)st;
    (void)address;
    return false;
}
#endif

// Field 28 of /proc/PID/stat (proc(5)).
static uint64_t start_of_main_stack(struct spy_native *n)
{
    enum { FIELD = 28, FIRST = 3 };
    char text[1024], name[32];
    const struct spy_target *t = n->places.target;
    if (n->knows_stack_start || !spy_target_is_live(t))
        return n->stack_start;
    n->knows_stack_start = true;
    if (spy_file_read_small(spy_target_proc_fd(t), spy_target_file(t, "stat", name, sizeof name),
                            text, sizeof text) < 0)
        return 0;
    char *at = strrchr(text, ')');
    for (int i = FIRST; at && i <= FIELD; i++)
        at = strchr(at + 1, ' ');
    n->stack_start = at ? strtoull(at, NULL, 10) : 0;
    return n->stack_start;
}

// What starts a program or a thread does not return, so that its instructions lead nowhere. It is
// known by the little that lies above it: the start of the stack, or a call that nothing follows.
static bool is_at_bottom(struct step *st)
{
    enum { START_MAX = 512 };
    uint64_t sp = st->regs.r[SPY_REG_SP], word;
    if (start_of_main_stack(st->n) - sp < START_MAX)
        return true;
    for (uint64_t at = sp; at < sp + START_MAX && spy_snapshot_word(st->s, at, &word) == 0;
         at += WORD)
        if (is_executable(st, word) && is_start_of_thread(st, word))
            return true;
    return false;
}

// 0: not known.
static uint64_t start_of_function(const struct spy_place *place, const struct spy_native_module *m,
                                  uint64_t pc)
{
    size_t i = m ? spy_symtab_find(&m->symtab, pc - place->bias) : SIZE_MAX;
    return i == SIZE_MAX ? 0 : m->symtab.list[i].start + place->bias;
}

// A coroutine was made to return to the first byte of what ends it (__start_context of libc). A call
// never returns there: the byte before it belongs to the function that calls.
static bool is_bottom(struct step *st, const struct spy_place *place,
                      const struct spy_native_module *m, const struct spy_native_frame *f)
{
    return st->is_call && find_unwind_row(st, m, f->address - place->bias);
}

static bool step_up(struct step *st, struct spy_place *place, struct spy_native_frame *f)
{
    if (st->is_held && place && !place->tried)
        return fail_step(st, SPY_NATIVE_LOST);
    struct spy_native_module *m = place ? spy_place_module(&st->n->places, place) : NULL;
    const struct known_row *known = m ? find_unwind_row(st, m, f->call - place->bias) : NULL;
    if (m && !known && is_bottom(st, place, m, f)) {
        f->call = f->address;
        return fail_step(st, SPY_NATIVE_OUTERMOST);
    }
    f->is_signal = known && known->row.is_signal;
    f->by_frame_pointer = !known;
    if (!known && !place && !st->is_innermost)
        return fail_step(st, SPY_NATIVE_LOST);
    if (known)
        return step_by_row(st, &m->cfi[known->table], &known->row, &f->stack);
    if (m && step_by_code(st, place, m, f->address, &f->stack))
        return true;
    if ((f->is_signal = step_by_signal_code(st, &f->stack)))
        return true;
    if (!st->is_innermost && is_at_bottom(st))
        return fail_step(st, SPY_NATIVE_OUTERMOST);
    st->is_guess = true;
    return step_by_frame_pointer(st, start_of_function(place, m, f->call), &f->stack);
}

// --- all steps ---

// frames: NULL: they are not wanted. Sets st->end; *ret_unknown: the stack leads to memory that was
// not executable when the maps were read.
static size_t walk_up(struct step *st, struct spy_native_frame *frames, size_t max,
                      bool *ret_unknown)
{
    struct spy_native_frame unused;
    *ret_unknown = false;
    st->is_innermost = true;
    for (size_t i = 0; i < max; i++, st->is_innermost = false) {
        struct spy_native_frame *f = frames ? &frames[i] : &unused;
        uint64_t pc = st->regs.r[SPY_REG_PC];
        *f = (struct spy_native_frame){.address = pc, .call = pc - st->is_call};
        struct spy_place *place = spy_places_find(&st->n->places, f->call);
        if (!place) {
            *ret_unknown |= pc != 0;
            if (i) { // the way here was wrong, or the end: a return address of 0
                st->end = pc ? SPY_NATIVE_LOST : SPY_NATIVE_OUTERMOST;
                return i;
            }
        }
        if (!step_up(st, place, f))
            return i + 1;
    }
    st->end = SPY_NATIVE_FULL;
    return max;
}

static struct step first_step(struct spy_native *n, const struct spy_native_snapshot *s)
{
    return (struct step){.n = n, .s = s, .regs = s->regs};
}

// --- capture ---

static struct need *need_of(struct spy_native *n, pid_t tid)
{
    return &n->needs[(unsigned)tid % THREADS];
}

// Walks up as far as the copy goes, and copies where the stack continues.
static void copy_other_pieces(struct spy_native *n, struct spy_native_snapshot *s)
{
    for (int i = 0; n->places.loaded_ns && i < SPY_NATIVE_PIECES_MAX; i++) {
        struct step st = first_step(n, s);
        bool unknown;
        st.is_held = true;
        st.misses = MISSES_MAX - HELD_MISSES;
        walk_up(&st, NULL, HELD_FRAMES_MAX, &unknown);
        if (!st.missing || !spy_snapshot_add_piece(s, n->places.target, st.missing))
            return;
    }
}

int spy_native_capture(struct spy_native *n, pid_t tid, struct spy_native_snapshot *s)
{
    struct need *need = need_of(n, tid);
    size_t want = need->bytes ? need->bytes : SPY_NATIVE_STACK_USUAL;
    int r = spy_snapshot_take(s, n->places.target, tid, want, need->end);
    if (r == 0 && s->len < want)
        need->end = s->regs.r[SPY_REG_SP] + s->len;
    if (r == 0 && need->is_split)
        copy_other_pieces(n, s);
    return r;
}

// --- unwind ---

// The next capture copies twice as much after a stack that was cut; else what this one needed and a
// page or two, approached slowly from above.
static void learn_need(struct step *st, const struct spy_native_frame *outermost)
{
    const struct spy_native_snapshot *s = st->s;
    struct need *need = need_of(st->n, s->tid);
    uint64_t start = s->regs.r[SPY_REG_SP];
    size_t used = outermost->stack > start ? outermost->stack - start : 0;
    size_t wanted = spy_min(s->len, SPY_NATIVE_STACK_MAX);
    if (st->end == SPY_NATIVE_CUT)
        wanted = 2 * wanted;
    else if (st->end == SPY_NATIVE_OUTERMOST && used + SPY_NATIVE_STACK_USUAL / 2 < wanted)
        wanted -= wanted / 64;
    if (wanted < SPY_NATIVE_STACK_USUAL)
        wanted = SPY_NATIVE_STACK_USUAL;
    need->bytes = (uint32_t)spy_min(wanted, SPY_NATIVE_STACK_MAX);
    need->is_split = st->missing || s->n_more;
    if (st->end != SPY_NATIVE_OUTERMOST)
        need->end = 0; // it may be another one
}

int spy_native_unwind(struct spy_native *n, const struct spy_native_snapshot *s,
                      struct spy_native_frame *frames, size_t max, enum spy_native_end *ret_end)
{
    struct step st = first_step(n, s);
    bool unknown = false;
    fetch_rows(n);
    int r = spy_places_renew(&n->places, SPY_PLACES_AGE_NS);
    if (r < 0 && !n->places.loaded_ns) // a target that has just ended is still mapped as it was
        return r;
    max = spy_min(max, SPY_NATIVE_FRAMES_MAX);
    st.end = SPY_NATIVE_FULL;
    size_t got = max ? walk_up(&st, frames, max, &unknown) : 0;
    if (unknown && spy_places_renew(&n->places, SPY_PLACES_PAUSE_NS) == 1) {
        st = first_step(n, s);
        got = walk_up(&st, frames, max, &unknown);
    }
    if (got)
        learn_need(&st, &frames[got > 1 ? got - 2 : 0]);
    *ret_end = st.end;
    return (int)got;
}

// --- names ---

uint32_t spy_native_changes(const struct spy_native *n)
{
    return n->places.changes;
}

static void name_made_code(struct spy_native *n, uint64_t address, struct spy_native_symbol *ret)
{
    ret->name = spy_perf_map_find(&n->perf_map, address);
    if (!ret->name && spy_perf_map_renew(&n->perf_map, n->places.target))
        ret->name = spy_perf_map_find(&n->perf_map, address);
    ret->is_wrapper = ret->name && !strncmp(ret->name, "py::", 4);
}

static void name_source(struct spy_native *n, const char *raw, struct spy_native_symbol *ret)
{
    struct spy_cython_name cython;
    if (!spy_cython_parse(raw, SPY_SYMTAB_NAME_MAX, &cython))
        return;
    snprintf(n->source, sizeof n->source, "%.*s.pyx", (int)cython.module_len, cython.module);
    ret->source = n->source;
    ret->is_wrapper = cython.is_wrapper;
}

int spy_native_symbol(struct spy_native *n, uint64_t address, struct spy_native_symbol *ret)
{
    struct spy_place *place = spy_places_find(&n->places, address);
    if (!place)
        return SPY_ERR_NOTFOUND;
    struct spy_native_module *m = spy_place_module(&n->places, place);
    *ret = (struct spy_native_symbol){.module = spy_maps_path(&n->places.maps, place->mapping)};
    if (!m) {
        name_made_code(n, address, ret);
        return 0;
    }
    ret->file_address = address - place->bias;
    memcpy(ret->build_id, m->build_id, m->build_id_len);
    ret->build_id_len = m->build_id_len;
    size_t i = spy_symtab_find(&m->symtab, ret->file_address);
    if (i != SIZE_MAX) {
        ret->name = spy_symtab_name(&m->symtab, i);
        name_source(n, spy_symtab_raw_name(&m->symtab, i), ret);
        ret->offset = ret->file_address - m->symtab.list[i].start;
    }
    return 0;
}

size_t spy_native_lines(struct spy_native *n, uint64_t address,
                        struct spy_native_line ret[SPY_NATIVE_LINES_MAX])
{
    struct spy_debug_line lines[SPY_DEBUG_LINES_MAX];
    _Static_assert((int)SPY_DEBUG_LINES_MAX == (int)SPY_NATIVE_LINES_MAX, "one each");
    struct spy_place *place = spy_places_find(&n->places, address);
    struct spy_debug_info *info = place ? spy_place_debug_info(&n->places, place) : NULL;
    size_t got = info ? spy_debug_info_find(info, address - place->bias, lines) : 0;
    for (size_t i = 0; i < got; i++)
        ret[i] = (struct spy_native_line){lines[i].function, lines[i].file, lines[i].line};
    return got;
}

size_t spy_native_inlined(struct spy_native *n, uint64_t address,
                          const char *ret[SPY_NATIVE_LINES_MAX])
{
    struct spy_place *place = spy_places_find(&n->places, address);
    struct spy_debug_info *info = place ? spy_place_debug_info(&n->places, place) : NULL;
    return info ? spy_debug_info_inlined(info, address - place->bias, ret) : 0;
}
