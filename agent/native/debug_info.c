#include "agent/native/debug_info.h"
#include "agent/native/demangle.h"
#include "agent/native/lines.h"
#include "agent/native/symtab.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANGES_MAX = 1 << 20, ENCLOSING_TRIES = 16, ORIGINS_MAX = 8, PATH_TEXT_MAX = 4096 };
enum { TAG_INLINED = 0x1d, TAG_FUNCTION = 0x2e };

// Code of a function. Its inlined calls are among those of its group: functions inside of functions
// share one.
struct function_range {
    uint64_t start, end, entry;
    uint32_t first, n;
};

struct inlined_range {
    uint64_t start, end, entry;
    uint32_t level, call_file, call_line;
};

struct spy_unit_code {
    struct spy_lines lines;
    struct function_range *functions; // by rising start
    struct inlined_range *inlined;    // as they stand in the file
    size_t n_functions, cap_functions, n_inlined, cap_inlined;
};

// --- the index of units ---

struct unit_adder {
    struct spy_debug_info *info;
    size_t unit;
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

static int index_units(struct spy_debug_info *d)
{
    struct unit_adder a = {.info = d};
    struct spy_dwarf_entry e;
    for (; a.unit < d->dwarf.n_units && a.error != SPY_ERR_NOMEM; a.unit++) {
        struct spy_dwarf_unit *u = &d->dwarf.units[a.unit];
        if (spy_dwarf_unit_begin(&d->dwarf, u, &e))
            spy_dwarf_ranges(&d->dwarf, u, &e, add_unit_range, &a);
    }
    if (d->n_ranges)
        qsort(d->ranges, d->n_ranges, sizeof *d->ranges, compare_unit_ranges);
    return a.error == SPY_ERR_NOMEM ? a.error : 0;
}

int spy_debug_info_load(const struct spy_elf *e, size_t max_bytes, struct spy_debug_info *ret)
{
    struct spy_debug_info d = {0};
    int r = spy_dwarf_load(e, max_bytes, &d.dwarf);
    if (r < 0)
        return r;
    r = index_units(&d);
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
        free_code(d->dwarf.units[i].code);
    free(d->ranges);
    spy_dwarf_done(&d->dwarf);
    *d = (struct spy_debug_info){0};
}

// --- the code of a unit ---

struct code_reader {
    struct spy_dwarf *d;
    struct spy_unit_code *code;
    const struct spy_dwarf_entry *entry;
    uint64_t at;
    uint32_t level;
    uint32_t group_level; // 0: no function is open
    size_t group_first_function, group_first_inlined;
};

static bool add_function_range(void *context, uint64_t start, uint64_t end)
{
    struct code_reader *r = context;
    struct spy_unit_code *code = r->code;
    if (!spy_dwarf_spend(r->d, 1, sizeof *code->functions) ||
        spy_grow(&code->functions, &code->cap_functions, code->n_functions + 1,
                 sizeof *code->functions, RANGES_MAX) < 0)
        return false;
    code->functions[code->n_functions++] = (struct function_range){
        .start = start, .end = end, .entry = r->at, .first = (uint32_t)r->group_first_inlined};
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

static void end_group(struct code_reader *r)
{
    struct spy_unit_code *code = r->code;
    for (size_t i = r->group_first_function; i < code->n_functions; i++)
        code->functions[i].n = (uint32_t)code->n_inlined - code->functions[i].first;
    r->group_level = 0;
    r->group_first_function = code->n_functions;
    r->group_first_inlined = code->n_inlined;
}

static void take_code_entry(struct code_reader *r, const struct spy_dwarf_unit *u)
{
    if (r->group_level && r->level <= r->group_level)
        end_group(r);
    if (r->entry->tag == TAG_FUNCTION) {
        r->group_level = r->group_level ? r->group_level : r->level;
        spy_dwarf_ranges(r->d, u, r->entry, add_function_range, r);
    } else if (r->entry->tag == TAG_INLINED) {
        spy_dwarf_ranges(r->d, u, r->entry, add_inlined_range, r);
    }
}

static int compare_functions_of_unit(const void *a, const void *b)
{
    const struct function_range *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

static void read_entries(struct spy_dwarf *d, struct spy_dwarf_unit *u, struct spy_unit_code *code)
{
    struct spy_dwarf_entry e;
    struct code_reader r = {.d = d, .code = code, .entry = &e};
    const uint8_t *start = d->sections[SPY_DWARF_INFO].bytes;
    struct spy_cursor c = spy_dwarf_cursor(d, SPY_DWARF_INFO, u->first);
    c.end = start + u->end;
    do {
        r.at = (uint64_t)(c.at - start);
        if (!spy_dwarf_next(d, u, &c, &e))
            break;
        if (!e.tag) {
            r.level--;
            continue;
        }
        if (r.level) // not the unit itself
            take_code_entry(&r, u);
        r.level += e.has_children;
    } while (r.level);
    end_group(&r);
    if (code->n_functions)
        qsort(code->functions, code->n_functions, sizeof *code->functions,
              compare_functions_of_unit);
}

// NULL without memory. What is missing of it stays so.
static struct spy_unit_code *code_of_unit(struct spy_dwarf *d, struct spy_dwarf_unit *u)
{
    if (u->code || !spy_dwarf_spend(d, 1, sizeof *u->code))
        return u->code;
    u->code = calloc(1, sizeof *u->code);
    if (u->code) {
        spy_lines_load(d, u, &u->code->lines);
        read_entries(d, u, u->code);
    }
    return u->code;
}

// --- asking ---

static struct spy_dwarf_unit *find_unit(struct spy_debug_info *d, uint64_t address)
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
            return &d->dwarf.units[d->ranges[i].unit];
    return NULL;
}

static const struct function_range *find_function_range(const struct spy_unit_code *code,
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
    const struct function_range *f = lo ? &code->functions[lo - 1] : NULL;
    return f && address < f->end ? f : NULL;
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
        if (!u)
            break;
        struct spy_cursor c = spy_dwarf_cursor(&d->dwarf, SPY_DWARF_INFO, at);
        c.end = d->dwarf.sections[SPY_DWARF_INFO].bytes + u->end;
        if (!spy_dwarf_next(&d->dwarf, u, &c, &e))
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

size_t spy_debug_info_find(struct spy_debug_info *d, uint64_t address,
                           struct spy_debug_line ret[SPY_DEBUG_LINES_MAX])
{
    forget_texts(d);
    struct spy_dwarf_unit *u = find_unit(d, address);
    struct spy_unit_code *code = u ? code_of_unit(&d->dwarf, u) : NULL;
    if (!code)
        return 0;
    const struct function_range *f = find_function_range(code, address);
    const struct spy_line_row *row = spy_lines_find(&code->lines, address);
    uint32_t file = row ? row->file : UINT32_MAX, line = row ? row->line : 0, level = UINT32_MAX;
    size_t n = 0;
    while (f && n < SPY_DEBUG_LINES_MAX - 1 && spy_dwarf_spend(&d->dwarf, f->n, 0)) {
        const struct inlined_range *in = find_inlined(code, f, address, level);
        if (!in)
            break;
        ret[n++] = (struct spy_debug_line){name_of_entry(d, in->entry),
                                           path_of_file(d, u, &code->lines, file), line};
        file = in->call_file;
        line = in->call_line;
        level = in->level;
    }
    if (!f && !row)
        return 0;
    ret[n++] = (struct spy_debug_line){f ? name_of_entry(d, f->entry) : NULL,
                                       path_of_file(d, u, &code->lines, file), line};
    return n;
}
