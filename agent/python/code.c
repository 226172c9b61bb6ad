#include "agent/python/code.h"
#include "agent/python/text.h"
#include "agent/python/word.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum {
    LINETABLE_MAX = 1 << 20,
    SPANS_PER_CODE = 4,
    CODES_PER_READ = 16,
};

void spy_codes_init(struct spy_codes *c, const struct spy_target *t, const struct spy_py_layout *l)
{
    *c = (struct spy_codes){.target = t, .layout = l, .epoch = 1};
}

static void code_free(struct spy_code *code)
{
    free(code->name);
    free(code->filename);
    free(code->lines);
    free(code->table);
    free(code);
}

static void forget_all(struct spy_codes *c)
{
    for (size_t i = 0; i < c->n; i++)
        code_free(c->list[i]);
    c->n = c->n_addrs = 0;
    c->bytes = 0;
    c->epoch++;
    spy_map_clear(&c->map);
}

void spy_codes_done(struct spy_codes *c)
{
    forget_all(c);
    free(c->list);
    free(c->addrs);
    spy_map_free(&c->map);
}

void spy_codes_keep_tables(struct spy_codes *c)
{
    c->keep_tables = c->layout->lines == SPY_LINETABLE_LOCATIONS;
    forget_all(c);
}

struct spy_code *spy_codes_at(const struct spy_codes *c, int32_t id)
{
    return c->list[id];
}

uint32_t spy_code_flags(const struct spy_codes *c, int32_t id)
{
    return spy_py_half(c->list[id]->head, c->layout->co_flags);
}

// Reference counts change all the time, and caches and instrumentation pointers may: only fields
// that identify a code object are compared.
static bool is_same_head(const struct spy_py_layout *l, const uint8_t *a, const uint8_t *b)
{
    return spy_py_word(a, l->ob_type) == spy_py_word(b, l->ob_type) &&
           spy_py_word(a, l->co_units) == spy_py_word(b, l->co_units) &&
           spy_py_word(a, l->co_filename) == spy_py_word(b, l->co_filename) &&
           spy_py_word(a, l->co_qualname) == spy_py_word(b, l->co_qualname) &&
           spy_py_word(a, l->co_linetable) == spy_py_word(b, l->co_linetable) &&
           spy_py_half(a, l->co_firstlineno) == spy_py_half(b, l->co_firstlineno) &&
           spy_py_half(a, l->co_nlocalsplus) == spy_py_half(b, l->co_nlocalsplus) &&
           spy_py_half(a, l->co_stacksize) == spy_py_half(b, l->co_stacksize);
}

// Where the characters of a string end, as far as they are compared. The bytes behind them are not
// the string's, and change.
static size_t find_text_end(const struct spy_py_layout *l, const uint8_t *text)
{
    uint64_t n = spy_py_word(text, l->str_length);
    uint32_t state = spy_py_half(text, l->str_state) >> l->str_kind, kind = state & 7;
    bool compact = state >> 3 & 1, ascii = state >> 4 & 1;
    if (l->str_is_bytes)
        return n < SPY_CODE_PEEK ? l->bytes_data + (size_t)n : SPY_CODE_PEEK;
    if (!compact)
        return l->str_compact_data + 8u; // a pointer to them
    return (ascii ? l->str_ascii_data : l->str_compact_data) +
           (n < SPY_CODE_PEEK ? (size_t)n * kind : SPY_CODE_PEEK);
}

// The hash, length and first characters identify a string; its reference count and interned state
// do not.
static bool is_same_object(const struct spy_py_layout *l, const uint8_t *a, const uint8_t *b,
                           size_t from, size_t end)
{
    end = end < SPY_CODE_PEEK ? end : SPY_CODE_PEEK;
    return !memcmp(a + l->ob_type, b + l->ob_type, 16) &&
           (end <= from || !memcmp(a + from, b + from, end - from));
}

static size_t find_table_end(const struct spy_py_layout *l, const struct spy_code *code)
{
    uint64_t n = spy_py_word(code->lines_peek, l->ob_size);
    return n < SPY_CODE_PEEK ? l->bytes_data + (size_t)n : SPY_CODE_PEEK;
}

static bool is_same_text(const struct spy_py_layout *l, const uint8_t *a, const uint8_t *b)
{
    return is_same_object(l, a, b, l->str_ascii_data, find_text_end(l, a));
}

