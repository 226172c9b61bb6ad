#include "agent/native/demangle.h"
#include "agent/native/cython.h"
#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

struct output {
    char text[SPY_DEMANGLED_MAX + 1];
    size_t len;
    jmp_buf full;
};

// The length without the suffix and the number that may stand behind it: ".cold", ".cold.3".
static size_t length_without(const char *name, size_t len, const char *suffix)
{
    size_t end = len, n = strlen(suffix);
    while (end && name[end - 1] >= '0' && name[end - 1] <= '9')
        end--;
    end = end < len && end && name[end - 1] == '.' ? end - 1 : len;
    return end > n && !memcmp(name + end - n, suffix, n) ? end - n : len;
}

static size_t length_without_part(const char *name, size_t len)
{
    return length_without(name, length_without(name, len, ".cold"), ".lto_priv");
}

static bool is_mangled(const char *name)
{
    return name[0] == '_' && (name[1] == 'Z' || name[1] == 'R' || !strncmp(name, "__pyx_", 6));
}

bool spy_demangle_changes(const char *name, size_t max_len)
{
    size_t len = strnlen(name, max_len);
    return is_mangled(name) || len == max_len || length_without_part(name, len) != len;
}

static void append_output(const char *text, size_t len, void *context)
{
    struct output *o = context;
    if (len > SPY_DEMANGLED_MAX - o->len)
        longjmp(o->full, 1); // these functions of libiberty own no memory while they print
    memcpy(o->text + o->len, text, len);
    o->len += len;
    o->text[o->len] = 0;
}

// Rust's legacy names are C++ names too, but with a hash at their end.
static bool print_demangled(const char *name, struct output *o)
{
    o->len = 0;
    if (setjmp(o->full))
        return false;
    if (rust_demangle_callback(name, DMGL_AUTO, append_output, o) && o->len)
        return true;
    o->len = 0;
    return cplus_demangle_v3_callback(name, DMGL_PARAMS | DMGL_ANSI, append_output, o) && o->len;
}

char *spy_demangle(const char *name, size_t max_len)
{
    struct output o;
    struct spy_cython_name cython;
    size_t len = length_without_part(name, strnlen(name, max_len));
    if (spy_cython_parse(name, len, &cython))
        return strndup(cython.function, cython.function_len);
    char *plain = strndup(name, len);
    if (!plain || !is_mangled(plain) || !print_demangled(plain, &o))
        return plain;
    free(plain);
    return strdup(o.text);
}
