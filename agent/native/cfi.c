#include "agent/native/cfi.h"
#include "agent/native/cursor.h"
#include "agent/native/section.h"
#include "shared/base/mem.h"
#include <stdlib.h>

enum { FUNCTIONS_MAX = 4 << 20, AUGMENTATION_MAX = 16, REMEMBERED_MAX = 8 };

// Encodings of pointers (LSB 5.0, section 10.5).
enum { ENC_FORMAT = 0x0f, ENC_RELATIVE = 0x70, ENC_PC_RELATIVE = 0x10, ENC_OMIT = 0xff };

struct cie {
    struct spy_cursor program;
    uint64_t code_align;
    int64_t data_align;
    uint64_t return_register;
    uint8_t encoding; // of addresses in its FDEs
    bool has_data;    // its FDEs have augmentation data
    bool is_signal;
};

// One record of the section: its bytes behind the length.
struct record {
    struct spy_cursor body;
    bool is_cie;
    size_t cie_at; // SIZE_MAX: it makes no sense
};

static struct spy_cursor cursor_at(const struct spy_cfi *c, size_t at)
{
    return (struct spy_cursor){c->bytes + at, c->bytes + c->len, false};
}

static size_t offset_of_cursor(const struct spy_cfi *c, const struct spy_cursor *cu)
{
    return (size_t)(cu->at - c->bytes);
}

// The id of a record says where its CIE is: in .eh_frame how far before the id, 0 being a CIE itself;
// in .debug_frame from the section's start, all ones being a CIE.
static void take_id(const struct spy_cfi *c, size_t id_len, struct record *rec)
{
    size_t id_at = offset_of_cursor(c, &rec->body);
    if (c->is_debug_frame) {
        uint64_t id = spy_cursor_number(&rec->body, id_len);
        rec->is_cie = id == (id_len == 4 ? UINT32_MAX : UINT64_MAX);
        rec->cie_at = id < c->len ? id : SIZE_MAX;
    } else {
        uint64_t id = spy_cursor_number(&rec->body, 4);
        rec->is_cie = !id;
        rec->cie_at = id <= id_at ? id_at - id : SIZE_MAX;
    }
}

// The record at *at, which is moved behind it. A length of 0, which ends what one object file
// brought, is passed over. False: the section ends.
static bool take_record(const struct spy_cfi *c, size_t *at, struct record *ret)
{
    while (*at < c->len) {
        struct spy_cursor cu = cursor_at(c, *at);
        size_t id_len = 4;
        uint64_t len = spy_cursor_number(&cu, 4);
        if (len == UINT32_MAX) {
            len = spy_cursor_number(&cu, 8);
            id_len = 8;
        }
        if (cu.bad || len > spy_cursor_left(&cu))
            return false;
        *at = offset_of_cursor(c, &cu) + len;
        if (len < id_len)
            continue;
        cu.end = cu.at + len;
        ret->body = cu;
        take_id(c, id_len, ret);
        return true;
    }
    return false;
}

static uint64_t take_pointer(const struct spy_cfi *c, struct spy_cursor *cu, uint8_t encoding,
                             bool is_length)
{
    uint64_t here = c->vaddr + offset_of_cursor(c, cu), value;
    switch (encoding & ENC_FORMAT) {
    case 0x0: // a pointer
    case 0x4:
    case 0xc:
        value = spy_cursor_number(cu, 8);
        break;
    case 0x1:
        value = spy_cursor_uleb(cu);
        break;
    case 0x2:
        value = spy_cursor_number(cu, 2);
        break;
    case 0x3:
        value = spy_cursor_number(cu, 4);
        break;
    case 0x9:
        value = (uint64_t)spy_cursor_sleb(cu);
        break;
    case 0xa:
        value = (uint64_t)spy_cursor_signed(cu, 2);
        break;
    case 0xb:
        value = is_length ? spy_cursor_number(cu, 4) : (uint64_t)spy_cursor_signed(cu, 4);
        break;
    default:
        cu->bad = true;
        return 0;
    }
    if (is_length || !(encoding & ENC_RELATIVE))
        return value;
    if ((encoding & ENC_RELATIVE) != ENC_PC_RELATIVE)
        cu->bad = true;
    return value + here;
}

