#include "agent/python/value_inside.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct spy_py_values *spy_py_values_new(const struct spy_target *t, const struct spy_py_layout *l,
                                        struct spy_py_value_options options)
{
    struct spy_py_values *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->target = t;
    v->layout = l;
    v->options = options;
    if (v->options.level < 1)
        v->options.level = 1;
    if (v->options.level > SPY_PY_VALUE_LEVEL_MAX)
        v->options.level = SPY_PY_VALUE_LEVEL_MAX;
    v->chars_max = (size_t)SPY_PY_VALUE_CHARS * v->options.level;
    v->text = SPY_BUF_INIT((v->chars_max + 1) * 4);
    spy_py_objects_of(l, &v->objects);
    return v;
}

void spy_py_values_free(struct spy_py_values *v)
{
    if (!v)
        return;
    spy_buf_free(&v->text);
    free(v);
}

// --- reading and writing ---

int spy_value_read(struct spy_py_values *v, uint64_t addr, void *to, size_t len)
{
    if (v->failed)
        return v->failed;
    if (!v->reads_left)
        return SPY_ERR_LIMIT;
    v->reads_left--;
    int r = spy_target_read(v->target, addr, to, len);
    if (r == SPY_ERR_GONE || r == SPY_ERR_DENIED)
        v->failed = r;
    return r;
}

int spy_value_read_word(struct spy_py_values *v, uint64_t addr, uint64_t *ret)
{
    uint64_t word;
    int r = spy_value_read(v, addr, &word, sizeof word);
    if (r == 0)
        *ret = word;
    return r;
}

bool spy_value_is_done(const struct spy_py_values *v)
{
    return v->is_full || v->failed || v->text.failed || !v->reads_left;
}

size_t spy_value_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(first[n] | c);
    return n;
}

void spy_value_put_char(struct spy_py_values *v, uint32_t code)
{
    char s[4];
    if (v->chars == v->chars_max)
        v->is_full = true;
    if (v->is_full)
        return;
    spy_buf_append(&v->text, s, spy_value_encode(code, s));
    v->chars++;
}

void spy_value_puts(struct spy_py_values *v, const char *ascii)
{
    for (; *ascii; ascii++)
        spy_value_put_char(v, (uint8_t)*ascii);
}

void spy_value_printf(struct spy_py_values *v, const char *fmt, ...)
{
    char line[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    spy_value_puts(v, line);
}

// --- one object ---

bool spy_value_enter(struct spy_py_values *v, uint64_t addr, const char *again)
{
    for (size_t i = 0; i < v->depth; i++)
        if (v->nested[i] == addr) {
            spy_value_puts(v, again);
            return false;
        }
    if (v->depth == SPY_PY_VALUE_DEPTH) {
        spy_value_puts(v, "...");
        return false;
    }
    v->nested[v->depth++] = addr;
    return true;
}

void spy_value_leave(struct spy_py_values *v)
{
    v->depth--;
}

void spy_value_print_opaque(struct spy_py_values *v, uint64_t addr, const char *name)
{
    spy_value_puts(v, "<");
    spy_value_put_name(v, name);
    spy_value_printf(v, " at 0x%llx>", (unsigned long long)addr);
}

// A printer that shows by itself what a subclass is called.
static bool names_its_type(spy_value_printer print)
{
    return print == spy_value_print_tuple || print == spy_value_print_dict ||
           print == spy_value_print_exception || print == spy_value_print_class ||
           print == spy_value_print_array || print == spy_value_print_deque;
}

static void print_typed(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type)
{
    if (v->options.level > 1 && spy_value_is_instance(type))
        spy_value_print_instance(v, addr, type);
    else if (!type->print)
        spy_value_print_opaque(v, addr, type->name);
    else if (!type->own_repr || names_its_type(type->print))
        type->print(v, addr, type);
    else {
        spy_value_put_name(v, spy_value_short_name(type));
        spy_value_puts(v, "(");
        type->print(v, addr, type);
        spy_value_puts(v, ")");
    }
}

void spy_value_print(struct spy_py_values *v, uint64_t addr)
{
    struct spy_value_type type;
    if (v->is_full)
        return;
    int r = spy_value_type_of(v, addr, &type);
    if (r == 0)
        print_typed(v, addr, &type);
    else
        spy_value_puts(v, r == SPY_ERR_LIMIT ? "..." : "?");
}

void spy_value_print_named(struct spy_py_values *v, const char *name, uint64_t addr)
{
    if (v->options.redact && spy_py_name_is_secret(name))
        spy_value_puts(v, "***");
    else
        spy_value_print(v, addr);
}

// Takes as many characters from the end of the text as it needs for the "...".
static void cut_text(struct spy_py_values *v)
{
    enum { DOTS = 3 };
    struct spy_buf *b = &v->text;
    for (int i = 0; i < DOTS && b->len; i++)
        while (b->len && (b->data[--b->len] & 0xc0) == 0x80)
            continue;
    spy_buf_append(b, "...", DOTS);
}

int spy_py_value_text(struct spy_py_values *v, const char *name, uint64_t addr, struct spy_buf *out)
{
    spy_buf_reset(&v->text);
    v->chars = v->depth = 0;
    v->reads_left = SPY_PY_VALUE_READS;
    v->is_full = false;
    v->failed = 0;
    spy_value_print_named(v, name ? name : "", addr);
    if (v->failed)
        return v->failed;
    if (v->is_full)
        cut_text(v);
    if (v->text.failed)
        return v->text.failed;
    return spy_buf_append(out, v->text.data, v->text.len);
}

// --- secrets ---

// Letters and digits in lower case; all else is left out.
static void squeeze_name(const char *name, char *out, size_t size)
{
    size_t n = 0;
    for (; *name && n + 1 < size; name++)
        if (isalnum((unsigned char)*name))
            out[n++] = (char)tolower((unsigned char)*name);
    out[n] = 0;
}

bool spy_py_name_is_secret(const char *name)
{
    static const char *const parts[] = {
        "password",      "passwd",    "passphrase", "pwd",        "secret",        "token",
        "apikey",        "accesskey", "privatekey", "signingkey", "encryptionkey", "credential",
        "authorization", "bearer",    "cookie",     "sessionid",  "jwt",
    };
    static const char *const wholes[] = {"auth", "creds", "dsn", "pass", "sessionkey", "xauth"};
    char plain[SPY_VALUE_NAME_MAX + 1];
    squeeze_name(name, plain, sizeof plain);
    for (size_t i = 0; i < SPY_COUNT(parts); i++)
        if (strstr(plain, parts[i]))
            return true;
    for (size_t i = 0; i < SPY_COUNT(wholes); i++)
        if (!strcmp(plain, wholes[i]))
            return true;
    return false;
}
