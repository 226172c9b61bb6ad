#include "agent/native/debug_info.h"
#include "agent/native/demangle.h"
#include "agent/native/lines.h"
#include "agent/native/symtab.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANGES_MAX = 1 << 20, ENCLOSING_TRIES = 16, ORIGINS_MAX = 8, PATH_TEXT_MAX = 4096 };
enum {
    TAG_INLINED = 0x1d,
    TAG_MODULE = 0x1e,
    TAG_FUNCTION = 0x2e,
    TAG_NAMESPACE = 0x39,
    TAG_CALL_SITE = 0x48,
    TAG_GNU_CALL_SITE = 0x4109,
};

// Code of a function, and its inlined calls, once they were asked for.
struct function_range {
    uint64_t start, end, entry;
    bool has_inlined;
    uint32_t first, n;
};

struct inlined_range {
    uint64_t start, end, entry;
    uint32_t level, call_file, call_line;
};

struct spy_unit_code {
    struct spy_lines lines;
    bool has_lines;
    bool has_all;                     // functions: also those inside of others
    struct function_range *functions; // by rising start
    struct inlined_range *inlined;    // of a function as they stand in the file
    size_t n_functions, cap_functions, n_inlined, cap_inlined;
};

// --- the index of units ---

struct unit_adder {
    struct spy_debug_info *info;
    uint64_t unit;
    int error;
};

static bool add_unit_range(void *context, uint64_t start, uint64_t end)
{
    struct unit_adder *a = context;
    struct spy_debug_info *d = a->info;
    if (!spy_dwarf_spend(&d->dwarf, 1, sizeof *d->ranges))
        return false;
    a->error = spy_grow(&d->ranges, &d->cap_ranges, d->n_ranges + 1, sizeof *d->ranges, RANGES_MAX);
    if (a->error == 0)
        d->ranges[d->n_ranges++] = (struct spy_unit_range){start, end, a->unit};
    return a->error == 0;
}

