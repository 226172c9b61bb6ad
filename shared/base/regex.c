#include "shared/base/regex.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERN_MAX = 1024, DEPTH_MAX = 64, REPEATS_MAX = 1000 };

// The largest number inside of the braces at s; 0: these are no repetition.
static unsigned long repeats(const char *s)
{
    unsigned long most = 0;
    for (s++; isdigit((unsigned char)*s) || *s == ','; s++)
        if (isdigit((unsigned char)*s)) {
            char *end;
            unsigned long n = strtoul(s, &end, 10);
            most = n > most ? n : most;
            s = end - 1;
        }
    return most;
}

// Counts on the safe side: brackets are not told from what they hold.
static const char *past_bounds(const char *pattern)
{
    int depth = 0;
    unsigned long product = 1;
    if (strlen(pattern) > PATTERN_MAX)
        return "it is longer than 1024 bytes";
    for (const char *s = pattern; *s; s++) {
        if (*s == '\\' && s[1]) {
            if (isdigit((unsigned char)*++s))
                return "back-references are not taken";
        } else if (*s == '(' && ++depth > DEPTH_MAX) {
            return "more than 64 parentheses";
        } else if (*s == '{' && repeats(s)) {
            unsigned long n = repeats(s);
            if (n > REPEATS_MAX || (product *= n) > REPEATS_MAX)
                return "it repeats more than 1000 times";
        }
    }
    return NULL;
}

int spy_regex_compile(const char *pattern, int flags, regex_t *ret, struct spy_err *err)
{
    char why[120];
    const char *bound = past_bounds(pattern);
    if (bound)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "%s", bound);
    regex_t re;
    int code = regcomp(&re, pattern, REG_EXTENDED | flags);
    if (code == 0) {
        *ret = re;
        return 0;
    }
    regerror(code, &re, why, sizeof why);
    return spy_err_set(err, code == REG_ESPACE ? SPY_ERR_NOMEM : SPY_ERR_INVALID, 0, "%s", why);
}
