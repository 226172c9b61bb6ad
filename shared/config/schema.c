#include "shared/config/schema.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

enum { LIST_MAX = 1024, DEPTH_MAX = 32, VALUE_MAX = 4096 };

struct reader {
    const char *name;
    yaml_document_t doc;
    struct spy_err *err;
};

static int report_mistake(struct reader *r, const yaml_node_t *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int report_mistake(struct reader *r, const yaml_node_t *at, const char *fmt, ...)
{
    char what[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (!at)
        return spy_err_set(r->err, SPY_ERR_INVALID, 0, "%s: %s", r->name, what);
    return spy_err_set(r->err, SPY_ERR_INVALID, 0, "%s:%zu: %s", r->name, at->start_mark.line + 1,
                       what);
}

// --- values ---

static int set_string(struct reader *r, const struct spy_key *k, const yaml_node_t *at,
                      const char *v, void *to)
{
    char *copy = strdup(v);
    if (!copy)
        return report_mistake(r, at, "%s: out of memory", k->name);
    memcpy(to, &copy, sizeof copy);
    return 0;
}

static int set_bool(struct reader *r, const struct spy_key *k, const yaml_node_t *at, const char *v,
                    void *to)
{
    bool yes = !strcasecmp(v, "true") || !strcasecmp(v, "yes") || !strcasecmp(v, "on");
    if (!yes && strcasecmp(v, "false") != 0 && strcasecmp(v, "no") != 0 &&
        strcasecmp(v, "off") != 0)
        return report_mistake(r, at, "%s is true or false, not '%.60s'", k->name, v);
    *(bool *)to = yes;
    return 0;
}

static int set_number(struct reader *r, const struct spy_key *k, const yaml_node_t *at,
                      const char *v, void *to)
{
    char *end;
    double d = strtod(v, &end);
    bool whole = k->type != SPY_KEY_UINT || strspn(v, "0123456789") == strlen(v);
    if (end == v || *end || !whole || !(d >= k->min && d <= k->max))
        return report_mistake(r, at, "%s is a %snumber from %g to %g, not '%.60s'", k->name,
                              k->type == SPY_KEY_UINT ? "whole " : "", k->min, k->max, v);
    if (k->type == SPY_KEY_UINT)
        *(uint32_t *)to = (uint32_t)d;
    else
        *(double *)to = d;
    return 0;
}

static int set_duration(struct reader *r, const struct spy_key *k, const yaml_node_t *at,
                        const char *v, void *to)
{
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
    char *end;
    double d = strtod(v, &end);
    for (size_t i = 0; end != v && i < SPY_COUNT(units); i++)
        if (!strcmp(end, units[i].unit) && d * units[i].ns >= k->min && d * units[i].ns <= k->max) {
            *(uint64_t *)to = (uint64_t)(d * units[i].ns);
            return 0;
        }
    return report_mistake(
        r, at, "%s is a time like 500ms, 10s, 5m, 24h or 7d, from %gs to %gs, not '%.60s'", k->name,
        k->min / 1e9, k->max / 1e9, v);
}

static void join_names(const char *const *names, char *out, size_t size)
{
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; names[i] && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? ", " : "", names[i]);
}

static int find_name(struct reader *r, const struct spy_key *k, const yaml_node_t *at,
                     const char *v, int *ret)
{
    char all[120];
    for (int i = 0; k->names[i]; i++)
        if (!strcasecmp(k->names[i], v)) {
            *ret = i;
            return 0;
        }
    join_names(k->names, all, sizeof all);
    return report_mistake(r, at, "%s is %s%s, not '%.60s'", k->name, k->names[1] ? "one of " : "",
                          all, v);
}

static int set_scalar(struct reader *r, const struct spy_key *k, const yaml_node_t *at,
                      const char *v, void *to)
{
    int index = 0;
    switch (k->type) {
    case SPY_KEY_STRING:
        return set_string(r, k, at, v, to);
    case SPY_KEY_BOOL:
        return set_bool(r, k, at, v, to);
    case SPY_KEY_UINT:
    case SPY_KEY_DOUBLE:
        return set_number(r, k, at, v, to);
    case SPY_KEY_DURATION:
        return set_duration(r, k, at, v, to);
    case SPY_KEY_ENUM:
    case SPY_KEY_FLAGS:
        if (find_name(r, k, at, v, &index) < 0)
            return SPY_ERR_INVALID;
        if (k->type == SPY_KEY_ENUM)
            *(int *)to = index;
        else
            *(unsigned *)to |= 1u << index;
        return 0;
    default:
        return report_mistake(r, at, "%s is a mapping or a list, not '%.60s'", k->name, v);
    }
}

static const char *read_scalar(const yaml_node_t *n)
{
    if (!n || n->type != YAML_SCALAR_NODE)
        return NULL;
    const char *v = (const char *)n->data.scalar.value;
    return strlen(v) == n->data.scalar.length ? v : NULL; // text after "\0" would be ignored
}

// An empty value, "~" and "null" mean that the key is not given.
static bool is_nothing(const yaml_node_t *n)
{
    const char *v = read_scalar(n);
    return v && n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*v || !strcmp(v, "~") || !strcasecmp(v, "null"));
}

