#include "collector/grafana/matchers.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include "shared/base/text.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

// Room for all texts and their copies; a text is at most as long as the selector.
enum { ARENA_BYTES = 8 * SPY_MATCHERS_BYTES };

struct scanner {
    const char *text, *at;
    struct spy_matchers *to;
    struct spy_err *err;
};

static int fail_at(struct scanner *s, const char *what)
{
    return spy_err_set(s->err, SPY_ERR_INVALID, 0, "the label selector is wrong at byte %zu: %s",
                       (size_t)(s->at - s->text), what);
}

static void skip_space(struct scanner *s)
{
    s->at += strspn(s->at, " \t\r\n");
}

static char *take_memory(struct scanner *s, size_t size)
{
    char *p = spy_arena_alloc(&s->to->arena, size);
    if (!p)
        spy_err_set(s->err, SPY_ERR_LIMIT, 0, "the label selector is too long");
    return p;
}

// --- quoted texts ---

// A code point as UTF-8; those that UTF-8 cannot hold become U+FFFD. Returns the bytes written.
static size_t put_code_point(uint32_t code, char *out)
{
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) || !code)
        code = 0xfffd;
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(leads[n] | code);
    return n;
}

// Reads exactly n digits of this base at *at; false: there are fewer.
static bool read_digits(const char **at, size_t n, unsigned base, uint32_t *ret)
{
    uint32_t v = 0;
    for (size_t i = 0; i < n; i++, (*at)++) {
        int digit = spy_hex_digit(**at);
        if (digit < 0 || (unsigned)digit >= base)
            return false;
        v = v * base + (unsigned)digit;
    }
    *ret = v;
    return true;
}

// An escape after its backslash: writes what it stands for to out, 4 bytes at most. Returns the
// bytes written; 0: there is no such escape.
static size_t read_escape(const char **at, char *out)
{
    static const char letters[] = "abfnrtv\\'\"`", meanings[] = "\a\b\f\n\r\t\v\\'\"`";
    const char *known = **at ? strchr(letters, **at) : NULL;
    uint32_t code = 0;
    if (known) {
        *out = meanings[known - letters];
        (*at)++;
        return 1;
    }
    const char c = **at;
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 3;
    bool hex = c == 'x' || c == 'u' || c == 'U';
    if (!hex && (c < '0' || c > '7'))
        return 0;
    *at += hex;
    if (!read_digits(at, digits, hex ? 16 : 8, &code))
        return 0;
    if (c == 'u' || c == 'U')
        return put_code_point(code, out);
    if (code > 255 || !code)
        return 0;
    *out = (char)code; // a byte
    return 1;
}

// The bytes up to the quote that ends the text; an escape never becomes longer than it is.
static size_t measure_quoted(const char *at, char quote)
{
    size_t n = 0;
    for (; at[n] && at[n] != quote; n++)
        n += at[n] == '\\' && quote != '`' && at[n + 1];
    return n;
}

static int read_quoted(struct scanner *s, const char **ret)
{
    const char quote = *s->at++;
    char *out = take_memory(s, measure_quoted(s->at, quote) + 4), *to = out;
    if (!out)
        return SPY_ERR_LIMIT;
    while (*s->at && *s->at != quote) {
        if (*s->at != '\\' || quote == '`') {
            *to++ = *s->at++;
            continue;
        }
        s->at++;
        size_t n = read_escape(&s->at, to);
        if (!n)
            return fail_at(s, "an unknown escape; write a backslash twice");
        to += n;
    }
    if (*s->at != quote)
        return fail_at(s, "a quoted text does not end");
    s->at++;
    *ret = out;
    return 0;
}

static bool is_quote(char c)
{
    return c == '"' || c == '\'' || c == '`';
}

// --- matchers ---

static int read_name(struct scanner *s, const char **ret)
{
    size_t n = 0;
    if (is_quote(*s->at)) {
        int r = read_quoted(s, ret);
        return r == 0 && !**ret ? fail_at(s, "a label's name is empty") : r;
    }
    while (isalnum((unsigned char)s->at[n]) || s->at[n] == '_')
        n++;
    if (!n || isdigit((unsigned char)*s->at))
        return fail_at(s, "a label's name should stand here; quote one with other characters "
                          "than letters, digits and '_'");
    char *copy = take_memory(s, n + 1);
    if (!copy)
        return SPY_ERR_LIMIT;
    memcpy(copy, s->at, n);
    s->at += n;
    *ret = copy;
    return 0;
}