static struct spy_code_addr *find_addr(const struct spy_codes *c, uint64_t addr)
{
    uint64_t hash = spy_hash_mix(addr, 0);
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&c->map, hash, &at)) != SPY_MAP_NONE;)
        if (c->addrs[i].addr == addr)
            return &c->addrs[i];
    return NULL;
}

static int32_t find_newest(const struct spy_codes *c, uint64_t addr)
{
    const struct spy_code_addr *a = find_addr(c, addr);
    return a ? a->newest : SPY_CODE_NONE;
}

// Makes id the code object at addr.
static int set_newest(struct spy_codes *c, uint64_t addr, int32_t id)
{
    struct spy_code_addr *a = find_addr(c, addr);
    if (a) {
        a->newest = id;
        return 0;
    }
    int r = spy_grow(&c->addrs, &c->addrs_cap, c->n_addrs + 1, sizeof *c->addrs, SPY_CODES_MAX);
    if (r == 0)
        r = spy_map_add(&c->map, spy_hash_mix(addr, 0), (uint32_t)c->n_addrs);
    if (r == 0)
        c->addrs[c->n_addrs++] = (struct spy_code_addr){addr, id};
    return r;
}

// A small object near the end of a mapping may be shorter than the peek: then only its header is
// read.
static int peek_object(const struct spy_codes *c, uint64_t addr, uint8_t *out)
{
    memset(out, 0, SPY_CODE_PEEK);
    int r = spy_target_read(c->target, addr, out, SPY_CODE_PEEK);
    if (r == SPY_ERR_TORN) {
        memset(out, 0, SPY_CODE_PEEK);
        r = spy_target_read(c->target, addr, out, c->layout->bytes_data);
    }
    return r;
}

static int load_text(const struct spy_codes *c, uint64_t addr, char **ret)
{
    struct spy_buf b = SPY_BUF_INIT((SPY_PY_TEXT_MAX + 1) * 4);
    int r = spy_py_text(c->target, c->layout, addr, &b);
    if (r == 0)
        r = spy_buf_append(&b, "", 0); // so that an empty text has memory too
    if (r < 0) {
        spy_buf_free(&b);
        return r;
    }
    *ret = (char *)b.data;
    return 0;
}

static int load_lines(struct spy_codes *c, struct spy_code *code, uint64_t table)
{
    uint64_t len;
    int r = spy_target_read_u64(c->target, table + c->layout->ob_size, &len);
    if (r < 0)
        return r;
    size_t n = len < LINETABLE_MAX ? (size_t)len : LINETABLE_MAX;
    _cleanup_free_ uint8_t *bytes = malloc(n + 1);
    code->n_lines = code->units < SPY_CODE_UNITS_MAX ? code->units : SPY_CODE_UNITS_MAX;
    code->lines = calloc(code->n_lines + 1u, sizeof *code->lines);
    if (!bytes || !code->lines)
        return SPY_ERR_NOMEM;
    r = n ? spy_target_read(c->target, table + c->layout->bytes_data, bytes, n) : 0;
    if (r == 0)
        spy_linetable_lines(c->layout->lines, c->layout->unit_bytes, bytes, n, code->first_line,
                            code->lines, code->n_lines);
    if (r == 0 && c->keep_tables) {
        code->n_table = (uint32_t)n;
        code->table = bytes;
        bytes = NULL;
    }
    return r;
}

bool spy_code_is_type(const struct spy_target *t, const struct spy_py_layout *l, uint64_t type)
{
    uint64_t name;
    char text[5];
    if (spy_target_read_u64(t, type + l->ob_size + 8u, &name) < 0) // PyTypeObject.tp_name
        return false;
    if (spy_target_read(t, name, text, sizeof text) == 0)
        return !memcmp(text, "code", 5);
    return !spy_target_is_live(t) && name >= 4096;
}

// True if this is the header of a code object. The first type named "code" is the type of all.
static bool is_code_head(struct spy_codes *c, const uint8_t *head)
{
    uint64_t type = spy_py_word(head, c->layout->ob_type);
    if (c->type)
        return type == c->type;
    if (!spy_code_is_type(c->target, c->layout, type))
        return false;
    c->type = type;
    return true;
}

