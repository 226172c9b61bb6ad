#include "agent/native/code.h"
#include "agent/native/cursor.h"
#include "shared/base/mem.h"
#include <string.h>

#if defined(__x86_64__)

enum { INSTRUCTION_MAX = 15, CHUNK = 256, FORKS_MAX = 16 };

// An instruction, taken apart (Intel SDM, volume 2, chapter 2).
struct instruction {
    size_t len;
    uint8_t map; // 0: one byte; 1: 0f; 2: 0f 38; 3: 0f 3a
    uint8_t opcode, modrm, sib;
    bool has_modrm, wide, rex_r, rex_b, has_operand_size, is_vector;
    int32_t displacement;
    int32_t immediate;
};

// --- length ---

static bool is_legacy_prefix(uint8_t b)
{
    return b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 || b == 0x2e ||
           b == 0x36 || b == 0x3e || b == 0x26 || b == 0x64 || b == 0x65;
}

static void take_prefixes(struct spy_cursor *c, struct instruction *in)
{
    while (spy_cursor_left(c) && is_legacy_prefix(*c->at))
        in->has_operand_size |= spy_cursor_byte(c) == 0x66;
    if (spy_cursor_left(c) && (*c->at & 0xf0) == 0x40) {
        uint8_t rex = spy_cursor_byte(c);
        in->wide = rex & 8;
        in->rex_r = rex & 4;
        in->rex_b = rex & 1;
    }
}

// Behind 0f, or what VEX (c4, c5) and EVEX (62) say in its place.
static void take_opcode(struct spy_cursor *c, struct instruction *in)
{
    in->opcode = spy_cursor_byte(c);
    if (in->opcode == 0xc5) {
        spy_cursor_skip(c, 1);
        in->map = 1;
    } else if (in->opcode == 0xc4 || in->opcode == 0x62) {
        bool is_evex = in->opcode == 0x62;
        in->map = spy_cursor_byte(c) & (is_evex ? 7 : 31);
        spy_cursor_skip(c, is_evex ? 2 : 1);
    } else if (in->opcode == 0x0f) {
        in->opcode = spy_cursor_byte(c);
        in->map = in->opcode == 0x38 ? 2 : in->opcode == 0x3a ? 3 : 1;
        if (in->map > 1)
            in->opcode = spy_cursor_byte(c);
        return;
    } else {
        return;
    }
    in->is_vector = true;
    in->opcode = spy_cursor_byte(c);
}

static bool is_between(uint8_t op, uint8_t first, uint8_t last)
{
    return op >= first && op <= last;
}

static bool has_modrm_byte(const struct instruction *in)
{
    uint8_t op = in->opcode;
    if (in->map >= 2)
        return true;
    if (in->map == 1)
        return !(is_between(op, 0x05, 0x09) || op == 0x0b || is_between(op, 0x30, 0x37) ||
                 op == 0x77 || is_between(op, 0x80, 0x8f) || is_between(op, 0xa0, 0xa2) ||
                 is_between(op, 0xa8, 0xaa) || is_between(op, 0xc8, 0xcf));
    if (op < 0x40)
        return (op & 7) < 4;
    return op == 0x63 || op == 0x69 || op == 0x6b || is_between(op, 0x80, 0x8f) ||
           is_between(op, 0xc0, 0xc1) || is_between(op, 0xc6, 0xc7) || is_between(op, 0xd0, 0xd3) ||
           is_between(op, 0xd8, 0xdf) || is_between(op, 0xf6, 0xf7) || op >= 0xfe;
}

static size_t immediate_of_one_byte(const struct instruction *in)
{
    uint8_t op = in->opcode;
    size_t word = in->has_operand_size ? 2 : 4;
    bool is_test = !(in->modrm & 0x30);
    if (op < 0x40)
        return (op & 7) == 4 ? 1 : (op & 7) == 5 ? word : 0;
    if (op == 0xe8 || op == 0xe9)
        return 4;
    if (op == 0x68 || op == 0x69 || op == 0x81 || op == 0xa9 || op == 0xc7 ||
        (op == 0xf7 && is_test))
        return word;
    if (is_between(op, 0xb8, 0xbf))
        return in->wide ? 8 : word;
    if (is_between(op, 0xa0, 0xa3))
        return 8;
    if (op == 0xc2 || op == 0xca)
        return 2;
    if (op == 0xc8)
        return 3;
    return op == 0x6a || op == 0x6b || is_between(op, 0x70, 0x7f) || op == 0x80 || op == 0x83 ||
           op == 0xa8 || is_between(op, 0xb0, 0xb7) || is_between(op, 0xc0, 0xc1) || op == 0xc6 ||
           op == 0xcd || is_between(op, 0xe0, 0xe7) || op == 0xeb || (op == 0xf6 && is_test);
}

