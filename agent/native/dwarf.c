#include "agent/native/dwarf.h"
#include "shared/base/mem.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNITS_MAX = 1 << 20, KINDS_MAX = 1 << 16, SPECS_MAX = 128, INDIRECT_MAX = 4 };
enum { TABLES_MIN = 64 << 10, HEADER_MAX = 40, ENTRY_USUAL = 1024, KINDS_USUAL = 8 << 10 };
enum { STEPS_MAX = 256 << 20 }; // one takes some nanoseconds
enum { UNIT_SKELETON = 4, UNIT_SPLIT = 5, UNIT_TYPE = 2, UNIT_SPLIT_TYPE = 6 };

// --- sections ---

static const char *const section_names[] = {
    ".debug_info",   ".debug_abbrev",   ".debug_line",        ".debug_str",  ".debug_line_str",
    ".debug_ranges", ".debug_rnglists", ".debug_str_offsets", ".debug_addr", ".debug_aranges",
};
_Static_assert(SPY_COUNT(section_names) == SPY_DWARF_SECTIONS, "one each");

static struct spy_cursor make_cursor(const struct spy_section *b, uint64_t at, uint64_t end)
{
    struct spy_cursor c = {b->bytes, b->bytes, at > end};
    if (b->bytes && at <= end && end <= b->len)
        c = (struct spy_cursor){b->bytes + at, b->bytes + end, false};
    return c;
}

struct spy_cursor spy_dwarf_cursor(struct spy_dwarf *d, enum spy_dwarf_section s, uint64_t at)
{
    struct spy_section *b = &d->sections[s];
    struct spy_cursor c = make_cursor(b, at, b->len);
    if (b->n_ready < b->len && !spy_section_need(b, &d->file, 0, b->len))
        c = (struct spy_cursor){b->bytes, b->bytes, true};
    return c;
}

// Up to `max` bytes of the unit from the place on.
static struct spy_cursor cursor_in_unit(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                                        uint64_t at, uint64_t max)
{
    struct spy_section *b = &d->sections[SPY_DWARF_INFO];
    uint64_t end = at < u->end && u->end - at > max ? at + max : u->end;
    struct spy_cursor c = make_cursor(b, at, end);
    if (!c.bad && !spy_section_need(b, &d->file, at, end - at))
        c = (struct spy_cursor){b->bytes, b->bytes, true};
    return c;
}

struct spy_cursor spy_dwarf_unit_cursor(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                                        uint64_t at)
{
    return cursor_in_unit(d, u, at, UINT64_MAX);
}

const char *spy_dwarf_text(struct spy_dwarf *d, enum spy_dwarf_section s, uint64_t at)
{
    struct spy_cursor c = spy_dwarf_cursor(d, s, at);
    return c.bad || !spy_cursor_left(&c) ? NULL : (const char *)c.at; // a NUL is behind the section
}

static uint64_t read_number_at(struct spy_dwarf *d, enum spy_dwarf_section s, uint64_t at,
                               size_t size)
{
    struct spy_cursor c = spy_dwarf_cursor(d, s, at);
    return spy_cursor_number(&c, size);
}

// --- units ---

struct spy_cursor spy_dwarf_take_length(struct spy_cursor *c, uint8_t *ret_offset_size)
{
    struct spy_cursor unit = *c;
    uint64_t len = spy_cursor_number(&unit, 4);
    *ret_offset_size = 4;
    if (len == UINT32_MAX) {
        len = spy_cursor_number(&unit, 8);
        *ret_offset_size = 8;
    }
    *c = unit;
    spy_cursor_skip(c, len);
    unit.end = c->at;
    unit.bad = c->bad;
    return unit;
}