// The number of code units, from the code object itself or from the bytes object it points to.
static int read_units(const struct spy_codes *c, const struct spy_code *code, uint64_t *ret)
{
    const struct spy_py_layout *l = c->layout;
    *ret = spy_py_word(code->head, l->co_units);
    if (!l->heap_frames)
        return 0;
    int r = spy_target_read_u64(c->target, *ret + l->ob_size, ret);
    *ret /= l->unit_bytes;
    return r;
}

static int fill_code(struct spy_codes *c, struct spy_code *code)
{
    const struct spy_py_layout *l = c->layout;
    uint64_t units = 0;
    int r = read_units(c, code, &units);
    uint32_t locals = spy_py_half(code->head, l->co_nlocalsplus),
             stack = spy_py_half(code->head, l->co_stacksize);
    if (r < 0)
        return r;
    if (units > INT32_MAX || locals > 1 << 24 || stack > 1 << 24)
        return SPY_ERR_TORN;
    code->units = (uint32_t)units;
    code->frame_bytes = l->f_size + (locals + stack) * 8;
    code->first_traceable =
        l->co_firsttraceable == SPY_PY_ABSENT ? 0 : spy_py_half(code->head, l->co_firsttraceable);
    code->first_line = spy_py_half(code->head, l->co_firstlineno);
    r = peek_object(c, spy_py_word(code->head, l->co_qualname), code->name_peek);
    if (r == 0)
        r = peek_object(c, spy_py_word(code->head, l->co_filename), code->file_peek);
    if (r == 0)
        r = peek_object(c, spy_py_word(code->head, l->co_linetable), code->lines_peek);
    if (r == 0)
        r = load_text(c, spy_py_word(code->head, l->co_qualname), &code->name);
    if (r == 0)
        r = load_text(c, spy_py_word(code->head, l->co_filename), &code->filename);
    if (r == 0)
        r = load_lines(c, code, spy_py_word(code->head, l->co_linetable));
    return r;
}

// The parts of a code object that are compared, as they are in the target now.
struct check {
    uint8_t head[SPY_CODE_HEAD], name[SPY_CODE_PEEK], file[SPY_CODE_PEEK], lines[SPY_CODE_PEEK];
};

static bool is_unchanged(const struct spy_codes *c, const struct spy_code *code,
                         const struct check *k)
{
    const struct spy_py_layout *l = c->layout;
    return is_same_head(l, code->head, k->head) && is_same_text(l, code->name_peek, k->name) &&
           is_same_text(l, code->file_peek, k->file) &&
           is_same_object(l, code->lines_peek, k->lines, l->bytes_data, find_table_end(l, code));
}

static void make_check_spans(const struct spy_codes *c, const struct spy_code *code,
                             struct check *to, struct spy_span spans[SPANS_PER_CODE])
{
    const struct spy_py_layout *l = c->layout;
    spans[0] = (struct spy_span){code->addr, to->head, l->co_head};
    spans[1] = (struct spy_span){spy_py_word(code->head, l->co_qualname), to->name, SPY_CODE_PEEK};
    spans[2] = (struct spy_span){spy_py_word(code->head, l->co_filename), to->file, SPY_CODE_PEEK};
    spans[3] =
        (struct spy_span){spy_py_word(code->head, l->co_linetable), to->lines, SPY_CODE_PEEK};
}

// co_tlbc points to a count and then as many addresses, first that of the code object's own
// bytecode. The array moves when it grows; the copies stay until their generation ends.
static uint64_t read_bytecode(const struct spy_codes *c, uint64_t code, int32_t index)
{
    uint64_t array, size, addr;
    if (spy_target_read_u64(c->target, code + c->layout->co_tlbc, &array) < 0 || !array ||
        spy_target_read_u64(c->target, array, &size) < 0 || (uint64_t)index >= size ||
        spy_target_read_u64(c->target, array + 8 + (uint64_t)index * 8, &addr) < 0)
        return 0;
    return addr;
}

uint64_t spy_codes_bytecode(struct spy_codes *c, int32_t id, int32_t index, uint32_t generation)
{
    struct spy_code *code = c->list[id];
    if (index <= 0)
        return index ? 0 : code->addr + c->layout->co_code;
    struct spy_code_copy *copy = &code->copies[(uint32_t)index % SPY_CODE_COPIES];
    if (!copy->addr || copy->index != index || copy->generation != generation)
        *copy = (struct spy_code_copy){index, generation, read_bytecode(c, code->addr, index)};
    return copy->addr;
}