static size_t immediate_size(const struct instruction *in)
{
    uint8_t op = in->opcode;
    if (in->map == 0)
        return immediate_of_one_byte(in);
    if (in->map == 1 && !in->is_vector && is_between(op, 0x80, 0x8f))
        return 4;
    return in->map == 3 ||
           (in->map == 1 && (is_between(op, 0x70, 0x73) || op == 0xa4 || op == 0xac || op == 0xba ||
                             op == 0xc2 || is_between(op, 0xc4, 0xc6)));
}

static void take_modrm(struct spy_cursor *c, struct instruction *in)
{
    in->modrm = spy_cursor_byte(c);
    in->has_modrm = true;
    uint8_t mod = in->modrm >> 6, rm = in->modrm & 7;
    if (mod == 3)
        return;
    if (rm == 4)
        in->sib = spy_cursor_byte(c);
    if (mod == 1)
        in->displacement = (int32_t)spy_cursor_signed(c, 1);
    else if (mod == 2 || rm == 5 || (rm == 4 && (in->sib & 7) == 5))
        in->displacement = (int32_t)spy_cursor_signed(c, 4);
}

static bool take_instruction(const uint8_t *code, size_t len, struct instruction *ret)
{
    struct spy_cursor c = {code, code + spy_min(len, INSTRUCTION_MAX), false};
    *ret = (struct instruction){0};
    take_prefixes(&c, ret);
    take_opcode(&c, ret);
    if (ret->map > 3)
        return false;
    if (has_modrm_byte(ret))
        take_modrm(&c, ret);
    size_t size = immediate_size(ret);
    if (size == 1 || size == 4)
        ret->immediate = (int32_t)spy_cursor_signed(&c, size);
    else
        spy_cursor_skip(&c, size);
    ret->len = (size_t)(c.at - code);
    return !c.bad;
}

size_t spy_code_length(const uint8_t *code, size_t len)
{
    struct instruction in;
    return take_instruction(code, len, &in) ? in.len : 0;
}

// --- effects ---

enum base { NOT_KNOWN, FIRST_SP, FIRST_FP };

// A value as a register of the beginning and a distance.
struct place {
    enum base base;
    int32_t distance;
};

struct way {
    uint64_t at;
    struct place sp, fp;
    struct place saved[16]; // where a register was popped from; not known: it was not
    bool was_call;
};

struct code_walk {
    const struct spy_target *target;
    uint64_t limit;
    struct way way, forks[FORKS_MAX];
    size_t n_forks;
    struct way doubtful; // tried last, once
    bool has_doubtful, was_doubtful;
    uint64_t chunk_at;
    size_t chunk_len;
    uint8_t chunk[CHUNK];
};

enum outcome { WALK_ON, WALK_RETURNS, WALK_DEAD };

static bool read_instruction(struct code_walk *w, struct instruction *ret)
{
    uint64_t skip = w->way.at - w->chunk_at;
    if (skip >= w->chunk_len || w->chunk_len - skip < INSTRUCTION_MAX) {
        w->chunk_at = w->way.at;
        w->chunk_len = CHUNK;
        while (w->chunk_len && spy_target_read(w->target, w->chunk_at, w->chunk, w->chunk_len) < 0)
            w->chunk_len /= 2; // the mapping ends
        skip = 0;
    }
    return take_instruction(w->chunk + skip, w->chunk_len - skip, ret);
}

static void pop_register(struct way *w, unsigned number)
{
    // What was pushed on the way is still in the register.
    bool was_there = w->sp.base == FIRST_FP || w->sp.distance >= 0;
    w->saved[number] = was_there ? w->sp : (struct place){0};
    if (number == 5)
        w->fp = (struct place){0};
    w->sp.distance += 8;
}

static enum outcome leave_frame(struct way *w)
{
    if (w->fp.base == NOT_KNOWN)
        return WALK_DEAD;
    w->sp = w->fp;
    pop_register(w, 5);
    return WALK_ON;
}

// add, sub and others of a number to the stack pointer. Registers by their numbers in instructions:
// 4 the stack pointer, 5 the frame pointer.
static enum outcome run_arithmetic(const struct instruction *in, struct way *w)
{
    unsigned operation = (in->modrm >> 3) & 7;
    if ((in->modrm >> 6) != 3 || (in->modrm & 7) != 4 || in->rex_b || operation == 7)
        return WALK_ON;
    if (operation != 0 && operation != 5)
        return WALK_DEAD;
    w->sp.distance += operation == 0 ? in->immediate : -in->immediate;
    return WALK_ON;
}

