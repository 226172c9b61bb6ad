#include "agent/native/cfi.h"
#include "agent/native/cursor.h"

enum { STACK_MAX = 64, OPS_MAX = 1000 };

// Opcodes of DWARF 5, section 7.7.1.
enum {
    OP_ADDR = 0x03,
    OP_DEREF = 0x06,
    OP_CONST1U = 0x08,
    OP_CONST1S,
    OP_CONST2U,
    OP_CONST2S,
    OP_CONST4U,
    OP_CONST4S,
    OP_CONST8U,
    OP_CONST8S,
    OP_CONSTU,
    OP_CONSTS,
    OP_DUP,
    OP_DROP,
    OP_OVER,
    OP_PICK,
    OP_SWAP,
    OP_ROT,
    OP_ABS = 0x19,
    OP_AND,
    OP_DIV,
    OP_MINUS,
    OP_MOD,
    OP_MUL,
    OP_NEG,
    OP_NOT,
    OP_OR,
    OP_PLUS,
    OP_PLUS_UCONST,
    OP_SHL,
    OP_SHR,
    OP_SHRA,
    OP_XOR,
    OP_BRA,
    OP_EQ,
    OP_GE,
    OP_GT,
    OP_LE,
    OP_LT,
    OP_NE,
    OP_SKIP,
    OP_LIT0,
    OP_REG0 = OP_LIT0 + 32,
    OP_BREG0 = OP_REG0 + 32,
    OP_BREGX = 0x92,
    OP_DEREF_SIZE = 0x94,
    OP_NOP = 0x96,
};

struct machine {
    struct spy_cursor code;
    const uint8_t *start;
    uint64_t stack[STACK_MAX];
    size_t depth;
    const struct spy_native_regs *regs;
    spy_cfi_reader *read;
    const void *context;
    bool failed;
};

static void push_value(struct machine *m, uint64_t value)
{
    if (m->depth == STACK_MAX)
        m->failed = true;
    else
        m->stack[m->depth++] = value;
}

static uint64_t pop_value(struct machine *m)
{
    if (m->depth)
        return m->stack[--m->depth];
    m->failed = true;
    return 0;
}

// The value that lies `below` others.
static void pick_value(struct machine *m, size_t below)
{
    if (below < m->depth)
        push_value(m, m->stack[m->depth - 1 - below]);
    else
        m->failed = true;
}

static void read_memory_at(struct machine *m, size_t size)
{
    uint64_t value = 0;
    if (!size || size > 8 || m->read(m->context, pop_value(m), &value) < 0) {
        m->failed = true;
        return;
    }
    push_value(m, size == 8 ? value : value & (((uint64_t)1 << (8 * size)) - 1));
}

static void push_register(struct machine *m, uint64_t number, int64_t offset)
{
    if (number < SPY_N_REGS)
        push_value(m, m->regs->r[number] + (uint64_t)offset);
    else
        m->failed = true;
}

static void jump_by(struct machine *m, int64_t distance)
{
    int64_t to = (m->code.at - m->start) + distance;
    if (to < 0 || to > m->code.end - m->start)
        m->failed = true;
    else
        m->code.at = m->start + to;
}

static void rotate_three(struct machine *m)
{
    uint64_t a = pop_value(m), b = pop_value(m), c = pop_value(m);
    push_value(m, a);
    push_value(m, c);
    push_value(m, b);
}

static bool compute_unary(struct machine *m, uint8_t op)
{
    uint64_t a;
    switch (op) {
    case OP_ABS:
        a = pop_value(m);
        push_value(m, (int64_t)a < 0 ? 0 - a : a);
        return true;
    case OP_NEG:
        push_value(m, 0 - pop_value(m));
        return true;
    case OP_NOT:
        push_value(m, ~pop_value(m));
        return true;
    case OP_PLUS_UCONST:
        a = pop_value(m);
        push_value(m, a + spy_cursor_uleb(&m->code));
        return true;
    default:
        return false;
    }
}

// -1 / INT64_MIN does not fit; a division by 0 has no result.
static uint64_t divide_values(struct machine *m, int64_t a, int64_t b)
{
    if (!b || (b == -1 && a == INT64_MIN)) {
        m->failed = true;
        return 0;
    }
    return (uint64_t)(a / b);
}

