#include "agent/native/lines.h"
#include "shared/base/mem.h"
#include <stdlib.h>

enum { ROWS_MAX = 4 << 20, FILES_MAX = 1 << 16, FORMATS_MAX = 16 };
enum { CONTENT_PATH = 1, CONTENT_FOLDER = 2 };

struct line_program {
    struct spy_dwarf *d;
    const struct spy_dwarf_unit *u;
    struct spy_lines *lines;
    struct spy_dwarf_unit form_unit; // what forms in the table depend on
    struct spy_cursor c;
    const char *folders[FORMATS_MAX * FORMATS_MAX];
    size_t n_folders;
    uint8_t min_length, max_ops, line_range, opcode_base;
    int8_t line_base;
    uint8_t n_operands[256];
    // The state machine's registers.
    uint64_t address;
    uint64_t op_index;
    uint32_t file, line;
    int error;
};

// --- the header ---

static void add_line_file(struct line_program *p, const char *name, uint64_t folder)
{
    struct spy_lines *l = p->lines;
    if (p->error || !spy_dwarf_spend(p->d, 1, sizeof *l->files))
        return;
    p->error = spy_grow(&l->files, &l->cap_files, l->n_files + 1, sizeof *l->files, FILES_MAX);
    if (p->error == 0)
        l->files[l->n_files++] =
            (struct spy_line_file){name, folder < p->n_folders ? p->folders[folder] : NULL};
}

static void append_line_folder(struct line_program *p, const char *name)
{
    if (p->n_folders < SPY_COUNT(p->folders))
        p->folders[p->n_folders++] = name;
}

static const char *take_name(struct line_program *p)
{
    enum { FORM_STRING = 0x08 };
    const char *text = spy_dwarf_take(p->d, &p->form_unit, &p->c, FORM_STRING).text;
    return text ? text : "";
}

// Folders, then files, each list ended by an empty name. Folder 0 is the unit's; file 0 is none.
static void read_old_names(struct line_program *p)
{
    const char *name;
    append_line_folder(p, p->u->folder);
    while (!p->c.bad && *(name = take_name(p)))
        append_line_folder(p, name);
    add_line_file(p, NULL, 0);
    while (!p->c.bad && !p->error && *(name = take_name(p))) {
        add_line_file(p, name, spy_cursor_uleb(&p->c));
        spy_cursor_uleb(&p->c); // time and size
        spy_cursor_uleb(&p->c);
    }
}

// A list of folders or files, in the forms that stand before it.
static void read_file_names(struct line_program *p, bool are_files)
{
    uint64_t formats[FORMATS_MAX][2];
    uint8_t n_formats = spy_cursor_byte(&p->c);
    for (uint8_t i = 0; i < n_formats; i++) {
        uint64_t content = spy_cursor_uleb(&p->c), form = spy_cursor_uleb(&p->c);
        p->c.bad |= n_formats > FORMATS_MAX;
        formats[i % FORMATS_MAX][0] = content;
        formats[i % FORMATS_MAX][1] = form;
    }
    uint64_t n = spy_cursor_uleb(&p->c);
    for (uint64_t i = 0; i < n && !p->c.bad && !p->error && spy_cursor_left(&p->c); i++) {
        const char *path = NULL;
        uint64_t folder = 0;
        for (uint8_t k = 0; k < n_formats; k++) {
            struct spy_dwarf_value v = spy_dwarf_take(p->d, &p->form_unit, &p->c, formats[k][1]);
            path = formats[k][0] == CONTENT_PATH ? v.text : path;
            folder = formats[k][0] == CONTENT_FOLDER ? v.number : folder;
        }
        if (!spy_dwarf_spend(p->d, 1, 0))
            return;
        if (are_files)
            add_line_file(p, path, folder);
        else
            append_line_folder(p, path);
    }
}

// False: of a version that is not known, or damaged.
static bool read_line_header(struct line_program *p)
{
    struct spy_cursor *c = &p->c;
    uint64_t len = spy_cursor_number(c, 4);
    p->form_unit = *p->u;
    p->form_unit.offset_size = 4;
    if (len == UINT32_MAX) {
        len = spy_cursor_number(c, 8);
        p->form_unit.offset_size = 8;
    }
    if (c->bad || len > spy_cursor_left(c))
        return false;
    c->end = c->at + len;
    uint64_t version = spy_cursor_number(c, 2);
    if (version >= 5 && (spy_cursor_byte(c) != 8 || spy_cursor_byte(c) != 0))
        return false; // the size of an address and of a segment
    uint64_t header = spy_cursor_number(c, p->form_unit.offset_size);
    struct spy_cursor program = *c;
    spy_cursor_skip(&program, header);
    p->min_length = spy_cursor_byte(c);
    p->max_ops = version >= 4 ? spy_cursor_byte(c) : 1;
    spy_cursor_byte(c); // is_stmt at first
    p->line_base = (int8_t)spy_cursor_byte(c);
    p->line_range = spy_cursor_byte(c);
    p->opcode_base = spy_cursor_byte(c);
    for (int i = 1; i < p->opcode_base; i++)
        p->n_operands[i] = spy_cursor_byte(c);
    if (version < 2 || version > 5 || !p->line_range || !p->max_ops)
        return false;
    if (version >= 5) {
        read_file_names(p, false);
        read_file_names(p, true);
    } else {
        read_old_names(p);
    }
    *c = program;
    return !c->bad && !p->error;
}