// Loading takes several reads, between which the object may have been freed and its memory reused.
// If the parts that identify it are unchanged afterwards, all reads were of one object.
static bool is_still_same(const struct spy_codes *c, const struct spy_code *code)
{
    struct check k = {0};
    const struct spy_py_layout *l = c->layout;
    return spy_target_read(c->target, code->addr, k.head, l->co_head) == 0 &&
           peek_object(c, spy_py_word(code->head, l->co_qualname), k.name) == 0 &&
           peek_object(c, spy_py_word(code->head, l->co_filename), k.file) == 0 &&
           peek_object(c, spy_py_word(code->head, l->co_linetable), k.lines) == 0 &&
           is_unchanged(c, code, &k);
}

// Loads the code object at addr. *ret_id is SPY_CODE_NONE if there is none.
static int load_code(struct spy_codes *c, struct spy_codes_when when, uint64_t addr,
                     int32_t *ret_id)
{
    if (c->bytes > 2 * (size_t)SPY_CODE_BYTES_MAX) // one stack of huge code objects
        return SPY_ERR_LIMIT;
    struct spy_code *code = calloc(1, sizeof *code);
    if (!code)
        return SPY_ERR_NOMEM;
    *ret_id = SPY_CODE_NONE;
    code->addr = addr;
    code->checked = when.sample;
    code->generation = when.generation;
    int r = spy_target_read(c->target, addr, code->head, c->layout->co_head);
    if (r == 0)
        r = is_code_head(c, code->head) ? fill_code(c, code) : SPY_ERR_TORN;
    if (r == 0 && !is_still_same(c, code))
        r = SPY_ERR_TORN;
    if (r == 0)
        r = spy_grow(&c->list, &c->cap, c->n + 1, sizeof *c->list, SPY_CODES_MAX);
    if (r == 0)
        r = set_newest(c, addr, (int32_t)c->n);
    if (r < 0) {
        code_free(code);
        return r == SPY_ERR_TORN ? 0 : r;
    }
    // An existing code object has been counted.
    if (when.next_version && spy_py_half(code->head, SPY_CODE_VERSION) >= when.next_version)
        c->miscounted = true;
    *ret_id = (int32_t)c->n;
    c->list[c->n++] = code;
    c->bytes += sizeof *code + (code->n_lines + 1u) * sizeof *code->lines + code->n_table +
                strlen(code->name) + strlen(code->filename);
    return 0;
}

// Checks up to CODES_PER_READ known code objects with one read. Objects behind a failure (a page
// was unmapped) stay unchecked and are loaded again.
static void check_known(struct spy_codes *c, struct spy_codes_when when, const int32_t *ids,
                        size_t n)
{
    struct check got[CODES_PER_READ];
    struct spy_span spans[CODES_PER_READ * SPANS_PER_CODE] = {0};
    for (size_t i = 0; i < n; i++)
        make_check_spans(c, c->list[ids[i]], &got[i], &spans[i * SPANS_PER_CODE]);
    size_t done = 0;
    spy_target_read_spans(c->target, spans, n * SPANS_PER_CODE, &done);
    for (size_t i = 0; i < n; i++) {
        bool same = i * SPANS_PER_CODE + 3 < done && is_unchanged(c, c->list[ids[i]], &got[i]);
        if (same) {
            c->list[ids[i]]->checked = when.sample;
            c->list[ids[i]]->generation = when.generation;
            c->list[ids[i]]->checks++;
        }
    }
}

static int reload_code(struct spy_codes *c, struct spy_codes_when when, uint64_t addr, int32_t *id)
{
    int32_t fresh;
    int r = load_code(c, when, addr, &fresh);
    c->fresh = true;
    if (r < 0)
        return r;
    const struct spy_code *old = *id >= 0 ? c->list[*id] : NULL;
    if (old && fresh >= 0) {
        struct spy_code *now = c->list[fresh];
        struct check k;
        memcpy(k.head, now->head, sizeof k.head);
        memcpy(k.name, now->name_peek, sizeof k.name);
        memcpy(k.file, now->file_peek, sizeof k.file);
        memcpy(k.lines, now->lines_peek, sizeof k.lines);
        bool same = is_unchanged(c, old, &k);
        // By the count nothing had changed: it is not the count it is taken for.
        c->miscounted =
            c->miscounted || (!same && when.generation && old->generation == when.generation);
        now->restless = old->restless || !same;
    }
    if (*id >= 0)
        c->list[*id]->replaced = true;
    *id = fresh;
    return 0;
}