// False: of a kind that is passed over.
static bool read_unit_header(struct spy_cursor *c, struct spy_dwarf_unit *u)
{
    uint8_t kind = 1, address_size;
    u->version = (uint16_t)spy_cursor_number(c, 2);
    if (u->version >= 5) {
        kind = spy_cursor_byte(c);
        address_size = spy_cursor_byte(c);
        u->abbrev = spy_cursor_number(c, u->offset_size);
        if (kind == UNIT_SKELETON || kind == UNIT_SPLIT)
            spy_cursor_skip(c, 8);
    } else {
        u->abbrev = spy_cursor_number(c, u->offset_size);
        address_size = spy_cursor_byte(c);
    }
    return u->version >= 2 && u->version <= 5 && address_size == 8 && kind != UNIT_TYPE &&
           kind != UNIT_SPLIT_TYPE;
}

static bool add_unit(struct spy_dwarf *d, const struct spy_dwarf_unit *u)
{
    if (!spy_dwarf_spend(d, 1, sizeof *u) ||
        spy_grow(&d->units, &d->cap_units, d->n_units + 1, sizeof *d->units, UNITS_MAX) < 0)
        return false;
    struct spy_dwarf_unit *copy = malloc(sizeof *copy);
    if (!copy)
        return false;
    *copy = *u;
    d->units[d->n_units++] = copy;
    return true;
}

bool spy_dwarf_next_unit(struct spy_dwarf *d)
{
    struct spy_section *info = &d->sections[SPY_DWARF_INFO];
    while (d->units_end < info->len && spy_dwarf_spend(d, 1, 0)) {
        struct spy_dwarf_unit u = {.at = d->units_end};
        struct spy_cursor c = make_cursor(info, u.at, info->len);
        if (!spy_section_need(info, &d->file, u.at, HEADER_MAX))
            break;
        struct spy_cursor body = spy_dwarf_take_length(&c, &u.offset_size);
        bool is_known = read_unit_header(&body, &u);
        if (body.bad)
            break;
        u.first = (uint64_t)(body.at - info->bytes);
        u.end = d->units_end = (uint64_t)(body.end - info->bytes);
        if (is_known)
            return add_unit(d, &u);
    }
    d->units_end = UINT64_MAX;
    return false;
}

static size_t sum_of_sections(const struct spy_dwarf *d)
{
    size_t sum = 0;
    for (int i = 0; i < SPY_DWARF_SECTIONS; i++)
        sum += d->sections[i].len;
    return sum;
}

size_t spy_dwarf_bytes(const struct spy_dwarf *d)
{
    return 2 * sum_of_sections(d) + TABLES_MIN;
}

static int open_sections(const struct spy_elf *e, size_t max_bytes, struct spy_dwarf *d)
{
    size_t left = max_bytes / 2;
    int r = spy_elf_section(e, ".debug_info") ? 0 : SPY_ERR_NOTFOUND;
    for (int i = 0; r == 0 && i < SPY_DWARF_SECTIONS; i++) {
        struct spy_section *s = &d->sections[i];
        r = spy_section_open(e, section_names[i], left, s);
        left -= s->len;
        if (r == SPY_ERR_NOTFOUND)
            r = 0;
    }
    return r;
}

int spy_dwarf_load(const struct spy_elf *e, size_t max_bytes, struct spy_dwarf *ret)
{
    struct spy_dwarf d = {.steps_left = STEPS_MAX,
                          .file = {.fd = -1, .bytes = e->bytes, .size = e->size}};
    int r = open_sections(e, max_bytes, &d);
    d.bytes_left = sum_of_sections(&d) + TABLES_MIN;
    if (r == 0 && e->fd >= 0) {
        d.file.fd = fcntl(e->fd, F_DUPFD_CLOEXEC, 0);
        d.owns_descriptor = d.file.fd >= 0;
        r = d.owns_descriptor ? 0 : SPY_ERR_LIMIT;
    }
    if (r < 0)
        spy_dwarf_done(&d);
    else
        *ret = d;
    return r;
}

void spy_dwarf_done(struct spy_dwarf *d)
{
    for (int i = 0; i < SPY_DWARF_SECTIONS; i++)
        spy_section_done(&d->sections[i]);
    for (size_t i = 0; i < d->n_units; i++) {
        free(d->units[i]->kinds);
        free(d->units[i]);
    }
    free(d->units);
    if (d->owns_descriptor)
        close(d->file.fd);
    *d = (struct spy_dwarf){0};
}

