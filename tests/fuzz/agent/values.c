// Local variables and the text of values, in memory that is hostile and changes between two reads.
//
// The input is a program that fills the memory: types that have the names podspy looks for, and
// cells, each an object of one of them, whose words are pointers to cells and types, counts, and
// what hurts. So most inputs are objects of some shape, and few are refused at their first word.
#include "../fuzz.h"
#include "agent/python/locals.h"
#include "agent/python/objects.h"
#include "agent/python/value.h"
#include "agent/target/still.h"
#include "shared/base/utf8.h"
#include <string.h>

enum {
    BASE = 0x10000,
    TYPE_BYTES = 1024,
    CELL_BYTES = 128,
    CELLS_MAX = 256,
    EDITS = 4,
    WORD_INPUT = 3, // bytes of input for a word
};

static const char *const names[] = {
    "object",
    "NoneType",
    "bool",
    "int",
    "long",
    "float",
    "complex",
    "str",
    "unicode",
    "bytes",
    "bytearray",
    "list",
    "tuple",
    "dict",
    "frozendict",
    "set",
    "frozenset",
    "collections.deque",
    "slice",
    "range",
    "BaseException",
    "exceptions.BaseException",
    "type",
    "function",
    "ellipsis",
    "numpy.float16",
    "numpy.complex64",
    "numpy.int8",
    "numpy.ndarray",
    "collections.OrderedDict",
    "collections.defaultdict",
    "cell",
    "member_descriptor",
    // From here on classes of Python code.
    "EnumMeta",
    "Plain",
    "Point",
    "Named",
    "password",
};
enum { TYPES = sizeof names / sizeof *names, CLASSES = 5, CELLS_AT = BASE + TYPES * TYPE_BYTES };

static uint8_t memory[TYPES * TYPE_BYTES + CELLS_MAX * CELL_BYTES];
static size_t n_cells;

struct input {
    const uint8_t *at;
    size_t left;
};