// --- structures ---

static int read_map(struct reader *r, const struct spy_key *keys, const yaml_node_t *map,
                    void *base);

static int read_flags(struct reader *r, const struct spy_key *k, const yaml_node_t *list, void *to)
{
    *(unsigned *)to = 0;
    for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top;
         i++) {
        const yaml_node_t *n = yaml_document_get_node(&r->doc, *i);
        const char *v = read_scalar(n);
        if (!v)
            return report_mistake(r, n, "%s is a list of names", k->name);
        int code = set_scalar(r, k, n, v, to);
        if (code < 0)
            return code;
    }
    return 0;
}

static int apply_fallbacks(struct reader *r, const struct spy_key *keys, char *base);

static int read_list(struct reader *r, const struct spy_key *k, const yaml_node_t *list, char *base)
{
    size_t n = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
    if (n > LIST_MAX)
        return report_mistake(r, list, "%s has more than %d entries", k->name, LIST_MAX);
    char *elements = calloc(n + 1, k->size);
    if (!elements)
        return report_mistake(r, list, "%s: out of memory", k->name);
    memcpy(base + k->offset, &elements, sizeof elements);
    for (size_t i = 0; i < n; i++) {
        const yaml_node_t *e = yaml_document_get_node(&r->doc, list->data.sequence.items.start[i]);
        char *to = elements + i * k->size;
        *(size_t *)(base + k->count_offset) = i + 1; // so that half-read ones are released too
        if (e->type != YAML_MAPPING_NODE)
            return report_mistake(r, e, "an entry of %s is a mapping such as {%s: ...}", k->name,
                                  k->fields[0].name);
        int code = apply_fallbacks(r, k->fields, to);
        if (code == 0)
            code = read_map(r, k->fields, e, to);
        if (code < 0)
            return code;
        if (k->line_offset)
            *(int *)(to + k->line_offset) = (int)e->start_mark.line + 1;
    }
    return 0;
}

static void release_string(const struct spy_key *k, char *base)
{
    char *old;
    memcpy(&old, base + k->offset, sizeof old);
    free(old);
    old = NULL;
    memcpy(base + k->offset, &old, sizeof old);
}

static int read_value(struct reader *r, const struct spy_key *k, const yaml_node_t *v, char *base)
{
    if (k->type == SPY_KEY_NO_EFFECT)
        return report_mistake(r, v, "%s has no effect yet: remove it", k->name);
    if (is_nothing(v))
        return 0;
    if (k->type == SPY_KEY_MAP)
        return v->type == YAML_MAPPING_NODE
                   ? read_map(r, k->fields, v, base)
                   : report_mistake(r, v, "%s is a mapping of keys", k->name);
    if (k->type == SPY_KEY_LIST)
        return v->type == YAML_SEQUENCE_NODE ? read_list(r, k, v, base)
                                             : report_mistake(r, v, "%s is a list", k->name);
    if (k->type == SPY_KEY_FLAGS && v->type == YAML_SEQUENCE_NODE)
        return read_flags(r, k, v, base + k->offset);
    const char *text = read_scalar(v);
    if (!text)
        return report_mistake(r, v, "%s is a single value", k->name);
    if (strlen(text) > VALUE_MAX)
        return report_mistake(r, v, "%s is longer than %d bytes", k->name, VALUE_MAX);
    if (k->type == SPY_KEY_STRING)
        release_string(k, base);
    if (k->type == SPY_KEY_FLAGS)
        *(unsigned *)(base + k->offset) = 0;
    return set_scalar(r, k, v, text, base + k->offset);
}