// What the letters of the augmentation say; each stands for a piece of data, in their order.
static void take_augmentation(const struct spy_cfi *c, struct spy_cursor *cu, const char *letters,
                              struct cie *ret)
{
    if (letters[0] != 'z') {
        cu->bad |= letters[0] != 0;
        return;
    }
    ret->has_data = true;
    uint64_t len = spy_cursor_uleb(cu);
    struct spy_cursor data = *cu;
    spy_cursor_skip(cu, len);
    data.end = cu->at;
    for (const char *l = letters + 1; *l && !data.bad; l++) {
        if (*l == 'R')
            ret->encoding = spy_cursor_byte(&data);
        else if (*l == 'L')
            spy_cursor_byte(&data);
        else if (*l == 'P')
            take_pointer(c, &data, spy_cursor_byte(&data) & ENC_FORMAT, true);
        else if (*l == 'S')
            ret->is_signal = true;
        else if (*l != 'B') // signed return addresses
            return;         // the rest is not known, and not needed
    }
    cu->bad |= data.bad;
}

static int read_cie(const struct spy_cfi *c, size_t at, struct cie *ret)
{
    struct record rec;
    char letters[AUGMENTATION_MAX] = {0};
    if (!take_record(c, &at, &rec) || !rec.is_cie)
        return SPY_ERR_UNSUPPORTED;
    struct spy_cursor *cu = &rec.body;
    uint8_t version = spy_cursor_byte(cu);
    for (size_t i = 0; (letters[i] = (char)spy_cursor_byte(cu)); i++)
        if (i == AUGMENTATION_MAX - 2)
            return SPY_ERR_UNSUPPORTED;
    *ret = (struct cie){0};
    if (version == 4 && (spy_cursor_byte(cu) != 8 || spy_cursor_byte(cu) != 0))
        return SPY_ERR_UNSUPPORTED; // the size of an address and of a segment
    ret->code_align = spy_cursor_uleb(cu);
    ret->data_align = spy_cursor_sleb(cu);
    ret->return_register = version == 1 ? spy_cursor_byte(cu) : spy_cursor_uleb(cu);
    take_augmentation(c, cu, letters, ret);
    ret->program = *cu;
    if (cu->bad || (version != 1 && version != 3 && version != 4) ||
        ret->return_register >= SPY_N_REGS)
        return SPY_ERR_UNSUPPORTED;
    return 0;
}

// --- the index ---

static int add_cfi_function(struct spy_cfi *c, uint64_t start, uint64_t size, size_t fde)
{
    if (!size || size > UINT32_MAX || start + size < start)
        return 0;
    int r = spy_grow(&c->functions, &c->cap_functions, c->n_functions + 1, sizeof *c->functions,
                     FUNCTIONS_MAX);
    if (r == 0)
        c->functions[c->n_functions++] =
            (struct spy_cfi_function){start, (uint32_t)size, (uint32_t)fde};
    return r;
}