static bool compute_binary(struct machine *m, uint8_t op)
{
    if (!(op == OP_AND || (op >= OP_DIV && op <= OP_MUL) || op == OP_OR || op == OP_PLUS ||
          (op >= OP_SHL && op <= OP_XOR) || (op >= OP_EQ && op <= OP_NE)))
        return false;
    uint64_t b = pop_value(m), a = pop_value(m), value = 0;
    int64_t sa = (int64_t)a, sb = (int64_t)b;
    switch (op) {
    case OP_AND:
        value = a & b;
        break;
    case OP_DIV:
        value = divide_values(m, sa, sb);
        break;
    case OP_MINUS:
        value = a - b;
        break;
    case OP_MOD:
        m->failed |= !b;
        value = b ? a % b : 0;
        break;
    case OP_MUL:
        value = a * b;
        break;
    case OP_OR:
        value = a | b;
        break;
    case OP_PLUS:
        value = a + b;
        break;
    case OP_SHL:
        value = b < 64 ? a << b : 0;
        break;
    case OP_SHR:
        value = b < 64 ? a >> b : 0;
        break;
    case OP_SHRA:
        value = (uint64_t)(sa >> (b < 63 ? b : 63));
        break;
    case OP_XOR:
        value = a ^ b;
        break;
    case OP_EQ:
        value = a == b;
        break;
    case OP_GE:
        value = sa >= sb;
        break;
    case OP_GT:
        value = sa > sb;
        break;
    case OP_LE:
        value = sa <= sb;
        break;
    case OP_LT:
        value = sa < sb;
        break;
    case OP_NE:
        value = a != b;
        break;
    }
    push_value(m, value);
    return true;
}

static bool push_constant(struct machine *m, uint8_t op)
{
    if (op >= OP_LIT0 && op < OP_REG0) {
        push_value(m, (uint64_t)(op - OP_LIT0));
    } else if (op >= OP_BREG0 && op < OP_BREG0 + 32) {
        push_register(m, (uint64_t)(op - OP_BREG0), spy_cursor_sleb(&m->code));
    } else if (op >= OP_CONST1U && op <= OP_CONST8S) {
        size_t size = (size_t)1 << ((op - OP_CONST1U) / 2);
        bool is_signed = (op - OP_CONST1U) % 2;
        push_value(m, is_signed ? (uint64_t)spy_cursor_signed(&m->code, size)
                                : spy_cursor_number(&m->code, size));
    } else if (op == OP_CONSTU) {
        push_value(m, spy_cursor_uleb(&m->code));
    } else if (op == OP_CONSTS) {
        push_value(m, (uint64_t)spy_cursor_sleb(&m->code));
    } else {
        return false;
    }
    return true;
}

static void run_operation(struct machine *m, uint8_t op)
{
    uint64_t number;
    int64_t distance;
    if (push_constant(m, op) || compute_unary(m, op) || compute_binary(m, op))
        return;
    switch (op) {
    case OP_DEREF:
        read_memory_at(m, 8);
        return;
    case OP_DEREF_SIZE:
        read_memory_at(m, spy_cursor_byte(&m->code));
        return;
    case OP_DUP:
        pick_value(m, 0);
        return;
    case OP_DROP:
        pop_value(m);
        return;
    case OP_OVER:
        pick_value(m, 1);
        return;
    case OP_PICK:
        pick_value(m, spy_cursor_byte(&m->code));
        return;
    case OP_SWAP:
        pick_value(m, 1);
        if (!m->failed) {
            m->stack[m->depth - 3] = m->stack[m->depth - 2];
            m->stack[m->depth - 2] = m->stack[m->depth - 1];
            m->depth--;
        }
        return;
    case OP_ROT:
        rotate_three(m);
        return;
    case OP_BREGX:
        number = spy_cursor_uleb(&m->code);
        push_register(m, number, spy_cursor_sleb(&m->code));
        return;
    case OP_SKIP:
        jump_by(m, spy_cursor_signed(&m->code, 2));
        return;
    case OP_BRA:
        distance = spy_cursor_signed(&m->code, 2);
        if (pop_value(m))
            jump_by(m, distance);
        return;
    case OP_NOP:
        return;
    default:
        m->failed = true; // OP_ADDR too: an address that was relocated is not in the file
    }
}

int spy_cfi_evaluate(const struct spy_cfi *c, int32_t place, const struct spy_native_regs *regs,
                     const uint64_t *cfa, spy_cfi_reader *read, const void *context, uint64_t *ret)
{
    if (place < 0 || (size_t)place >= c->len)
        return SPY_ERR_UNSUPPORTED;
    struct machine m = {.code = {c->bytes + place, c->bytes + c->len, false},
                        .regs = regs,
                        .read = read,
                        .context = context};
    uint64_t len = spy_cursor_uleb(&m.code);
    if (len > spy_cursor_left(&m.code))
        return SPY_ERR_UNSUPPORTED;
    m.start = m.code.at;
    m.code.end = m.code.at + len;
    if (cfa)
        push_value(&m, *cfa);
    for (int i = 0; m.code.at < m.code.end; i++) {
        if (i == OPS_MAX)
            return SPY_ERR_UNSUPPORTED;
        run_operation(&m, spy_cursor_byte(&m.code));
        if (m.failed || m.code.bad)
            return SPY_ERR_UNSUPPORTED;
    }
    if (!m.depth)
        return SPY_ERR_UNSUPPORTED;
    *ret = m.stack[m.depth - 1];
    return 0;
}