static struct place *tracked_place(struct way *w, unsigned number)
{
    return number == 4 ? &w->sp : number == 5 ? &w->fp : NULL;
}

static enum outcome set_register(struct way *w, unsigned to, struct place value)
{
    struct place *place = tracked_place(w, to);
    if (place)
        *place = value;
    return w->sp.base == NOT_KNOWN ? WALK_DEAD : WALK_ON;
}

static enum outcome run_move(const struct instruction *in, struct way *w)
{
    unsigned reg = ((in->modrm >> 3) & 7) | (in->rex_r ? 8 : 0);
    unsigned rm = (in->modrm & 7) | (in->rex_b ? 8 : 0);
    bool is_register = (in->modrm >> 6) == 3;
    if (in->opcode == 0x89 && !is_register)
        return WALK_ON;
    unsigned from = in->opcode == 0x89 ? reg : rm, to = in->opcode == 0x89 ? rm : reg;
    struct place *source = is_register ? tracked_place(w, from) : NULL;
    return set_register(w, to, source ? *source : (struct place){0});
}

// lea: of the stack pointer (in a SIB byte without index) or the frame pointer.
static enum outcome run_address(const struct instruction *in, struct way *w)
{
    unsigned to = ((in->modrm >> 3) & 7) | (in->rex_r ? 8 : 0), rm = in->modrm & 7;
    struct place value = {0};
    if (rm == 4 && in->sib == 0x24 && !in->rex_b)
        value = w->sp;
    else if (rm == 5 && (in->modrm >> 6) && !in->rex_b)
        value = w->fp;
    value.distance += in->displacement;
    return set_register(w, to, value.base ? value : (struct place){0});
}

static enum outcome fork_way(struct code_walk *w, int32_t distance)
{
    if (w->n_forks < FORKS_MAX) {
        w->forks[w->n_forks] = w->way;
        w->forks[w->n_forks++].at += (uint64_t)(int64_t)distance;
    }
    return WALK_ON;
}

// Through a table of addresses in memory (PLT), or in a register at the end of a function: what is
// there returns for this function. It may also be a switch, so other ways are tried before.
static enum outcome run_far_jump(const struct code_walk *w, const struct instruction *in)
{
    bool is_last = (in->modrm >> 6) == 3 && !w->n_forks;
    return in->modrm == 0x25 || is_last ? WALK_RETURNS : WALK_DEAD;
}

// ff: calls, jumps and pushes.
static enum outcome run_group_5(struct code_walk *w, const struct instruction *in)
{
    switch ((in->modrm >> 3) & 7) {
    case 2:
        w->way.was_call = true;
        return WALK_ON;
    case 4:
        return run_far_jump(w, in);
    case 6:
        w->way.sp.distance -= 8;
        return WALK_ON;
    default:
        return WALK_ON;
    }
}

static enum outcome run_other_byte(struct code_walk *w, const struct instruction *in)
{
    switch (in->opcode) {
    case 0x68: // push, pushf; popf, pop to memory
    case 0x6a:
    case 0x9c:
        w->way.sp.distance -= 8;
        return WALK_ON;
    case 0x9d:
    case 0x8f:
        w->way.sp.distance += 8;
        return WALK_ON;
    case 0x81:
    case 0x83:
        return run_arithmetic(in, &w->way);
    case 0x89:
    case 0x8b:
        return run_move(in, &w->way);
    case 0x8d:
        return run_address(in, &w->way);
    case 0xc9:
        return leave_frame(&w->way);
    case 0xff:
        return run_group_5(w, in);
    case 0xc2: // ret
    case 0xc3:
        return WALK_RETURNS;
    case 0xcc: // int3, hlt
    case 0xf4:
        return WALK_DEAD;
    case 0xe8:
        w->way.was_call = true;
        return WALK_ON;
    case 0xe9: // jmp
    case 0xeb:
        w->way.at += (uint64_t)(int64_t)in->immediate;
        return WALK_ON;
    default:
        return is_between(in->opcode, 0x70, 0x7f) || is_between(in->opcode, 0xe0, 0xe3)
                   ? fork_way(w, in->immediate)
                   : WALK_ON;
    }
}

static bool is_nop(const struct instruction *in)
{
    return (in->map == 0 && in->opcode == 0x90) || (in->map == 1 && in->opcode == 0x1f);
}