// How many single-letter changes turn one word into the other. WORD: a word is too long.
static unsigned measure_distance(const char *a, const char *b)
{
    enum { WORD = 32 };
    unsigned row[WORD + 1];
    size_t la = strlen(a), lb = strlen(b);
    if (la > WORD || lb > WORD)
        return WORD;
    for (size_t j = 0; j <= lb; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            unsigned least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = change < least ? change : least;
        }
    }
    return row[lb];
}

static int refuse_key(struct reader *r, const struct spy_key *keys, const yaml_node_t *at,
                      const char *name)
{
    const char *near = NULL;
    unsigned best = 3;
    char all[160];
    size_t n = 0;
    all[0] = 0;
    for (const struct spy_key *k = keys; k->name; k++) {
        if (k->type == SPY_KEY_NO_EFFECT)
            continue;
        unsigned d = measure_distance(name, k->name);
        if (d < best) {
            best = d;
            near = k->name;
        }
        if (n < sizeof all)
            n += (size_t)snprintf(all + n, sizeof all - n, "%s%s", n ? ", " : "", k->name);
    }
    if (near)
        return report_mistake(r, at, "unknown key '%.60s'; did you mean '%s'?", name, near);
    return report_mistake(r, at, "unknown key '%.60s'; known here: %s", name, all);
}

static int read_map(struct reader *r, const struct spy_key *keys, const yaml_node_t *map,
                    void *base)
{
    uint64_t seen = 0;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key = yaml_document_get_node(&r->doc, p->key);
        const yaml_node_t *value = yaml_document_get_node(&r->doc, p->value);
        const char *name = read_scalar(key);
        const struct spy_key *k = keys;
        if (!name)
            return report_mistake(r, key, "a key is a single word");
        while (k->name && strcmp(k->name, name))
            k++;
        if (!k->name)
            return refuse_key(r, keys, key, name);
        if (seen >> (k - keys) & 1)
            return report_mistake(r, key, "'%s' is given twice", name);
        seen |= 1ull << (k - keys);
        int code = read_value(r, k, value, base);
        if (code < 0)
            return code;
    }
    return 0;
}

static int apply_fallbacks(struct reader *r, const struct spy_key *keys, char *base)
{
    for (const struct spy_key *k = keys; k->name; k++) {
        int code = 0;
        if (k->type == SPY_KEY_MAP)
            code = apply_fallbacks(r, k->fields, base);
        else if (k->fallback)
            code = set_scalar(r, k, NULL, k->fallback, base + k->offset);
        if (code < 0)
            return code;
    }
    return 0;
}

void spy_schema_release(const struct spy_key *keys, void *base)
{
    for (const struct spy_key *k = keys; k->name; k++) {
        if (k->type == SPY_KEY_STRING)
            release_string(k, base);
        if (k->type == SPY_KEY_MAP)
            spy_schema_release(k->fields, base);
        if (k->type != SPY_KEY_LIST)
            continue;
        char *elements;
        memcpy(&elements, (char *)base + k->offset, sizeof elements);
        size_t n = *(size_t *)((char *)base + k->count_offset);
        for (size_t i = 0; elements && i < n; i++)
            spy_schema_release(k->fields, elements + i * k->size);
        free(elements);
    }
}

static bool has_same_value(const struct spy_key *k, const char *a, const char *b)
{
    static const size_t sizes[] = {
        [SPY_KEY_BOOL] = sizeof(bool),     [SPY_KEY_UINT] = sizeof(uint32_t),
        [SPY_KEY_DOUBLE] = sizeof(double), [SPY_KEY_DURATION] = sizeof(uint64_t),
        [SPY_KEY_ENUM] = sizeof(int),      [SPY_KEY_FLAGS] = sizeof(unsigned)};
    const char *x, *y;
    if (k->type != SPY_KEY_STRING)
        return k->type >= SPY_COUNT(sizes) || !memcmp(a + k->offset, b + k->offset, sizes[k->type]);
    memcpy(&x, a + k->offset, sizeof x);
    memcpy(&y, b + k->offset, sizeof y);
    return x && y ? !strcmp(x, y) : x == y;
}

static bool has_same_fields(const struct spy_key *fields, const char *a, const char *b)
{
    bool same = true;
    for (const struct spy_key *k = fields; k->name && same; k++)
        same = has_same_value(k, a, b);
    return same;
}