static uint8_t take_byte(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

static void put_word(uint64_t addr, uint64_t word)
{
    if (addr >= BASE && addr - BASE <= sizeof memory - sizeof word)
        memcpy(memory + (addr - BASE), &word, sizeof word);
}

static uint64_t type_at(size_t i)
{
    return BASE + i % TYPES * TYPE_BYTES;
}

static uint64_t cell_at(size_t i)
{
    return CELLS_AT + i % (n_cells ? n_cells : 1) * CELL_BYTES;
}

static uint64_t take_word(struct input *in)
{
    uint8_t tag = take_byte(in), low = take_byte(in), high = take_byte(in);
    uint64_t both = low | (uint64_t)high << 8;
    switch (tag % 9) {
    case 0:
        return low & 7;
    case 1:
    case 2:
        return cell_at(low);
    case 3:
        return BASE + both * 8 % sizeof memory;
    case 4:
        return ~(uint64_t)low;
    case 5:
        return 1ull << (low & 63);
    case 6:
        return type_at(low);
    case 7:
        return 0x6161616100000000ull | both << 8;
    default:
        return both;
    }
}

// The type of the type, its flags, base, dict and members are the input's.
static void make_type(const struct spy_py_layout *l, const struct spy_py_objects *o, size_t i,
                      struct input *in)
{
    enum { HEAPTYPE = 1 << 9, INLINE_VALUES = 1 << 2, MANAGED_DICT = 1 << 4, NAME_AT = 960 };
    uint64_t at = type_at(i);
    bool is_class = i >= TYPES - CLASSES;
    memcpy(memory + (at - BASE) + NAME_AT, names[i], strlen(names[i]) + 1);
    put_word(at + o->tp_name, at + NAME_AT);
    put_word(at + o->tp_basicsize, 48);
    put_word(at + l->ob_type, type_at(is_class ? TYPES - CLASSES : 22));
    put_word(at + o->tp_repr, i);
    if (!is_class)
        return;
    uint8_t flags = take_byte(in);
    put_word(at + o->tp_flags, HEAPTYPE | (flags & (INLINE_VALUES | MANAGED_DICT)));
    put_word(at + l->ob_size, flags >> 5);
    put_word(at + o->tp_base, type_at(take_byte(in)));
    put_word(at + o->tp_dict, cell_at(take_byte(in)));
    put_word(at + o->tp_members, cell_at(take_byte(in)));
    put_word(at + o->tp_dictoffset, (uint64_t)(int64_t)(int8_t)take_byte(in));
    put_word(at + o->tp_itemsize, flags & 8);
    if (o->ht_cached_keys != SPY_PY_ABSENT) {
        put_word(at + o->ht_cached_keys, cell_at(take_byte(in)));
        put_word(at + o->ht_qualname, cell_at(take_byte(in)));
    }
}

static void make_cell(const struct spy_py_layout *l, size_t i, struct input *in)
{
    uint64_t at = CELLS_AT + i * CELL_BYTES;
    uint8_t type = take_byte(in);
    for (size_t k = 0; k < CELL_BYTES; k += 8)
        put_word(at + k, take_word(in));
    if (type < 0xf0)
        put_word(at + l->ob_type, type_at(type));
}

// What changes while it is read.
struct edits {
    size_t reads;
    struct {
        uint8_t after;
        uint64_t addr, word;
    } list[EDITS];
};

static void count_read(void *context, uint64_t addr, const void *bytes, size_t len)
{
    struct edits *e = context;
    (void)addr, (void)bytes, (void)len;
    e->reads++;
    for (size_t i = 0; i < EDITS; i++)
        if (e->list[i].after && e->list[i].after == e->reads)
            put_word(e->list[i].addr, e->list[i].word);
}

static void check_value(struct spy_py_values *v, struct edits *e, uint64_t addr, unsigned level)
{
    struct spy_buf out = SPY_BUF_INIT(1 << 20);
    e->reads = 0;
    MUST(spy_py_value_text(v, NULL, addr, &out) == 0);
    // One that fails may be tried twice.
    MUST(e->reads <= SPY_PY_VALUE_READS);
    const char *text = spy_buf_str(&out);
    size_t chars = 0;
    for (size_t i = 0, len; i < out.len; i += len, chars++) {
        MUST((len = spy_utf8_len(text + i, out.len - i)) > 0);
        MUST((uint8_t)text[i] >= 0x20 && text[i] != 0x7f);
    }
    MUST(chars && chars <= (size_t)SPY_PY_VALUE_CHARS * level);
    spy_buf_free(&out);
}

static void check_locals(const struct spy_target *t, const struct spy_py_layout *l)
{
    struct spy_py_locals locals = {.n = 0};
    uint64_t frame = cell_at(8), code = cell_at(0);
    put_word(frame + l->f_code, code);
    if (spy_py_locals_read(t, l, frame, code, &locals) == 0)
        for (size_t i = 0; i < locals.n; i++)
            MUST(locals.list[i].value &&
                 locals.list[i].name + strlen(spy_py_local_name(&locals, i)) < locals.names.len);
    MUST(locals.n <= SPY_PY_LOCALS_MAX);
    spy_py_locals_done(&locals);
}

static void read_all(const struct spy_py_layout *l, struct edits *e, uint8_t options)
{
    struct spy_still *s = spy_still_new();
    struct spy_target *t = NULL;
    struct spy_still_piece piece = {
        .start = BASE, .end = CELLS_AT + n_cells * CELL_BYTES, .bytes = memory};
    MUST(s && spy_still_add_piece(s, &piece) == 0 && spy_still_settle(s) == 0);
    s->touched = count_read;
    s->touched_context = e;
    MUST(spy_target_of_still(s, &t) == 0);
    struct spy_py_value_options o = {.level = 1 + (options & 3), .redact = options & 4};
    struct spy_py_values *v = spy_py_values_new(t, l, o);
    MUST(v);
    for (size_t i = 0; i < 8 && i < n_cells; i++)
        check_value(v, e, cell_at(i), o.level);
    check_locals(t, l);
    spy_py_values_free(v);
    spy_target_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t minors[] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct input in = {data, size};
    uint8_t version = take_byte(&in) % (sizeof minors + 1), options = take_byte(&in);
    const struct spy_py_layout *l =
        version < sizeof minors ? spy_py_layout_find(3, minors[version]) : spy_py_layout_find(2, 7);
    struct spy_py_objects o;
    struct edits e = {.reads = 0};
    spy_py_objects_of(l, &o);
    memset(memory, 0, sizeof memory);
    n_cells = size / (1 + CELL_BYTES / 8 * WORD_INPUT) + 1;
    n_cells = n_cells < CELLS_MAX ? n_cells : CELLS_MAX;
    for (size_t i = 0; i < EDITS; i++) {
        e.list[i].after = take_byte(&in);
        e.list[i].addr = cell_at(take_byte(&in)) + (take_byte(&in) & 0x78);
        e.list[i].word = take_word(&in);
    }
    for (size_t i = 0; i < TYPES; i++)
        make_type(l, &o, i, &in);
    for (size_t i = 0; i < n_cells; i++)
        make_cell(l, i, &in);
    read_all(l, &e, options);
    return 0;
}