static int read_operator(struct scanner *s, enum spy_match *ret)
{
    static const struct {
        char text[3];
        enum spy_match how;
    } rows[] = {{"=~", SPY_MATCH_REGEX},
                {"!~", SPY_MATCH_NOT_REGEX},
                {"!=", SPY_MATCH_NOT_EQUAL},
                {"=", SPY_MATCH_EQUAL}};
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if (!strncmp(s->at, rows[i].text, strlen(rows[i].text))) {
            s->at += strlen(rows[i].text);
            *ret = rows[i].how;
            return 0;
        }
    return fail_at(s, "one of = != =~ !~ should stand here");
}

// The whole value must match. The bare expression must be sound by itself, so that "a)|(b" is not.
// \E ends a \Q, and is nothing elsewhere.
static int compile_matcher(struct scanner *s, struct spy_matcher *m)
{
    struct spy_err why = {0};
    size_t size = strlen(m->value) + sizeof "\\A(?:\\E)\\z";
    char *whole = take_memory(s, size);
    if (!whole)
        return SPY_ERR_LIMIT;
    snprintf(whole, size, "\\A(?:%s\\E)\\z", m->value);
    int r = spy_regex_new(m->value, &m->re, &why);
    if (r == 0) {
        spy_regex_free(m->re);
        m->re = NULL;
        r = spy_regex_new(whole, &m->re, &why);
    }
    return r < 0 ? spy_err_set(s->err, r == SPY_ERR_LIMIT ? SPY_ERR_INVALID : r, 0,
                               "the expression '%.80s' is wrong: %.100s", m->value, why.msg)
                 : 0;
}

static int read_matcher(struct scanner *s)
{
    struct spy_matchers *to = s->to;
    if (to->n == SPY_MATCHERS_MAX)
        return fail_at(s, "too many matchers");
    struct spy_matcher *m = &to->rows[to->n++];
    int r = read_name(s, &m->name);
    skip_space(s);
    if (r == 0)
        r = read_operator(s, &m->how);
    skip_space(s);
    if (r == 0)
        r = is_quote(*s->at) ? read_quoted(s, &m->value)
                             : fail_at(s, "a quoted value should stand here");
    if (r == 0 && m->how >= SPY_MATCH_REGEX)
        r = compile_matcher(s, m);
    return r;
}

static int read_matchers(struct scanner *s)
{
    int r = 0;
    skip_space(s);
    if (!*s->at)
        return 0;
    if (*s->at++ != '{') {
        s->at--;
        return fail_at(s, "it should begin with '{'");
    }
    skip_space(s);
    while (r == 0 && *s->at != '}') {
        r = read_matcher(s);
        skip_space(s);
        if (r == 0 && *s->at == ',')
            s->at++;
        else if (r == 0 && *s->at != '}')
            r = fail_at(s, "',' or '}' should stand here");
        skip_space(s);
    }
    s->at += r == 0;
    skip_space(s);
    return r == 0 && *s->at ? fail_at(s, "nothing may follow the '}'") : r;
}

int spy_matchers_parse(const char *text, struct spy_matchers *ret, struct spy_err *err)
{
    struct scanner s = {.text = text, .at = text, .to = ret, .err = err};
    *ret = (struct spy_matchers){.arena = SPY_ARENA_INIT(ARENA_BYTES)};
    if (strlen(text) > SPY_MATCHERS_BYTES)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the label selector is longer than %d bytes",
                           SPY_MATCHERS_BYTES);
    int r = read_matchers(&s);
    if (r < 0)
        spy_matchers_free(ret);
    return r;
}

void spy_matchers_free(struct spy_matchers *m)
{
    for (size_t i = 0; i < m->n; i++)
        spy_regex_free(m->rows[i].re);
    spy_arena_free(&m->arena);
    m->n = 0;
}

// --- names ---

static char name_char(char c)
{
    return isalnum((unsigned char)c) && (unsigned char)c < 128 ? c : '_';
}

void spy_label_name(const char *key, char *out)
{
    if (isdigit((unsigned char)*key))
        *out++ = '_';
    for (; *key; key++)
        *out++ = name_char(*key);
    *out = 0;
}

bool spy_label_is_named(const char *key, const char *name)
{
    if (!strcmp(key, name))
        return true;
    if (isdigit((unsigned char)*key) && *name++ != '_')
        return false;
    for (; *key && *name; key++, name++)
        if (name_char(*key) != *name)
            return false;
    return !*key && !*name;
}

