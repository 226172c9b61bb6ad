#include "agent/native/cython.h"
#include "shared/base/mem.h"
#include <string.h>

enum { DIGITS_MAX = 4 };

static size_t count_digits(const char *at, const char *end, size_t *ret_number)
{
    size_t n = 0;
    *ret_number = 0;
    for (; at + n < end && n < DIGITS_MAX && at[n] >= '0' && at[n] <= '9'; n++)
        *ret_number = 10 * *ret_number + (size_t)(at[n] - '0');
    return n;
}

// A length, so many bytes, and an underscore: "4prog_". NULL: there is none.
static const char *take_part(const char **at, const char *end, size_t *ret_len)
{
    size_t len, digits = count_digits(*at, end, &len);
    const char *part = *at + digits;
    if (!digits || !len || (size_t)(end - part) <= len || part[len] != '_' ||
        !strncmp(part, "__", 2))
        return NULL;
    *ret_len = len;
    *at = part + len + 1;
    return part;
}

// Modules are written in lower case, classes are not: what remains ambiguous is taken for a package.
static bool is_class(const char *part)
{
    return part[0] >= 'A' && part[0] <= 'Z';
}

bool spy_cython_parse(const char *symbol, size_t max_len, struct spy_cython_name *ret)
{
    static const char *const prefixes[] = {"__pyx_pw_", "__pyx_pf_", "__pyx_f_"};
    size_t len = strnlen(symbol, max_len), number, part_len;
    const char *end = symbol + len, *at = NULL, *part;
    *ret = (struct spy_cython_name){0};
    for (size_t i = 0; !at && i < SPY_COUNT(prefixes); i++)
        if (!strncmp(symbol, prefixes[i], strlen(prefixes[i])))
            at = symbol + strlen(prefixes[i]);
    if (!at)
        return false;
    while ((part = take_part(&at, end, &part_len)))
        if (!ret->module || !is_class(part)) {
            ret->module = part;
            ret->module_len = part_len;
        }
    ret->is_wrapper = symbol[7] == 'w';
    at += count_digits(at, end, &number);
    ret->function = at;
    ret->function_len = (size_t)(end - at);
    return ret->module && at < end;
}