static int compare_functions(const void *a, const void *b)
{
    const struct spy_cfi_function *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static void sort_functions(struct spy_cfi *c)
{
    for (size_t i = 1; i < c->n_functions; i++)
        if (c->functions[i].start < c->functions[i - 1].start) {
            qsort(c->functions, c->n_functions, sizeof *c->functions, compare_functions);
            return;
        }
}

static int index_functions(struct spy_cfi *c)
{
    struct record rec;
    struct cie cie = {0};
    size_t at = 0, cie_at = SIZE_MAX;
    int r = 0, known = SPY_ERR_UNSUPPORTED;
    for (size_t fde = 0; r == 0 && take_record(c, &at, &rec); fde = at) {
        if (rec.is_cie || rec.cie_at == SIZE_MAX)
            continue;
        if (rec.cie_at != cie_at) {
            cie_at = rec.cie_at;
            known = read_cie(c, cie_at, &cie);
        }
        if (known < 0)
            continue;
        uint64_t start = take_pointer(c, &rec.body, cie.encoding, false);
        uint64_t size = take_pointer(c, &rec.body, cie.encoding, true);
        if (!rec.body.bad)
            r = add_cfi_function(c, start, size, fde);
    }
    sort_functions(c);
    return r;
}

// Without section headers: from where PT_GNU_EH_FRAME says, to the end of the segment.
static int find_bytes(const struct spy_elf *e, Elf64_Shdr *ret)
{
    const Elf64_Shdr *s = spy_elf_section(e, ".eh_frame");
    if (s) {
        *ret = *s;
        return 0;
    }
    for (size_t i = 0; i < e->n_ph; i++) {
        uint8_t header[8];
        int32_t distance;
        if (e->ph[i].p_type != PT_GNU_EH_FRAME ||
            spy_elf_get(e, e->ph[i].p_offset, header, sizeof header) < 0 || header[0] != 1 ||
            header[1] != 0x1b) // pc-relative in four bytes, as linkers write it
            continue;
        memcpy(&distance, header + 4, sizeof distance);
        ret->sh_offset = e->ph[i].p_offset + 4 + (uint64_t)(int64_t)distance;
        ret->sh_addr = e->ph[i].p_vaddr + 4 + (uint64_t)(int64_t)distance;
        const Elf64_Phdr *load = spy_elf_segment(e, ret->sh_offset);
        if (!load || ret->sh_offset < load->p_offset)
            continue;
        ret->sh_size = load->p_offset + load->p_filesz - ret->sh_offset;
        return 0;
    }
    return SPY_ERR_NOTFOUND;
}

// Takes the bytes over, also on failure.
static int load_cfi_bytes(struct spy_cfi *c, struct spy_cfi *ret)
{
    int r = index_functions(c);
    if (r < 0)
        spy_cfi_done(c);
    else
        *ret = *c;
    return r;
}

// A function in the index takes no more than its record in the section, at least 16 bytes.
int spy_cfi_load(const struct spy_elf *e, size_t max_bytes, struct spy_cfi *ret)
{
    Elf64_Shdr place;
    struct spy_cfi c = {0};
    int r = find_bytes(e, &place);
    if (r == 0)
        r = spy_elf_load(e, place.sh_offset, place.sh_size,
                         spy_min(SPY_CFI_BYTES_MAX, max_bytes / 2), &c.bytes);
    if (r < 0)
        return r;
    c.len = place.sh_size;
    c.vaddr = place.sh_addr;
    return load_cfi_bytes(&c, ret);
}

int spy_cfi_load_debug(const struct spy_elf *e, size_t max_bytes, struct spy_cfi *ret)
{
    struct spy_cfi c = {.is_debug_frame = true};
    int r = spy_section_load(e, ".debug_frame", spy_min(SPY_CFI_BYTES_MAX, max_bytes / 2), &c.bytes,
                             &c.len);
    return r < 0 ? r : load_cfi_bytes(&c, ret);
}

size_t spy_cfi_bytes(const struct spy_cfi *c)
{
    return c->len + c->cap_functions * sizeof *c->functions;
}

void spy_cfi_done(struct spy_cfi *c)
{
    free(c->bytes);
    free(c->functions);
    *c = (struct spy_cfi){0};
}

// --- a row ---

// Instructions of DWARF 5, section 7.24; those below 0x40 stand in the lower bits.
enum {
    CFA_ADVANCE = 0x40,
    CFA_OFFSET = 0x80,
    CFA_RESTORE = 0xc0,
    CFA_NOP = 0,
    CFA_SET_LOC,
    CFA_ADVANCE1,
    CFA_ADVANCE2,
    CFA_ADVANCE4,
    CFA_OFFSET_EXTENDED,
    CFA_RESTORE_EXTENDED,
    CFA_UNDEFINED,
    CFA_SAME_VALUE,
    CFA_REGISTER,
    CFA_REMEMBER,
    CFA_RECALL,
    CFA_DEF_CFA,
    CFA_DEF_CFA_REGISTER,
    CFA_DEF_CFA_OFFSET,
    CFA_DEF_CFA_EXPRESSION,
    CFA_EXPRESSION,
    CFA_OFFSET_EXTENDED_SF,
    CFA_DEF_CFA_SF,
    CFA_DEF_CFA_OFFSET_SF,
    CFA_VAL_OFFSET,
    CFA_VAL_OFFSET_SF,
    CFA_VAL_EXPRESSION,
    CFA_NEGATE_RA_STATE = 0x2d,
    CFA_GNU_ARGS_SIZE = 0x2e,
    CFA_GNU_NEGATIVE_OFFSET = 0x2f,
};

struct program {
    const struct spy_cfi *cfi;
    const struct cie *cie;
    struct spy_cursor code;
    struct spy_cfi_row row;
    struct spy_cfi_row first; // as the CIE leaves it
    struct spy_cfi_row remembered[REMEMBERED_MAX];
    size_t n_remembered;
    uint64_t at, pc;
    bool failed;
};

static int32_t narrow_value(struct program *p, int64_t value)
{
    p->failed |= value < INT32_MIN || value > INT32_MAX;
    return (int32_t)value;
}

// Registers that we do not follow (vectors, floating point) are passed over.
static void set_rule(struct program *p, uint64_t number, uint8_t kind, int64_t value)
{
    if (number >= SPY_N_REGS)
        return;
    p->row.kinds[number] = kind;
    p->row.values[number] = narrow_value(p, value);
    if (kind == SPY_CFI_SAME)
        p->row.has &= ~((uint64_t)1 << number);
    else
        p->row.has |= (uint64_t)1 << number;
}

static void restore_rule(struct program *p, uint64_t number)
{
    if (number < SPY_N_REGS)
        set_rule(p, number, p->first.kinds[number], p->first.values[number]);
}

static int64_t factored_unsigned(struct program *p)
{
    int64_t product;
    p->failed |= __builtin_mul_overflow((int64_t)(spy_cursor_uleb(&p->code) & INT64_MAX),
                                        p->cie->data_align, &product);
    return product;
}

static int64_t factored_signed(struct program *p)
{
    int64_t product;
    p->failed |= __builtin_mul_overflow(spy_cursor_sleb(&p->code), p->cie->data_align, &product);
    return product;
}

// The place of the block at the cursor, which is passed over.
static int64_t take_cfi_block(struct program *p)
{
    size_t place = offset_of_cursor(p->cfi, &p->code);
    spy_cursor_skip(&p->code, spy_cursor_uleb(&p->code));
    return (int64_t)place;
}

static void set_cfa(struct program *p, uint64_t number, int64_t value)
{
    p->failed |= number >= SPY_N_REGS;
    p->row.cfa_register = (uint8_t)number;
    p->row.cfa_value = narrow_value(p, value);
    p->row.cfa_is_expression = false;
}

static void remember_row(struct program *p)
{
    if (p->n_remembered == REMEMBERED_MAX)
        p->failed = true;
    else
        p->remembered[p->n_remembered++] = p->row;
}

static void recall_row(struct program *p)
{
    if (p->n_remembered)
        p->row = p->remembered[--p->n_remembered];
    else
        p->failed = true;
}

static bool run_cfa_instruction(struct program *p, uint8_t op)
{
    uint64_t number;
    switch (op) {
    case CFA_DEF_CFA:
        number = spy_cursor_uleb(&p->code);
        set_cfa(p, number, (int64_t)(spy_cursor_uleb(&p->code) & INT64_MAX));
        return true;
    case CFA_DEF_CFA_SF:
        number = spy_cursor_uleb(&p->code);
        set_cfa(p, number, factored_signed(p));
        return true;
    case CFA_DEF_CFA_REGISTER:
        set_cfa(p, spy_cursor_uleb(&p->code), p->row.cfa_value);
        return true;
    case CFA_DEF_CFA_OFFSET:
        set_cfa(p, p->row.cfa_register, (int64_t)(spy_cursor_uleb(&p->code) & INT64_MAX));
        return true;
    case CFA_DEF_CFA_OFFSET_SF:
        set_cfa(p, p->row.cfa_register, factored_signed(p));
        return true;
    case CFA_DEF_CFA_EXPRESSION:
        set_cfa(p, 0, take_cfi_block(p));
        p->row.cfa_is_expression = true;
        return true;
    default:
        return false;
    }
}

static bool run_rule_instruction(struct program *p, uint8_t op)
{
    if (op < CFA_OFFSET_EXTENDED || (op > CFA_REGISTER && op < CFA_EXPRESSION) ||
        (op > CFA_VAL_EXPRESSION && op != CFA_GNU_NEGATIVE_OFFSET))
        return false;
    uint64_t number = spy_cursor_uleb(&p->code);
    switch (op) {
    case CFA_OFFSET_EXTENDED:
        set_rule(p, number, SPY_CFI_AT_CFA, factored_unsigned(p));
        break;
    case CFA_OFFSET_EXTENDED_SF:
        set_rule(p, number, SPY_CFI_AT_CFA, factored_signed(p));
        break;
    case CFA_GNU_NEGATIVE_OFFSET:
        set_rule(p, number, SPY_CFI_AT_CFA, -factored_unsigned(p));
        break;
    case CFA_VAL_OFFSET:
        set_rule(p, number, SPY_CFI_CFA_PLUS, factored_unsigned(p));
        break;
    case CFA_VAL_OFFSET_SF:
        set_rule(p, number, SPY_CFI_CFA_PLUS, factored_signed(p));
        break;
    case CFA_RESTORE_EXTENDED:
        restore_rule(p, number);
        break;
    case CFA_UNDEFINED:
        set_rule(p, number, SPY_CFI_UNDEFINED, 0);
        break;
    case CFA_SAME_VALUE:
        set_rule(p, number, SPY_CFI_SAME, 0);
        break;
    case CFA_REGISTER:
        set_rule(p, number, SPY_CFI_REGISTER, (int64_t)(spy_cursor_uleb(&p->code) & INT32_MAX));
        break;
    case CFA_EXPRESSION:
        set_rule(p, number, SPY_CFI_AT_EXPRESSION, take_cfi_block(p));
        break;
    case CFA_VAL_EXPRESSION:
        set_rule(p, number, SPY_CFI_EXPRESSION, take_cfi_block(p));
        break;
    default:
        return false; // 0x12 to 0x15 of the list above are those of the CFA
    }
    return true;
}

static void advance_by(struct program *p, uint64_t distance)
{
    if (__builtin_mul_overflow(distance, p->cie->code_align, &distance) ||
        __builtin_add_overflow(p->at, distance, &p->at))
        p->at = UINT64_MAX;
}

static void run_other_instruction(struct program *p, uint8_t op)
{
    switch (op) {
    case CFA_NOP:
    case CFA_NEGATE_RA_STATE:
        return;
    case CFA_SET_LOC:
        p->at = take_pointer(p->cfi, &p->code, p->cie->encoding, false);
        return;
    case CFA_ADVANCE1:
        advance_by(p, spy_cursor_number(&p->code, 1));
        return;
    case CFA_ADVANCE2:
        advance_by(p, spy_cursor_number(&p->code, 2));
        return;
    case CFA_ADVANCE4:
        advance_by(p, spy_cursor_number(&p->code, 4));
        return;
    case CFA_REMEMBER:
        remember_row(p);
        return;
    case CFA_RECALL:
        recall_row(p);
        return;
    case CFA_GNU_ARGS_SIZE:
        spy_cursor_uleb(&p->code);
        return;
    default:
        p->failed = true;
    }
}

static void run_instruction(struct program *p)
{
    uint8_t op = spy_cursor_byte(&p->code);
    if ((op & CFA_RESTORE) == CFA_ADVANCE)
        advance_by(p, op & 0x3f);
    else if ((op & CFA_RESTORE) == CFA_OFFSET)
        set_rule(p, op & 0x3f, SPY_CFI_AT_CFA, factored_unsigned(p));
    else if ((op & CFA_RESTORE) == CFA_RESTORE)
        restore_rule(p, op & 0x3f);
    else if (!run_cfa_instruction(p, op) && !run_rule_instruction(p, op))
        run_other_instruction(p, op);
}

// Up to the row that holds for pc.
static int run_program(struct program *p, struct spy_cursor code)
{
    struct spy_cfi_row row = p->row;
    p->code = code;
    for (int i = 0; p->at <= p->pc; i++) {
        row = p->row;
        if (p->code.at == p->code.end)
            break;
        if (i == SPY_CFI_STEPS_MAX)
            return SPY_ERR_UNSUPPORTED;
        run_instruction(p);
        if (p->failed || p->code.bad)
            return SPY_ERR_UNSUPPORTED;
    }
    p->row = row;
    return 0;
}

static const struct spy_cfi_function *find_cfi_function(const struct spy_cfi *c, uint64_t pc)
{
    size_t lo = 0, hi = c->n_functions;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (c->functions[mid].start <= pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    const struct spy_cfi_function *f = lo ? &c->functions[lo - 1] : NULL;
    return f && pc - f->start < f->size ? f : NULL;
}

int spy_cfi_find(const struct spy_cfi *c, uint64_t pc, struct spy_cfi_row *ret)
{
    struct record rec;
    struct cie cie;
    const struct spy_cfi_function *f = find_cfi_function(c, pc);
    if (!f)
        return SPY_ERR_NOTFOUND;
    size_t at = f->fde;
    if (!take_record(c, &at, &rec) || read_cie(c, rec.cie_at, &cie) < 0)
        return SPY_ERR_UNSUPPORTED;
    take_pointer(c, &rec.body, cie.encoding, false);
    take_pointer(c, &rec.body, cie.encoding, true);
    if (cie.has_data)
        spy_cursor_skip(&rec.body, spy_cursor_uleb(&rec.body));
    struct program p = {.cfi = c, .cie = &cie, .pc = pc, .at = f->start};
    int r = run_program(&p, cie.program);
    p.first = p.row;
    p.at = f->start;
    if (r == 0)
        r = run_program(&p, rec.body);
    if (r < 0)
        return r;
    p.row.return_register = (uint8_t)cie.return_register;
    p.row.is_signal = cie.is_signal;
    *ret = p.row;
    return 0;
}
