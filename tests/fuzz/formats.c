// A profile made from the bytes: every printer makes a document that its readers take (JSON by
// jansson, SVG by libxml2), and all count the same.
#include "shared/formats/format.h"
#include "tests/fuzz/fuzz.h"
#include <jansson.h>
#include <libxml/parser.h>
#include <string.h>

struct input {
    const uint8_t *at, *end;
};

static uint32_t byte(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static uint32_t text(struct spy_profile *p, struct input *in)
{
    size_t n = byte(in) % 32, left = (size_t)(in->end - in->at);
    uint32_t id = 0;
    n = n < left ? n : left;
    MUST(spy_profile_string(p, (const char *)in->at, n, &id) == 0);
    in->at += n;
    return id;
}

static uint32_t series(struct spy_profile *p, struct input *in)
{
    static const char *const keys[] = {SPY_LABEL_POD, SPY_LABEL_PID, SPY_LABEL_COMMAND};
    struct spy_label l[3];
    uint32_t id = 0;
    for (size_t i = 0; i < 3; i++) {
        MUST(spy_profile_cstr(p, keys[i], &l[i].key) == 0);
        l[i].value = text(p, in);
    }
    MUST(spy_profile_series(p, l, byte(in) % 4, &id) == 0);
    struct spy_series *s = spy_profile_series_at(p, id);
    s->start_ns = (uint64_t)byte(in) << 56;
    s->duration_ns = (uint64_t)byte(in) << 56;
    return id;
}

static uint64_t number(struct input *in)
{
    return (uint64_t)byte(in) << (byte(in) % 57);
}

static uint32_t state(struct input *in)
{
    uint32_t bits = byte(in) % (SPY_STATE_ALL + 1u);
    return spy_state_is_valid(bits) ? bits : bits & ~(uint32_t)SPY_STATE_RUNNABLE;
}

static struct spy_profile *profile(struct input *in)
{
    struct spy_profile *p = spy_profile_new();
    MUST(p);
    uint32_t n_series = 1 + byte(in) % 3;
    for (uint32_t i = 0; i < n_series; i++)
        series(p, in);
    while (in->at < in->end) {
        uint32_t stack = byte(in) % spy_profile_n_stacks(p), thread = 0;
        for (uint32_t n = byte(in) % 8; n; n--) {
            uint32_t fn = 0, frame = 0;
            struct spy_function f = {text(p, in), text(p, in), byte(in), byte(in) % 3};
            MUST(spy_profile_function(p, &f, &fn) == 0);
            MUST(spy_profile_frame(p, (struct spy_frame){fn, byte(in)}, &frame) == 0);
            MUST(spy_profile_stack(p, stack, frame, &stack) == 0);
        }
        MUST(spy_profile_thread(p, byte(in), text(p, in), &thread) == 0);
        MUST(spy_profile_add(p, byte(in) % spy_profile_n_series(p), stack, thread, state(in),
                             number(in), number(in)) == 0);
    }
    return p;
}

static uint64_t sum_of_lines(const struct spy_buf *b)
{
    uint64_t sum = 0;
    for (const char *s = spy_buf_str(b), *end; (end = strchr(s, '\n')); s = end + 1) {
        const char *space = memrchr(s, ' ', (size_t)(end - s));
        MUST(space);
        uint64_t n = strtoull(space + 1, NULL, 10);
        sum = n > UINT64_MAX - sum ? UINT64_MAX : sum + n;
    }
    return sum;
}

// The samples of the tree that a flamegraph carries for its script: the fourth number of each node.
static uint64_t sum_of_svg(const struct spy_buf *b)
{
    uint64_t sum = 0;
    const char *at = strstr(spy_buf_str(b), "<metadata id=\"frames\">");
    const char *end = at ? strstr(at, "</metadata>") : NULL;
    if (!end)
        return 0;
    const char *node = (const char *)memrchr(at, '\n', (size_t)(end - at)) + 1;
    for (const char *next; node < end; node = next + 1) {
        const char *field = node - 1;
        next = node + strcspn(node, " <");
        for (int i = 0; i < 3 && field; i++)
            field = memchr(field + 1, ',', (size_t)(next - field - 1));
        uint64_t n = field ? strtoull(field + 1, NULL, 36) : 0;
        sum = n > UINT64_MAX - sum ? UINT64_MAX : sum + n;
    }
    return sum;
}

static uint64_t chosen(const struct spy_profile *p, const struct spy_view *v)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        if ((!v->idle && !(s->state & SPY_STATE_RUNNING)) ||
            (v->gil && !(s->state & SPY_STATE_GIL_HOLDS)))
            continue;
        sum = s->count > UINT64_MAX - sum ? UINT64_MAX : sum + s->count;
    }
    return sum;
}

static void check(const struct spy_format *f, const struct spy_buf *b, uint64_t want)
{
    if (!strcmp(f->name, "collapsed")) {
        MUST(sum_of_lines(b) == want);
    } else if (!strcmp(f->name, "svg")) {
        xmlDoc *doc = xmlReadMemory((char *)b->data, (int)b->len, NULL, "UTF-8",
                                    XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
        MUST(doc);
        xmlFreeDoc(doc);
        MUST(sum_of_svg(b) == want || strstr(spy_buf_str(b), "id=\"empty\""));
    } else {
        json_error_t e;
        json_t *j = json_loadb((char *)b->data, b->len, JSON_DECODE_INT_AS_REAL, &e);
        MUST(j || strstr(e.text, "maximum parsing depth"));
        json_decref(j);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    uint32_t flags = byte(&in), more = byte(&in);
    struct spy_view v = {.idle = flags & 1,
                         .gil = flags & 2,
                         .no_native = flags & 4,
                         .no_lines = flags & 8,
                         .function_lines = flags & 16,
                         .threads = flags & 32,
                         .full_filenames = flags & 64,
                         .processes = (enum spy_processes)(more % 3),
                         .max_nodes = more & 128 ? more & 31 : 0};
    struct spy_profile *p = profile(&in);
    size_t n;
    const struct spy_format *const *formats = spy_format_list(&n);
    for (size_t i = 0; i < n; i++) {
        struct spy_buf b = SPY_BUF_INIT(256 << 20);
        MUST(formats[i]->print(p, &v, &b, NULL) == 0);
        check(formats[i], &b, chosen(p, &v));
        spy_buf_free(&b);
    }
    spy_profile_free(p);
    return 0;
}