const char *spy_label_value(const struct spy_named *labels, size_t n, const char *name)
{
    const char *other = "";
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(labels[i].key, name))
            return labels[i].value;
        if (!*other && spy_label_is_named(labels[i].key, name))
            other = labels[i].value;
    }
    return other;
}

// --- matching ---

// 1 or 0, or the error.
static int search_value(struct spy_matchers *m, const struct spy_matcher *row, const char *value,
                        struct spy_err *err)
{
    uint64_t now = spy_clock_thread_cpu_ns();
    if (!m->until_ns)
        m->until_ns = now + SPY_MATCHERS_CPU_SECS * SPY_NS_PER_SEC;
    int r = now < m->until_ns ? spy_regex_search(row->re, value, strlen(value)) : SPY_ERR_LIMIT;
    return r == SPY_ERR_LIMIT ? spy_err_set(err, SPY_ERR_INVALID, 0,
                                            "the expression '%.80s' takes too many steps: simplify "
                                            "it",
                                            row->value)
                              : r;
}

int spy_matchers_match(struct spy_matchers *m, const struct spy_named *labels, size_t n,
                       struct spy_err *err)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct spy_matcher *row = &m->rows[i];
        const char *value = spy_label_value(labels, n, row->name);
        int r = row->how >= SPY_MATCH_REGEX ? search_value(m, row, value, err)
                                            : !strcmp(value, row->value);
        if (r < 0)
            return r;
        if (r == (row->how == SPY_MATCH_NOT_EQUAL || row->how == SPY_MATCH_NOT_REGEX))
            return 0;
    }
    return 1;
}

// --- narrowing a selection ---

// The key of a usual label that `name` means; NULL: there is none.
static const char *find_usual_key(const char *name)
{
    static const char *const keys[] = {SPY_LABEL_CLUSTER,      SPY_LABEL_NAMESPACE,
                                       SPY_LABEL_POD,          SPY_LABEL_POD_UID,
                                       SPY_LABEL_CONTAINER,    SPY_LABEL_NODE,
                                       SPY_LABEL_CONTAINER_ID, SPY_LABEL_IMAGE,
                                       SPY_LABEL_SERVICE,      SPY_LABEL_HOST,
                                       SPY_LABEL_PID,          SPY_LABEL_COMMAND,
                                       SPY_LABEL_RUNTIME,      SPY_LABEL_RUNTIME_VERSION,
                                       SPY_LABEL_NS_PID};
    for (size_t i = 0; i < SPY_COUNT(keys); i++)
        if (spy_label_is_named(keys[i], name))
            return keys[i];
    return NULL;
}

// Copies the next alternative of an expression made of plain texts between '|' to out. Returns what
// follows it; NULL: the expression is of another kind.
static const char *next_alternative(const char *at, char *out)
{
    for (; *at && *at != '|'; at++) {
        if (*at == '\\' && ispunct((unsigned char)at[1]))
            at++;
        else if (strchr("\\.+*?()[]{}^$", *at))
            return NULL;
        *out++ = *at;
    }
    *out = 0;
    return at;
}

static void add_alternatives(struct spy_matchers *m, const struct spy_matcher *row, const char *key,
                             struct spy_select *select)
{
    const size_t before = select->n;
    const char *at = row->value;
    size_t len = strlen(at);
    char *copy = spy_arena_alloc(&m->arena, 2 * len + 2); // of all alternatives
    while (copy && at && select->n < SPY_SELECT_MAX - 1) {
        at = next_alternative(at, copy);
        if (!at || !*copy) // "" means series without the label too
            break;
        select->terms[select->n++] =
            (struct spy_select_term){.keys = {key, row->name}, .value = copy};
        copy += strlen(copy) + 1;
        if (!*at++)
            return;
    }
    select->n = before; // another kind of expression, or too many
}

static bool has_term(const struct spy_select *select, const char *key)
{
    for (size_t i = 0; i < select->n; i++)
        if (!strcmp(select->terms[i].keys[0], key))
            return true;
    return false;
}

// One matcher narrows by each key, as terms with one key are alternatives.
void spy_matchers_narrow(struct spy_matchers *m, struct spy_select *select)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct spy_matcher *row = &m->rows[i];
        const char *key = find_usual_key(row->name);
        if (!key || has_term(select, key) || !*row->value)
            continue;
        if (row->how == SPY_MATCH_REGEX)
            add_alternatives(m, row, key, select);
        else if (row->how == SPY_MATCH_EQUAL && select->n < SPY_SELECT_MAX - 1)
            select->terms[select->n++] =
                (struct spy_select_term){.keys = {key, row->name}, .value = row->value};
    }
}