static bool has_same_list(const struct spy_key *k, const char *a, const char *b)
{
    const char *x, *y;
    size_t n = *(const size_t *)(a + k->count_offset);
    bool same = n == *(const size_t *)(b + k->count_offset);
    memcpy(&x, a + k->offset, sizeof x);
    memcpy(&y, b + k->offset, sizeof y);
    for (size_t i = 0; i < n && same; i++)
        same = has_same_fields(k->fields, x + i * k->size, y + i * k->size);
    return same;
}

enum { PATH_SIZE = 128 };

static void compare_key_values(const struct spy_key *keys, const char *above, const void *a,
                               const void *b, void (*fn)(void *arg, const char *key), void *arg)
{
    for (const struct spy_key *k = keys; k->name; k++) {
        char path[PATH_SIZE];
        snprintf(path, sizeof path, "%s%s%s", above, *above ? "." : "", k->name);
        if (k->type == SPY_KEY_MAP)
            compare_key_values(k->fields, path, a, b, fn, arg);
        else if (k->type == SPY_KEY_LIST ? !has_same_list(k, a, b) : !has_same_value(k, a, b))
            fn(arg, path);
    }
}

void spy_schema_compare(const struct spy_key *keys, const void *a, const void *b,
                        void (*fn)(void *arg, const char *key), void *arg)
{
    compare_key_values(keys, "", a, b, fn, arg);
}

static int refuse_yaml(struct reader *r, const yaml_parser_t *parser)
{
    return spy_err_set(r->err, SPY_ERR_INVALID, 0, "%s:%zu: not YAML: %s", r->name,
                       parser->problem_mark.line + 1, parser->problem ? parser->problem : "?");
}

// For each token libyaml visits every open collection, so deep nesting would take quadratic time. A
// pass over the events, which stops at the bound, comes before the document is loaded.
static int check_depth(struct reader *r, const char *text, size_t len)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return report_mistake(r, NULL, "out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    int depth = 0, code = 0;
    for (bool end = false; !end && code == 0;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            code = refuse_yaml(r, &parser);
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT)
            depth++;
        if (event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT)
            depth--;
        if (depth > DEPTH_MAX)
            code = spy_err_set(r->err, SPY_ERR_INVALID, 0, "%s:%zu: nested more than %d deep",
                               r->name, event.start_mark.line + 1, DEPTH_MAX);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return code;
}

// A document after "---" must not be ignored silently.
static int expect_end(struct reader *r, yaml_parser_t *parser)
{
    if (!yaml_parser_load(parser, &r->doc))
        return refuse_yaml(r, parser);
    const yaml_node_t *more = yaml_document_get_root_node(&r->doc);
    int code = more ? report_mistake(r, more, "a second document: the file is one") : 0;
    yaml_document_delete(&r->doc);
    return code;
}

static int parse_document(struct reader *r, const struct spy_key *keys, const char *text,
                          size_t len, void *base)
{
    yaml_parser_t parser;
    int code = check_depth(r, text, len);
    if (code < 0)
        return code;
    if (!yaml_parser_initialize(&parser))
        return report_mistake(r, NULL, "out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    if (!yaml_parser_load(&parser, &r->doc)) {
        code = refuse_yaml(r, &parser);
        yaml_parser_delete(&parser);
        return code;
    }
    const yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (root && !is_nothing(root))
        code = root->type == YAML_MAPPING_NODE
                   ? read_map(r, keys, root, base)
                   : report_mistake(r, root, "the file is a mapping of keys");
    yaml_document_delete(&r->doc);
    if (code == 0)
        code = expect_end(r, &parser);
    yaml_parser_delete(&parser);
    return code;
}

int spy_schema_parse(const struct spy_key *keys, const char *name, const char *text, size_t len,
                     void *base, struct spy_err *err)
{
    struct reader r = {.name = name, .err = err};
    int code = apply_fallbacks(&r, keys, base);
    if (code == 0 && len)
        code = parse_document(&r, keys, text, len, base);
    if (code < 0)
        spy_schema_release(keys, base);
    return code;
}

int spy_schema_file(const char *path, struct spy_buf *out, struct spy_err *err)
{
    int r = spy_file_read(AT_FDCWD, path, out, err);
    return r < 0 ? spy_err_context(err, r, "the configuration") : 0;
}