struct spy_dwarf_unit *spy_dwarf_unit_at(struct spy_dwarf *d, uint64_t at)
{
    while (at >= d->units_end && spy_dwarf_next_unit(d))
        ;
    size_t lo = 0, hi = d->n_units;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (d->units[mid]->at <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    struct spy_dwarf_unit *u = lo ? d->units[lo - 1] : NULL;
    return u && at < u->end ? u : NULL;
}

// --- kinds of entries ---

bool spy_dwarf_spend(struct spy_dwarf *d, uint64_t steps, size_t bytes)
{
    if (d->steps_left < steps || d->bytes_left < bytes) {
        d->steps_left = 0;
        return false;
    }
    d->steps_left -= steps;
    d->bytes_left -= bytes;
    return true;
}

// A pair of attribute and form; a constant may stand behind it (DW_FORM_implicit_const).
struct spec {
    uint64_t attribute, form;
    int64_t constant;
};

enum { FORM_INDIRECT = 0x16, FORM_IMPLICIT_CONST = 0x21 };

// False: the list ends.
static bool take_spec(struct spy_cursor *c, struct spec *ret)
{
    ret->attribute = spy_cursor_uleb(c);
    ret->form = spy_cursor_uleb(c);
    ret->constant = ret->form == FORM_IMPLICIT_CONST ? spy_cursor_sleb(c) : 0;
    return !c->bad && (ret->attribute || ret->form);
}

static int compare_kinds(const void *a, const void *b)
{
    const struct spy_dwarf_kind *x = a, *y = b;
    return x->code < y->code ? -1 : x->code > y->code;
}

static bool take_kind(struct spy_dwarf *d, struct spy_cursor *c, struct spy_dwarf_kind *ret)
{
    struct spec spec;
    ret->code = spy_cursor_uleb(c);
    ret->tag = (uint16_t)spy_cursor_uleb(c);
    ret->has_children = spy_cursor_byte(c);
    ret->specs = (uint32_t)(c->at - d->sections[SPY_DWARF_ABBREV].bytes);
    int n = 0;
    while (take_spec(c, &spec))
        if (++n > SPECS_MAX || !spy_dwarf_spend(d, 1, 0))
            return false;
    return !c->bad && ret->code;
}

// Those that stand in the cursor. False: it ends before their list does.
static bool take_kinds(struct spy_dwarf *d, struct spy_dwarf_unit *u, struct spy_cursor c)
{
    struct spy_dwarf_kind kind;
    u->n_kinds = 0;
    while (take_kind(d, &c, &kind)) {
        if (!spy_dwarf_spend(d, 1, sizeof kind) ||
            spy_grow(&u->kinds, &u->cap_kinds, u->n_kinds + 1, sizeof *u->kinds, KINDS_MAX) < 0)
            return true;
        u->kinds[u->n_kinds++] = kind;
    }
    return !c.bad;
}

// A list has no length: what a usual one takes is read, and more where it did not end.
static void read_kinds(struct spy_dwarf *d, struct spy_dwarf_unit *u)
{
    struct spy_section *s = &d->sections[SPY_DWARF_ABBREV];
    uint64_t left = u->abbrev < s->len ? s->len - u->abbrev : 0;
    bool whole = false, sorted = true;
    u->has_kinds = true;
    for (uint64_t len = KINDS_USUAL; !whole; len *= 4) {
        struct spy_cursor c = make_cursor(s, u->abbrev, u->abbrev + spy_min(len, left));
        whole = !spy_section_need(s, &d->file, u->abbrev, len) || len >= left;
        whole |= take_kinds(d, u, c);
    }
    for (size_t i = 1; i < u->n_kinds; i++)
        sorted &= u->kinds[i - 1].code < u->kinds[i].code;
    if (!sorted)
        qsort(u->kinds, u->n_kinds, sizeof *u->kinds, compare_kinds);
}

// Compilers number them from 1 on.
static const struct spy_dwarf_kind *find_kind(const struct spy_dwarf_unit *u, uint64_t code)
{
    struct spy_dwarf_kind wanted = {.code = code};
    if (code - 1 < u->n_kinds && u->kinds[code - 1].code == code)
        return &u->kinds[code - 1];
    return u->n_kinds ? bsearch(&wanted, u->kinds, u->n_kinds, sizeof *u->kinds, compare_kinds)
                      : NULL;
}

// --- values ---

static struct spy_dwarf_value make_value(enum spy_dwarf_class class, uint64_t number)
{
    return (struct spy_dwarf_value){class, number, NULL};
}

static struct spy_dwarf_value make_text(const char *text)
{
    return (struct spy_dwarf_value){text ? SPY_DWARF_TEXT : SPY_DWARF_OTHER, 0, text};
}

static struct spy_dwarf_value text_by_index(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                                            uint64_t index)
{
    uint64_t at = u->str_base + index * u->offset_size;
    at = read_number_at(d, SPY_DWARF_STR_OFFSETS, at, u->offset_size);
    return make_text(spy_dwarf_text(d, SPY_DWARF_STR, at));
}

static struct spy_dwarf_value address_by_index(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                                               uint64_t index)
{
    uint64_t at = u->addr_base + index * 8;
    return make_value(SPY_DWARF_ADDRESS, read_number_at(d, SPY_DWARF_ADDR, at, 8));
}

static struct spy_dwarf_value take_string(struct spy_cursor *c)
{
    const uint8_t *end = memchr(c->at, 0, spy_cursor_left(c));
    const char *text = (const char *)c->at;
    spy_cursor_skip(c, end ? (uint64_t)(end - c->at) + 1 : UINT64_MAX);
    return make_text(end ? text : NULL);
}

static struct spy_dwarf_value pass_over(struct spy_cursor *c, uint64_t n)
{
    spy_cursor_skip(c, n);
    return make_value(SPY_DWARF_OTHER, 0);
}

// Forms of a fixed size.
static const struct {
    uint8_t size;
    uint8_t class;
} fixed_forms[] = {
    [0x01] = {8, SPY_DWARF_ADDRESS},   [0x05] = {2, SPY_DWARF_NUMBER},
    [0x06] = {4, SPY_DWARF_NUMBER},    [0x07] = {8, SPY_DWARF_NUMBER},
    [0x0b] = {1, SPY_DWARF_NUMBER},    [0x0c] = {1, SPY_DWARF_NUMBER},
    [0x11] = {1, SPY_DWARF_REFERENCE}, [0x12] = {2, SPY_DWARF_REFERENCE},
    [0x13] = {4, SPY_DWARF_REFERENCE}, [0x14] = {8, SPY_DWARF_REFERENCE},
    [0x1c] = {4, SPY_DWARF_OTHER},     [0x20] = {8, SPY_DWARF_OTHER},
    [0x24] = {8, SPY_DWARF_OTHER},
};

static bool take_fixed(const struct spy_dwarf_unit *u, struct spy_cursor *c, uint64_t form,
                       struct spy_dwarf_value *ret)
{
    if (form >= SPY_COUNT(fixed_forms) || !fixed_forms[form].size)
        return false;
    *ret = make_value(fixed_forms[form].class, spy_cursor_number(c, fixed_forms[form].size));
    if (ret->class == SPY_DWARF_REFERENCE)
        ret->number += u->at;
    return true;
}

static bool take_block(struct spy_cursor *c, uint64_t form, struct spy_dwarf_value *ret)
{
    switch (form) {
    case 0x03: // block2, block4, block, block1, exprloc
        *ret = pass_over(c, spy_cursor_number(c, 2));
        return true;
    case 0x04:
        *ret = pass_over(c, spy_cursor_number(c, 4));
        return true;
    case 0x09:
    case 0x18:
        *ret = pass_over(c, spy_cursor_uleb(c));
        return true;
    case 0x0a:
        *ret = pass_over(c, spy_cursor_byte(c));
        return true;
    case 0x1e: // data16
        *ret = pass_over(c, 16);
        return true;
    default:
        return false;
    }
}

static bool take_text(struct spy_dwarf *d, const struct spy_dwarf_unit *u, struct spy_cursor *c,
                      uint64_t form, struct spy_dwarf_value *ret)
{
    switch (form) {
    case 0x08:
        *ret = take_string(c);
        return true;
    case 0x0e: // strp, line_strp
        *ret = make_text(spy_dwarf_text(d, SPY_DWARF_STR, spy_cursor_number(c, u->offset_size)));
        return true;
    case 0x1f:
        *ret =
            make_text(spy_dwarf_text(d, SPY_DWARF_LINE_STR, spy_cursor_number(c, u->offset_size)));
        return true;
    case 0x1a: // strx, GNU_str_index
    case 0x1f02:
        *ret = text_by_index(d, u, spy_cursor_uleb(c));
        return true;
    case 0x25: // strx1 to strx4
    case 0x26:
    case 0x27:
    case 0x28:
        *ret = text_by_index(d, u, spy_cursor_number(c, form - 0x24));
        return true;
    default:
        return false;
    }
}

struct spy_dwarf_value spy_dwarf_take(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                                      struct spy_cursor *c, uint64_t form)
{
    struct spy_dwarf_value value;
    for (int i = 0; form == FORM_INDIRECT && i < INDIRECT_MAX; i++)
        form = spy_cursor_uleb(c);
    if (take_fixed(u, c, form, &value) || take_block(c, form, &value) ||
        take_text(d, u, c, form, &value))
        return value;
    switch (form) {
    case 0x0d: // sdata, udata
        return make_value(SPY_DWARF_NUMBER, (uint64_t)spy_cursor_sleb(c));
    case 0x0f:
        return make_value(SPY_DWARF_NUMBER, spy_cursor_uleb(c));
    case 0x10: // ref_addr: of the size of an address in DWARF 2
        return make_value(SPY_DWARF_REFERENCE,
                          spy_cursor_number(c, u->version == 2 ? 8 : u->offset_size));
    case 0x15:
        return make_value(SPY_DWARF_REFERENCE, u->at + spy_cursor_uleb(c));
    case 0x17:
        return make_value(SPY_DWARF_OFFSET, spy_cursor_number(c, u->offset_size));
    case 0x19: // flag_present
        return make_value(SPY_DWARF_NUMBER, 1);
    case 0x1b: // addrx, GNU_addr_index, addrx1 to addrx4
    case 0x1f01:
        return address_by_index(d, u, spy_cursor_uleb(c));
    case 0x29:
    case 0x2a:
    case 0x2b:
    case 0x2c:
        return address_by_index(d, u, spy_cursor_number(c, form - 0x28));
    case 0x22: // loclistx, rnglistx
    case 0x23:
        return make_value(SPY_DWARF_INDEX, spy_cursor_uleb(c));
    case 0x1d: // in another file: strp_sup, GNU_ref_alt, GNU_strp_alt
    case 0x1f20:
    case 0x1f21:
        return pass_over(c, u->offset_size);
    default:
        c->bad = true;
        return make_value(SPY_DWARF_OTHER, 0);
    }
}

// --- entries ---

enum {
    AT_SIBLING = 0x01,
    AT_NAME = 0x03,
    AT_STMT_LIST = 0x10,
    AT_LOW_PC = 0x11,
    AT_HIGH_PC = 0x12,
    AT_COMP_DIR = 0x1b,
    AT_ABSTRACT_ORIGIN = 0x31,
    AT_SPECIFICATION = 0x47,
    AT_RANGES = 0x55,
    AT_CALL_FILE = 0x58,
    AT_CALL_LINE = 0x59,
    AT_LINKAGE_NAME = 0x6e,
    AT_STR_OFFSETS_BASE = 0x72,
    AT_ADDR_BASE = 0x73,
    AT_RNGLISTS_BASE = 0x74,
    AT_MIPS_LINKAGE_NAME = 0x2007,
};

static void keep_place(struct spy_dwarf_entry *e, uint64_t attribute,
                       const struct spy_dwarf_value *v)
{
    switch (attribute) {
    case AT_LOW_PC:
        e->low = v->number;
        e->has_low = v->class == SPY_DWARF_ADDRESS;
        break;
    case AT_HIGH_PC:
        e->high = v->number;
        e->has_high = true;
        e->high_is_length = v->class != SPY_DWARF_ADDRESS;
        break;
    case AT_RANGES:
        e->ranges = *v;
        break;
    case AT_STMT_LIST:
        e->line = v->number;
        e->has_line = true;
        break;
    case AT_STR_OFFSETS_BASE:
        e->str_base = v->number;
        break;
    case AT_ADDR_BASE:
        e->addr_base = v->number;
        break;
    case AT_RNGLISTS_BASE:
        e->rnglists_base = v->number;
        break;
    default:
        break;
    }
}

static void keep_value(struct spy_dwarf_entry *e, uint64_t attribute,
                       const struct spy_dwarf_value *v)
{
    switch (attribute) {
    case AT_NAME:
        e->name = v->text;
        break;
    case AT_LINKAGE_NAME:
    case AT_MIPS_LINKAGE_NAME:
        e->linkage_name = v->text;
        break;
    case AT_COMP_DIR:
        e->folder = v->text;
        break;
    case AT_SIBLING:
        e->sibling = v->class == SPY_DWARF_REFERENCE ? v->number : 0;
        break;
    case AT_ABSTRACT_ORIGIN:
    case AT_SPECIFICATION:
        e->origin = v->class == SPY_DWARF_REFERENCE ? v->number : 0;
        break;
    case AT_CALL_FILE:
        e->call_file = (uint32_t)v->number;
        break;
    case AT_CALL_LINE:
        e->call_line = (uint32_t)v->number;
        break;
    default:
        keep_place(e, attribute, v);
        break;
    }
}

bool spy_dwarf_next(struct spy_dwarf *d, struct spy_dwarf_unit *u, struct spy_cursor *c,
                    struct spy_dwarf_entry *ret)
{
    struct spec spec;
    *ret = (struct spy_dwarf_entry){0};
    if (!u->has_kinds)
        read_kinds(d, u);
    uint64_t code = spy_cursor_uleb(c);
    if (!code)
        return !c->bad && spy_dwarf_spend(d, 1, 0);
    const struct spy_dwarf_kind *kind = find_kind(u, code);
    if (!kind)
        return false;
    ret->tag = kind->tag;
    ret->has_children = kind->has_children;
    const struct spy_section *abbrev = &d->sections[SPY_DWARF_ABBREV];
    struct spy_cursor specs = make_cursor(abbrev, kind->specs, abbrev->len); // was read whole
    while (take_spec(&specs, &spec)) {
        struct spy_dwarf_value v = spec.form == FORM_IMPLICIT_CONST
                                       ? make_value(SPY_DWARF_NUMBER, (uint64_t)spec.constant)
                                       : spy_dwarf_take(d, u, c, spec.form);
        if (c->bad || !spy_dwarf_spend(d, 1, 0))
            return false;
        keep_value(ret, spec.attribute, &v);
    }
    return kind->tag != 0;
}

bool spy_dwarf_entry_at(struct spy_dwarf *d, struct spy_dwarf_unit *u, uint64_t at,
                        struct spy_dwarf_entry *ret)
{
    struct spy_cursor c = cursor_in_unit(d, u, at, ENTRY_USUAL);
    if (spy_dwarf_next(d, u, &c, ret))
        return true;
    c = spy_dwarf_unit_cursor(d, u, at);
    return spy_dwarf_next(d, u, &c, ret);
}

// Twice: texts and addresses may stand before the places of their tables.
static bool read_first_entry(struct spy_dwarf *d, struct spy_dwarf_unit *u)
{
    struct spy_dwarf_entry e;
    for (int i = 0; i < 2; i++) {
        if (!spy_dwarf_entry_at(d, u, u->first, &e) || !e.tag)
            return false;
        u->str_base = e.str_base;
        u->addr_base = e.addr_base;
        u->rnglists_base = e.rnglists_base;
    }
    u->low = e.has_low ? e.low : 0;
    u->line = e.line;
    u->has_line = e.has_line;
    u->folder = e.folder;
    return true;
}

bool spy_dwarf_unit_begin(struct spy_dwarf *d, struct spy_dwarf_unit *u)
{
    if (!u->has_begun) {
        u->has_begun = true;
        u->is_sound = read_first_entry(d, u);
        d->n_begun++;
    }
    return u->is_sound;
}

// --- ranges ---

struct range_walk {
    struct spy_dwarf *d;
    const struct spy_dwarf_unit *unit;
    uint64_t base;
    spy_dwarf_range *add;
    void *context;
};

static bool add_range(struct range_walk *w, uint64_t start, uint64_t end)
{
    return spy_dwarf_spend(w->d, 1, 0) && (start >= end || w->add(w->context, start, end));
}

// DWARF 4, section 2.17.3.
static void walk_old_ranges(struct range_walk *w, uint64_t at)
{
    struct spy_cursor c = spy_dwarf_cursor(w->d, SPY_DWARF_RANGES, at);
    for (;;) {
        uint64_t start = spy_cursor_number(&c, 8), end = spy_cursor_number(&c, 8);
        if (c.bad || (!start && !end))
            return;
        if (start == UINT64_MAX)
            w->base = end;
        else if (!add_range(w, w->base + start, w->base + end))
            return;
    }
}

static uint64_t take_indexed(const struct range_walk *w, struct spy_cursor *c)
{
    return address_by_index(w->d, w->unit, spy_cursor_uleb(c)).number;
}

// One entry of a list (DWARF 5, section 7.25). False: the list ends.
static bool take_range(struct range_walk *w, struct spy_cursor *c)
{
    uint64_t start;
    switch (spy_cursor_byte(c)) {
    case 1: // base_addressx, startx_endx, startx_length, offset_pair
        w->base = take_indexed(w, c);
        return !c->bad && spy_dwarf_spend(w->d, 1, 0);
    case 2:
        start = take_indexed(w, c);
        return add_range(w, start, take_indexed(w, c)) && !c->bad;
    case 3:
        start = take_indexed(w, c);
        return add_range(w, start, start + spy_cursor_uleb(c)) && !c->bad;
    case 4:
        start = w->base + spy_cursor_uleb(c);
        return add_range(w, start, w->base + spy_cursor_uleb(c)) && !c->bad;
    case 5: // base_address, start_end, start_length
        w->base = spy_cursor_number(c, 8);
        return !c->bad && spy_dwarf_spend(w->d, 1, 0);
    case 6:
        start = spy_cursor_number(c, 8);
        return add_range(w, start, spy_cursor_number(c, 8)) && !c->bad;
    case 7:
        start = spy_cursor_number(c, 8);
        return add_range(w, start, start + spy_cursor_uleb(c)) && !c->bad;
    default:
        return false;
    }
}

static void walk_listed_ranges(struct range_walk *w, const struct spy_dwarf_value *list)
{
    const struct spy_dwarf_unit *u = w->unit;
    uint64_t at = list->number;
    if (list->class == SPY_DWARF_INDEX)
        at = u->rnglists_base + read_number_at(w->d, SPY_DWARF_RNGLISTS,
                                               u->rnglists_base + at * u->offset_size,
                                               u->offset_size);
    struct spy_cursor c = spy_dwarf_cursor(w->d, SPY_DWARF_RNGLISTS, at);
    while (take_range(w, &c))
        ;
}

void spy_dwarf_ranges(struct spy_dwarf *d, const struct spy_dwarf_unit *u,
                      const struct spy_dwarf_entry *e, spy_dwarf_range *add, void *context)
{
    struct range_walk w = {d, u, u->low, add, context};
    if (e->ranges.class != SPY_DWARF_OTHER && u->version >= 5)
        walk_listed_ranges(&w, &e->ranges);
    else if (e->ranges.class != SPY_DWARF_OTHER)
        walk_old_ranges(&w, e->ranges.number);
    else if (e->has_low && e->has_high)
        add_range(&w, e->low, e->high_is_length ? e->low + e->high : e->high);
}
