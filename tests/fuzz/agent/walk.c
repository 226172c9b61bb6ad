// The whole reader on a hostile process: finding the interpreter, its threads, frames, code
// objects, names and lines, in memory that may also change between two reads.
//
// Seeds are snapshots of real interpreters of every version (image.h, record_image.c); the mutator
// keeps their shape and changes words to what hurts: other pointers into the image, sizes, bits.
#include "../fuzz.h"
#include "agent/python/python.h"
#include "agent/python/text.h"
#include "image.h"
#include "shared/base/buf.h"
#include <string.h>

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static struct image im;

// Applies the edits whose time has come.
struct tape {
    uint8_t *data;
    size_t reads;
};

static void turn(void *context, uint64_t addr, const void *bytes, size_t len)
{
    struct tape *t = context;
    (void)addr, (void)bytes, (void)len;
    t->reads++;
    for (size_t i = 0; i < im.n_edits; i++) {
        const struct image_edit *e = &im.edits[i];
        if (e->reads != t->reads || !im.n_pieces)
            continue;
        const struct image_piece *p = &im.pieces[e->piece % im.n_pieces];
        if (p->len >= 8)
            memcpy(t->data + p->at + e->at % (p->len - 7), &e->word, 8);
    }
}

static void check_text(const char *text)
{
    size_t n = strlen(text);
    MUST(n <= (SPY_PY_TEXT_MAX + 1) * 4);
    for (size_t i = 0, len; i < n; i += len)
        MUST((len = spy_utf8_len(text + i, n - i)) > 0);
}

static void check_stack(struct spy_python *py, const struct spy_py_stack *st)
{
    MUST(st->n <= SPY_PY_DEPTH_MAX);
    for (size_t i = 0; i < st->n; i++) {
        const struct spy_code *code = spy_codes_at(spy_python_codes(py), st->frames[i].code);
        if (i < 64) {
            check_text(code->name);
            check_text(code->filename);
        }
        MUST(code->n_lines <= SPY_CODE_UNITS_MAX);
    }
}

static void sample_all(struct spy_python *py)
{
    struct spy_py_options o = {.pausing = SPY_PAUSE_NEVER};
    if (spy_python_refresh(py) < 0)
        return;
    size_t n = spy_python_n_threads(py);
    for (size_t i = 0; i < n && i < 16; i++) {
        struct spy_py_stack st;
        if (spy_python_sample(py, spy_python_thread(py, i), &o, &st) == 0)
            check_stack(py, &st);
    }
}

static void walk(struct spy_target *t)
{
    struct spy_python *py = NULL;
    struct spy_err err;
    if (spy_python_attach(t, &py, &err) < 0)
        return;
    spy_target_still(t)->as_live = true; // all the checks of an optimistic read
    sample_all(py);
    sample_all(py);
    spy_target_still(t)->as_live = false;
    sample_all(py);
    spy_python_free(py);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    struct spy_still *s = NULL;
    struct spy_target *t = NULL;
    if (copy) {
        memcpy(copy, data, size);
        s = image_parse(copy, size, &im) ? image_still(&im, copy) : NULL;
    }
    struct tape tape = {.data = copy};
    if (s) {
        s->touched = turn;
        s->touched_context = &tape;
        if (spy_target_of_still(s, &t) == 0)
            walk(t);
        spy_target_free(t);
    }
    free(copy);
    return 0;
}

// --- the mutator ---

static unsigned roll(unsigned *seed, unsigned n)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 8) % n;
}

static uint64_t some_address(unsigned *seed)
{
    const struct image_piece *p = &im.pieces[roll(seed, (unsigned)im.n_pieces)];
    return p->addr + (p->len ? roll(seed, (unsigned)p->len) & ~7u : 0);
}

static uint64_t some_word(unsigned *seed, uint64_t old, uint64_t here)
{
    static const uint64_t odd[] = {0,          1,          UINT64_MAX, INT64_MAX,     INT32_MAX,
                                   UINT32_MAX, 1ull << 32, 0xffff,     1ull << 47,    4096,
                                   16384,      1 << 20,    1ull << 62, UINT64_MAX - 7};
    switch (roll(seed, 7)) {
    case 0:
        return odd[roll(seed, sizeof odd / sizeof *odd)];
    case 1:
    case 2:
        return some_address(seed);
    case 3:
        return old ^ 1ull << roll(seed, 64);
    case 4:
        return old + 8 * (uint64_t)roll(seed, 64) - 256;
    case 5:
        return here + 8 * (uint64_t)roll(seed, 64) - 256;
    default:
        return roll(seed, 65536);
    }
}

static void mutate_word(uint8_t *data, unsigned *seed)
{
    const struct image_piece *p = &im.pieces[roll(seed, (unsigned)im.n_pieces)];
    uint64_t v;
    if (p->len < 8)
        return;
    size_t at = roll(seed, (unsigned)(p->len - 7));
    at &= roll(seed, 8) ? ~(size_t)7 : ~(size_t)0;
    memcpy(&v, data + p->at + at, 8);
    v = some_word(seed, v, p->addr + at);
    size_t n = roll(seed, 6) ? 8 : roll(seed, 2) ? 4 : 1;
    memcpy(data + p->at + at, &v, n);
}

static void mutate_bytes(uint8_t *data, unsigned *seed)
{
    const struct image_piece *p = &im.pieces[roll(seed, (unsigned)im.n_pieces)];
    if (p->len)
        LLVMFuzzerMutate(data + p->at, p->len, p->len);
}

static struct image_edit some_edit(unsigned *seed)
{
    struct image_edit e = {.reads = (uint16_t)roll(seed, 256),
                           .piece = (uint16_t)roll(seed, (unsigned)im.n_pieces),
                           .at = (uint16_t)(roll(seed, 512) & ~7u)};
    e.word = some_word(seed, im.pieces[e.piece].addr, im.pieces[e.piece].addr + e.at);
    return e;
}

static size_t mutate_edits(uint8_t *data, size_t size, size_t max_size, unsigned *seed)
{
    struct image_edit e = some_edit(seed);
    uint8_t *n = data + im.edits_at;
    if (*n && roll(seed, 2)) {
        memcpy(n + 1 + roll(seed, *n) * sizeof e, &e, sizeof e);
    } else if (*n < IMAGE_EDITS_MAX && size + sizeof e <= max_size) {
        memmove(n + 1 + sizeof e, n + 1, size - im.edits_at - 1);
        memcpy(n + 1, &e, sizeof e);
        ++*n;
        size += sizeof e;
    }
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    for (unsigned i = roll(&seed, 4) + 1; i > 0; i--) {
        if (!image_parse(data, size, &im) || !im.n_pieces || !roll(&seed, 200))
            return LLVMFuzzerMutate(data, size, max_size);
        switch (roll(&seed, 10)) {
        case 0:
            size = mutate_edits(data, size, max_size, &seed);
            break;
        case 1:
        case 2:
            mutate_bytes(data, &seed);
            break;
        case 3:
            if (!roll(&seed, 4)) // what is mapped
                LLVMFuzzerMutate(data + im.maps_at, im.edits_at - im.maps_at,
                                 im.edits_at - im.maps_at);
            break;
        default:
            mutate_word(data, &seed);
        }
    }
    return size;
}