static int compare_unit_ranges(const void *a, const void *b)
{
    const struct spy_unit_range *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static void sort_unit_ranges(struct spy_debug_info *d)
{
    if (d->n_ranges)
        qsort(d->ranges, d->n_ranges, sizeof *d->ranges, compare_unit_ranges);
}

// What .debug_aranges says of one unit (DWARF 5, section 6.1.2): pairs of address and length up to
// one of zeros, behind a header that is filled up to the size of a pair.
static void take_address_ranges(struct unit_adder *a, struct spy_cursor c, uint8_t offset_size,
                                size_t header)
{
    enum { VERSION = 2, PAIR = 16 };
    uint64_t version = spy_cursor_number(&c, 2);
    a->unit = spy_cursor_number(&c, offset_size);
    if (version != VERSION || spy_cursor_byte(&c) != 8 || spy_cursor_byte(&c) != 0)
        return;
    header += 2u + offset_size + 2u;
    spy_cursor_skip(&c, (PAIR - header % PAIR) % PAIR);
    for (;;) {
        uint64_t start = spy_cursor_number(&c, 8), len = spy_cursor_number(&c, 8);
        if (c.bad || (!start && !len))
            return;
        if (len && !add_unit_range(a, start, start + len))
            return;
    }
}

static int read_address_ranges(struct spy_debug_info *d)
{
    struct unit_adder a = {.info = d};
    struct spy_cursor c = spy_dwarf_cursor(&d->dwarf, SPY_DWARF_ARANGES, 0);
    while (!a.error && !c.bad && spy_cursor_left(&c) && spy_dwarf_spend(&d->dwarf, 1, 0)) {
        uint8_t offset_size;
        const uint8_t *start = c.at;
        struct spy_cursor body = spy_dwarf_take_length(&c, &offset_size);
        if (!body.bad)
            take_address_ranges(&a, body, offset_size, (size_t)(body.at - start));
    }
    sort_unit_ranges(d);
    return a.error == SPY_ERR_NOMEM ? a.error : 0;
}

static void index_unit(struct spy_debug_info *d, struct spy_dwarf_unit *u)
{
    struct unit_adder a = {.info = d, .unit = u->at};
    struct spy_dwarf_entry e;
    if (!u->is_listed && spy_dwarf_unit_begin(&d->dwarf, u) &&
        spy_dwarf_entry_at(&d->dwarf, u, u->first, &e))
        spy_dwarf_ranges(&d->dwarf, u, &e, add_unit_range, &a);
}

static void index_other_units(struct spy_debug_info *d)
{
    d->has_others = true;
    while (spy_dwarf_next_unit(&d->dwarf))
        ;
    for (size_t i = 0; i < d->n_ranges; i++) {
        struct spy_dwarf_unit *u = spy_dwarf_unit_at(&d->dwarf, d->ranges[i].unit);
        if (u)
            u->is_listed = true;
    }
    for (size_t i = 0; i < d->dwarf.n_units; i++)
        index_unit(d, d->dwarf.units[i]);
    sort_unit_ranges(d);
}

int spy_debug_info_load(const struct spy_elf *e, size_t max_bytes, struct spy_debug_info *ret)
{
    struct spy_debug_info d = {0};
    int r = spy_dwarf_load(e, max_bytes, &d.dwarf);
    if (r < 0)
        return r;
    r = read_address_ranges(&d);
    if (r < 0)
        spy_debug_info_done(&d);
    else
        *ret = d;
    return r;
}

static void free_code(struct spy_unit_code *code)
{
    if (!code)
        return;
    spy_lines_done(&code->lines);
    free(code->functions);
    free(code->inlined);
    free(code);
}

static void forget_texts(struct spy_debug_info *d)
{
    while (d->n_texts)
        free(d->texts[--d->n_texts]);
}

void spy_debug_info_done(struct spy_debug_info *d)
{
    forget_texts(d);
    for (size_t i = 0; i < d->dwarf.n_units; i++)
        free_code(d->dwarf.units[i]->code);
    free(d->ranges);
    spy_dwarf_done(&d->dwarf);
    *d = (struct spy_debug_info){0};
}

// --- the code of a unit ---

struct code_reader {
    struct spy_dwarf *d;
    struct spy_dwarf_unit *unit;
    struct spy_unit_code *code;
    const struct spy_dwarf_entry *entry;
    uint64_t at;
    uint32_t level;
};

static bool add_function_range(void *context, uint64_t start, uint64_t end)
{
    struct code_reader *r = context;
    struct spy_unit_code *code = r->code;
    if (!spy_dwarf_spend(r->d, 1, sizeof *code->functions) ||
        spy_grow(&code->functions, &code->cap_functions, code->n_functions + 1,
                 sizeof *code->functions, RANGES_MAX) < 0)
        return false;
    code->functions[code->n_functions++] =
        (struct function_range){.start = start, .end = end, .entry = r->at};
    return true;
}

static bool add_inlined_range(void *context, uint64_t start, uint64_t end)
{
    struct code_reader *r = context;
    struct spy_unit_code *code = r->code;
    if (!spy_dwarf_spend(r->d, 1, sizeof *code->inlined) ||
        spy_grow(&code->inlined, &code->cap_inlined, code->n_inlined + 1, sizeof *code->inlined,
                 RANGES_MAX) < 0)
        return false;
    code->inlined[code->n_inlined++] = (struct inlined_range){
        start, end, r->at, r->level, r->entry->call_file, r->entry->call_line};
    return true;
}

// True: what is inside of the entry is looked at.
typedef bool take_entry(struct code_reader *r);

// Visits the entry at the place and the entries inside of it. Skips a subtree in one step where its
// entry says what follows it, as gcc writes it.
static void walk_entries(struct code_reader *r, uint64_t at, take_entry *take)
{
    struct spy_dwarf_entry e;
    const uint8_t *start = r->d->sections[SPY_DWARF_INFO].bytes;
    struct spy_cursor c = spy_dwarf_unit_cursor(r->d, r->unit, at);
    r->entry = &e;
    r->level = 0;
    do {
        r->at = (uint64_t)(c.at - start);
        if (!spy_dwarf_next(r->d, r->unit, &c, &e))
            return;
        if (!e.tag) {
            r->level -= r->level > 0;
            continue;
        }
        bool goes_in = take(r);
        uint64_t here = (uint64_t)(c.at - start);
        if (!goes_in && e.has_children && e.sibling >= here && e.sibling < r->unit->end)
            c.at = start + e.sibling;
        else
            r->level += e.has_children;
    } while (r->level);
}

static bool take_function(struct code_reader *r)
{
    if (r->level && r->entry->tag == TAG_FUNCTION)
        spy_dwarf_ranges(r->d, r->unit, r->entry, add_function_range, r);
    return !r->level || r->entry->tag == TAG_NAMESPACE || r->entry->tag == TAG_MODULE ||
           r->code->has_all;
}

static bool take_inlined(struct code_reader *r)
{
    uint16_t tag = r->entry->tag;
    if (r->level && tag == TAG_INLINED)
        spy_dwarf_ranges(r->d, r->unit, r->entry, add_inlined_range, r);
    return !r->level || (tag != TAG_FUNCTION && tag != TAG_CALL_SITE && tag != TAG_GNU_CALL_SITE);
}

static int compare_functions_of_unit(const void *a, const void *b)
{
    const struct function_range *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static void read_functions(struct code_reader *r)
{
    struct spy_unit_code *code = r->code;
    code->n_functions = code->n_inlined = 0;
    walk_entries(r, r->unit->first, take_function);
    if (code->n_functions)
        qsort(code->functions, code->n_functions, sizeof *code->functions,
              compare_functions_of_unit);
}

// A function may have several ranges.
static void read_inlined(struct code_reader *r, uint64_t entry)
{
    struct spy_unit_code *code = r->code;
    size_t first = code->n_inlined;
    walk_entries(r, entry, take_inlined);
    for (size_t i = 0; i < code->n_functions; i++) {
        struct function_range *f = &code->functions[i];
        if (f->entry != entry)
            continue;
        f->has_inlined = true;
        f->first = (uint32_t)first;
        f->n = (uint32_t)(code->n_inlined - first);
    }
}

// NULL without memory. What is missing of it stays so.
static struct spy_unit_code *code_of_unit(struct spy_dwarf *d, struct spy_dwarf_unit *u)
{
    if (u->code || !spy_dwarf_unit_begin(d, u) || !spy_dwarf_spend(d, 1, sizeof *u->code))
        return u->code;
    u->code = calloc(1, sizeof *u->code);
    if (u->code)
        read_functions(&(struct code_reader){.d = d, .unit = u, .code = u->code});
    return u->code;
}

// --- asking ---

static const struct spy_unit_range *find_unit_range(const struct spy_debug_info *d,
                                                    uint64_t address)
{
    size_t lo = 0, hi = d->n_ranges;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (d->ranges[mid].start <= address)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (size_t i = lo, n = 0; i-- > 0 && n < ENCLOSING_TRIES; n++)
        if (address < d->ranges[i].end)
            return &d->ranges[i];
    return NULL;
}

static struct spy_dwarf_unit *find_unit(struct spy_debug_info *d, uint64_t address)
{
    const struct spy_unit_range *r = find_unit_range(d, address);
    if (!r && !d->has_others) {
        index_other_units(d);
        r = find_unit_range(d, address);
    }
    struct spy_dwarf_unit *u = r ? spy_dwarf_unit_at(&d->dwarf, r->unit) : NULL;
    return u && u->at == r->unit ? u : NULL;
}

static struct function_range *find_function_range(const struct spy_unit_code *code,
                                                  uint64_t address)
{
    size_t lo = 0, hi = code->n_functions;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (code->functions[mid].start <= address)
            lo = mid + 1;
        else
            hi = mid;
    }
    struct function_range *f = lo ? &code->functions[lo - 1] : NULL;
    return f && address < f->end ? f : NULL;
}

// With its inlined calls. Functions inside of others are looked for when an address has none.
static const struct function_range *find_function(struct spy_dwarf *d, struct spy_dwarf_unit *u,
                                                  uint64_t address)
{
    struct code_reader r = {.d = d, .unit = u, .code = u->code};
    struct function_range *f = find_function_range(u->code, address);
    if (!f && !u->code->has_all) {
        u->code->has_all = true;
        read_functions(&r);
        f = find_function_range(u->code, address);
    }
    if (f && !f->has_inlined && spy_dwarf_spend(d, u->code->n_functions, 0))
        read_inlined(&r, f->entry);
    return f;
}

static const char *keep_text(struct spy_debug_info *d, char *text)
{
    if (!text || d->n_texts == SPY_COUNT(d->texts)) {
        free(text);
        return NULL;
    }
    d->texts[d->n_texts++] = text;
    return text;
}

// An entry may name the entry that it stands for, and so on.
static const char *name_of_entry(struct spy_debug_info *d, uint64_t at)
{
    const char *name = NULL;
    struct spy_dwarf_entry e;
    for (int i = 0; at && i < ORIGINS_MAX; i++, at = e.origin) {
        struct spy_dwarf_unit *u = spy_dwarf_unit_at(&d->dwarf, at);
        if (!u || at < u->first || !spy_dwarf_unit_begin(&d->dwarf, u) ||
            !spy_dwarf_entry_at(&d->dwarf, u, at, &e))
            break;
        if (e.linkage_name)
            return keep_text(d, spy_demangle(e.linkage_name, SPY_SYMTAB_NAME_MAX));
        name = name ? name : e.name;
    }
    return name ? keep_text(d, strndup(name, SPY_SYMTAB_NAME_MAX)) : NULL;
}

static bool is_absolute(const char *path)
{
    return path && path[0] == '/';
}

static const char *path_of_file(struct spy_debug_info *d, const struct spy_dwarf_unit *u,
                                const struct spy_lines *lines, uint32_t number)
{
    char path[PATH_TEXT_MAX];
    const struct spy_line_file *f = number < lines->n_files ? &lines->files[number] : NULL;
    if (!f || !f->name || !*f->name)
        return NULL;
    bool has_folder = f->folder && *f->folder && !is_absolute(f->name);
    bool has_root = u->folder && *u->folder && !is_absolute(f->name) && !is_absolute(f->folder);
    snprintf(path, sizeof path, "%s%s%s%s%s", has_root ? u->folder : "", has_root ? "/" : "",
             has_folder ? f->folder : "", has_folder ? "/" : "", f->name);
    return keep_text(d, strdup(path));
}

// The innermost call that holds the address and lies further out than `below`; NULL: none.
static const struct inlined_range *find_inlined(const struct spy_unit_code *code,
                                                const struct function_range *f, uint64_t address,
                                                uint32_t below)
{
    const struct inlined_range *found = NULL;
    for (uint32_t i = 0; i < f->n; i++) {
        const struct inlined_range *in = &code->inlined[f->first + i];
        if (address >= in->start && address < in->end && in->level < below &&
            (!found || in->level > found->level))
            found = in;
    }
    return found;
}

// The lines of the unit, read when they are first asked for.
static const struct spy_lines *lines_of_unit(struct spy_dwarf *d, struct spy_dwarf_unit *u)
{
    if (!u->code->has_lines) {
        u->code->has_lines = true;
        spy_lines_load(d, u, &u->code->lines);
    }
    return &u->code->lines;
}

size_t spy_debug_info_find(struct spy_debug_info *d, uint64_t address,
                           struct spy_debug_line ret[SPY_DEBUG_LINES_MAX])
{
    forget_texts(d);
    struct spy_dwarf_unit *u = find_unit(d, address);
    struct spy_unit_code *code = u ? code_of_unit(&d->dwarf, u) : NULL;
    if (!code)
        return 0;
    const struct function_range *f = find_function(&d->dwarf, u, address);
    const struct spy_lines *lines = lines_of_unit(&d->dwarf, u);
    const struct spy_line_row *row = spy_lines_find(lines, address);
    uint32_t file = row ? row->file : UINT32_MAX, line = row ? row->line : 0, level = UINT32_MAX;
    size_t n = 0;
    while (f && n < SPY_DEBUG_LINES_MAX - 1 && spy_dwarf_spend(&d->dwarf, f->n, 0)) {
        const struct inlined_range *in = find_inlined(code, f, address, level);
        if (!in)
            break;
        ret[n++] = (struct spy_debug_line){name_of_entry(d, in->entry),
                                           path_of_file(d, u, lines, file), line};
        file = in->call_file;
        line = in->call_line;
        level = in->level;
    }
    if (!f && !row)
        return 0;
    ret[n++] = (struct spy_debug_line){f ? name_of_entry(d, f->entry) : NULL,
                                       path_of_file(d, u, lines, file), line};
    return n;
}

size_t spy_debug_info_inlined(struct spy_debug_info *d, uint64_t address,
                              const char *ret[SPY_DEBUG_LINES_MAX])
{
    forget_texts(d);
    struct spy_dwarf_unit *u = find_unit(d, address);
    struct spy_unit_code *code = u ? code_of_unit(&d->dwarf, u) : NULL;
    const struct function_range *f = code ? find_function(&d->dwarf, u, address) : NULL;
    uint32_t level = UINT32_MAX;
    size_t n = 0;
    while (f && n < SPY_DEBUG_LINES_MAX - 1 && spy_dwarf_spend(&d->dwarf, f->n, 0)) {
        const struct inlined_range *in = find_inlined(code, f, address, level);
        if (!in)
            break;
        ret[n++] = name_of_entry(d, in->entry);
        level = in->level;
    }
    return n;
}