// --- the program ---

static void begin_sequence(struct line_program *p)
{
    p->address = p->op_index = 0;
    p->file = p->line = 1;
}

static void append_line_row(struct line_program *p, uint32_t line)
{
    struct spy_lines *l = p->lines;
    struct spy_line_row *last = l->n_rows ? &l->rows[l->n_rows - 1] : NULL;
    if (last && last->line == line && last->file == p->file && last->start <= p->address && line)
        return; // the same line continues
    if (!spy_dwarf_spend(p->d, 1, sizeof *l->rows)) {
        p->error = SPY_ERR_LIMIT;
        return;
    }
    p->error = spy_grow(&l->rows, &l->cap_rows, l->n_rows + 1, sizeof *l->rows, ROWS_MAX);
    if (p->error == 0)
        l->rows[l->n_rows++] = (struct spy_line_row){p->address, line, p->file};
}

static void advance_address(struct line_program *p, uint64_t operations)
{
    uint64_t sum = p->op_index + operations;
    p->address += p->min_length * (sum / p->max_ops);
    p->op_index = sum % p->max_ops;
}

static void run_special(struct line_program *p, uint8_t op)
{
    uint8_t adjusted = (uint8_t)(op - p->opcode_base);
    advance_address(p, adjusted / p->line_range);
    p->line += (uint32_t)(p->line_base + adjusted % p->line_range);
    append_line_row(p, p->line);
}

static void run_extended(struct line_program *p)
{
    enum { END_SEQUENCE = 1, SET_ADDRESS = 2 };
    uint64_t len = spy_cursor_uleb(&p->c);
    struct spy_cursor body = p->c;
    spy_cursor_skip(&p->c, len);
    body.end = p->c.at;
    switch (spy_cursor_byte(&body)) {
    case END_SEQUENCE:
        append_line_row(p, 0);
        begin_sequence(p);
        break;
    case SET_ADDRESS:
        p->address = spy_cursor_number(&body, 8);
        p->op_index = 0;
        break;
    default:
        break;
    }
}

static void run_standard(struct line_program *p, uint8_t op)
{
    enum { COPY = 1, ADVANCE_PC, ADVANCE_LINE, SET_FILE, CONST_ADD_PC = 8, FIXED_ADVANCE_PC = 9 };
    switch (op) {
    case COPY:
        append_line_row(p, p->line);
        break;
    case ADVANCE_PC:
        advance_address(p, spy_cursor_uleb(&p->c));
        break;
    case ADVANCE_LINE:
        p->line += (uint32_t)spy_cursor_sleb(&p->c);
        break;
    case SET_FILE:
        p->file = (uint32_t)spy_cursor_uleb(&p->c);
        break;
    case CONST_ADD_PC:
        advance_address(p, (uint64_t)(255 - p->opcode_base) / p->line_range);
        break;
    case FIXED_ADVANCE_PC:
        p->address += spy_cursor_number(&p->c, 2);
        p->op_index = 0;
        break;
    default:
        for (int i = 0; i < p->n_operands[op]; i++)
            spy_cursor_uleb(&p->c);
        break;
    }
}

static void run_line_program(struct line_program *p)
{
    begin_sequence(p);
    while (!p->error && !p->c.bad && spy_cursor_left(&p->c) && spy_dwarf_spend(p->d, 1, 0)) {
        uint8_t op = spy_cursor_byte(&p->c);
        if (op >= p->opcode_base)
            run_special(p, op);
        else if (op == 0)
            run_extended(p);
        else
            run_standard(p, op);
    }
}

// The end of a sequence stands before a row at the same address, where another sequence begins.
static int compare_line_rows(const void *a, const void *b)
{
    const struct spy_line_row *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return (x->line != 0) - (y->line != 0);
}

// Where rows of a sequence share an address, the last holds.
static void sort_rows(struct spy_lines *l)
{
    bool sorted = true;
    size_t kept = 0;
    for (size_t i = 0; i < l->n_rows; i++) {
        bool same = kept && l->rows[kept - 1].start == l->rows[i].start && l->rows[kept - 1].line &&
                    l->rows[i].line;
        kept -= same;
        sorted &= !kept || l->rows[kept - 1].start <= l->rows[i].start;
        l->rows[kept++] = l->rows[i];
    }
    l->n_rows = kept;
    if (!sorted)
        qsort(l->rows, l->n_rows, sizeof *l->rows, compare_line_rows);
}

int spy_lines_load(struct spy_dwarf *d, const struct spy_dwarf_unit *u, struct spy_lines *ret)
{
    struct line_program p = {.d = d, .u = u, .lines = ret};
    *ret = (struct spy_lines){0};
    if (!u->has_line)
        return 0;
    p.c = spy_dwarf_cursor(d, SPY_DWARF_LINE, u->line);
    if (read_line_header(&p))
        run_line_program(&p);
    if (p.error < 0)
        spy_lines_done(ret);
    else
        sort_rows(ret);
    return p.error;
}

void spy_lines_done(struct spy_lines *l)
{
    free(l->rows);
    free(l->files);
    *l = (struct spy_lines){0};
}

const struct spy_line_row *spy_lines_find(const struct spy_lines *l, uint64_t address)
{
    size_t lo = 0, hi = l->n_rows;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->rows[mid].start <= address)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && l->rows[lo - 1].line ? &l->rows[lo - 1] : NULL;
}