// The way is at the next instruction already.
static enum outcome run_code(struct code_walk *w, const struct instruction *in)
{
    if (in->map == 0 && is_between(in->opcode, 0x50, 0x57)) {
        w->way.sp.distance -= 8;
        return WALK_ON;
    }
    if (in->map == 0 && is_between(in->opcode, 0x58, 0x5f)) {
        pop_register(&w->way, (in->opcode & 7) | (in->rex_b ? 8 : 0));
        return WALK_ON;
    }
    if (in->map == 0)
        return run_other_byte(w, in);
    if (in->map == 1 && !in->is_vector && is_between(in->opcode, 0x80, 0x8f))
        return fork_way(w, in->immediate);
    return in->map == 1 && !in->is_vector && in->opcode == 0x0b ? WALK_DEAD : WALK_ON; // ud2
}

// Padding behind a call stands before a loop, or before another function if the call does not return.
static bool is_doubtful(struct code_walk *w, const struct instruction *in)
{
    if (!w->way.was_call || !is_nop(in) || w->was_doubtful)
        return false;
    w->doubtful = w->way;
    w->has_doubtful = true;
    return true;
}

static bool take_fork(struct code_walk *w)
{
    if (w->n_forks) {
        w->way = w->forks[--w->n_forks];
        return true;
    }
    if (!w->has_doubtful || w->was_doubtful)
        return false;
    w->way = w->doubtful;
    w->was_doubtful = true;
    return true;
}

static enum outcome walk_one(struct code_walk *w)
{
    struct instruction in;
    if (!read_instruction(w, &in) || is_doubtful(w, &in))
        return WALK_DEAD;
    uint64_t next = w->way.at + in.len;
    if (w->way.at < w->limit && next > w->limit)
        return WALK_DEAD;
    w->way.was_call = false;
    w->way.at = next;
    enum outcome outcome = run_code(w, &in);
    return outcome == WALK_ON && w->way.was_call && next == w->limit ? WALK_DEAD : outcome;
}

// --- the row ---

static unsigned dwarf_number(unsigned number)
{
    static const uint8_t numbers[] = {0, 2, 1, 3, 7, 6, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15};
    return numbers[number];
}

static void set_row_rule(struct spy_cfi_row *row, unsigned number, int32_t value)
{
    row->kinds[number] = SPY_CFI_AT_CFA;
    row->values[number] = value;
    row->has |= (uint64_t)1 << number;
}

// What was popped by another base than the return address is left out.
static void make_row(const struct way *w, struct spy_cfi_row *ret)
{
    *ret = (struct spy_cfi_row){.return_register = SPY_REG_PC};
    ret->cfa_register = w->sp.base == FIRST_SP ? SPY_REG_SP : SPY_REG_FP;
    ret->cfa_value = (w->sp.distance > 0 ? w->sp.distance : 0) + 8; // a PLT pushes for its resolver
    set_row_rule(ret, SPY_REG_PC, -8);
    for (unsigned i = 0; i < SPY_COUNT(w->saved); i++)
        if (w->saved[i].base == w->sp.base)
            set_row_rule(ret, dwarf_number(i), w->saved[i].distance - ret->cfa_value);
}

int spy_code_row(const struct spy_target *t, uint64_t pc, uint64_t limit, struct spy_cfi_row *ret)
{
    struct code_walk w = {.target = t, .limit = limit > pc ? limit : UINT64_MAX};
    w.way = (struct way){.at = pc, .sp = {FIRST_SP, 0}, .fp = {FIRST_FP, 0}};
    enum outcome outcome = WALK_ON;
    for (int i = 0, since = 0; i < SPY_CODE_STEPS_MAX; i++, since++) {
        outcome = since < SPY_CODE_STEPS_MAX / 8 ? walk_one(&w) : WALK_DEAD;
        if (outcome == WALK_RETURNS || (outcome == WALK_DEAD && !take_fork(&w)))
            break;
        if (outcome == WALK_DEAD)
            since = 0;
    }
    if (outcome != WALK_RETURNS)
        return SPY_ERR_NOTFOUND;
    make_row(&w.way, ret);
    return 0;
}

#else

int spy_code_row(const struct spy_target *t, uint64_t pc, uint64_t limit, struct spy_cfi_row *ret)
{
    (void)t;
    (void)pc;
    (void)limit;
    (void)ret;
    return SPY_ERR_NOTFOUND;
}

size_t spy_code_length(const uint8_t *code, size_t len)
{
    (void)code;
    (void)len;
    return 0;
}

#endif