static uint64_t find_check_period(const struct spy_code *code)
{
    return code->checks < SPY_CODE_SETTLED || code->restless ? 1 : SPY_CODE_RECHECK;
}

// True if the interpreter's count shows changes.
static bool is_counted(const struct spy_codes *c, struct spy_codes_when when)
{
    return when.generation && !c->miscounted;
}

bool spy_codes_settled(const struct spy_codes *c, uint64_t addr, int32_t id,
                       struct spy_codes_when when)
{
    id = id < 0 ? find_newest(c, addr) : id;
    const struct spy_code *code = id < 0 ? NULL : c->list[id];
    if (!code || code->restless || code->replaced)
        return false;
    return is_counted(c, when) ? code->generation == when.generation : find_check_period(code) > 1;
}

// `ahead`: also what is due soon, so that one read checks all code objects of a stack.
static bool is_check_due(const struct spy_codes *c, const struct spy_code *code,
                         struct spy_codes_when when, bool ahead)
{
    enum { DISTRUST = 256 }; // the place of the count is not published before 3.14
    uint64_t age = when.sample - code->checked;
    if (code->checked == when.sample)
        return false;
    if (code->replaced)
        return true;
    if (is_counted(c, when))
        return code->generation != when.generation ||
               (c->layout->interp_next_version && age >= DISTRUST);
    return age >= find_check_period(code) / (ahead ? 2 : 1);
}

bool spy_codes_due(const struct spy_codes *c, int32_t id, struct spy_codes_when when)
{
    return is_check_due(c, c->list[id], when, false);
}

static bool is_in(const int32_t *list, size_t n, int32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == id)
            return true;
    return false;
}

// Finds the known code objects and checks those that are due, in as few reads as possible.
static void resolve_known(struct spy_codes *c, struct spy_codes_when when, const uint64_t *addrs,
                          int32_t *ids, size_t n)
{
    int32_t todo[CODES_PER_READ];
    size_t n_todo = 0, due = 0;
    for (size_t i = 0; i < n; i++) {
        // A recursion repeats one code object.
        if (i && addrs[i] == addrs[i - 1])
            ids[i] = ids[i - 1];
        else if (ids[i] < 0 || c->list[ids[i]]->replaced)
            ids[i] = find_newest(c, addrs[i]);
        due += ids[i] >= 0 && is_check_due(c, c->list[ids[i]], when, false);
    }
    for (size_t i = 0; i < n && due; i++) {
        if (ids[i] < 0 || !is_check_due(c, c->list[ids[i]], when, true) ||
            is_in(todo, n_todo, ids[i]))
            continue;
        todo[n_todo++] = ids[i];
        if (n_todo == CODES_PER_READ) {
            check_known(c, when, todo, n_todo);
            n_todo = 0;
        }
    }
    if (n_todo)
        check_known(c, when, todo, n_todo);
}

void spy_codes_make_room(struct spy_codes *c, size_t n)
{
    if (c->n + n > SPY_CODES_MAX || c->bytes > SPY_CODE_BYTES_MAX)
        forget_all(c);
}

int spy_codes_resolve(struct spy_codes *c, struct spy_codes_when when, const uint64_t *addrs,
                      int32_t *ids, size_t n)
{
    c->fresh = false;
    resolve_known(c, when, addrs, ids, n);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= 0 && !is_check_due(c, c->list[ids[i]], when, false))
            continue;
        // An earlier iteration may have read the same address.
        int32_t id = find_newest(c, addrs[i]);
        int r = 0;
        if (id < 0 || is_check_due(c, c->list[id], when, false))
            r = reload_code(c, when, addrs[i], &id);
        if (r < 0)
            return r;
        ids[i] = id;
    }
    return 0;
}

struct spy_location spy_code_location(const struct spy_code *code, int64_t unit)
{
    struct spy_location l = {0};
    if (code->table && unit >= 0 && unit < code->n_lines)
        spy_linetable_locations(code->table, code->n_table, code->first_line, (size_t)unit, &l, 1);
    return l;
}
