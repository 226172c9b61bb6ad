#define PCRE2_CODE_UNIT_WIDTH 8
#include "shared/base/regex.h"
#include "shared/base/mem.h"
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERN_MAX = 1024, DEPTH_MAX = 64 };

struct spy_regex {
    pcre2_code *code;
    pcre2_match_data *found;
    pcre2_match_context *limits;
};

SPY_CLEANUP(regex_done, struct spy_regex, spy_regex_free)
SPY_CLEANUP(context_done, pcre2_compile_context, pcre2_compile_context_free)

static int refuse_pattern(int code, size_t at, struct spy_err *err)
{
    PCRE2_UCHAR why[160] = "";
    pcre2_get_error_message(code, why, sizeof why);
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return spy_err_nomem(err);
    if (code == PCRE2_ERROR_PATTERN_TOO_LARGE || code == PCRE2_ERROR_PATTERN_TOO_COMPLICATED ||
        code == PCRE2_ERROR_PARENTHESES_NEST_TOO_DEEP)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "%s", (const char *)why);
    return spy_err_set(err, SPY_ERR_INVALID, 0, "%s, at byte %zu", (const char *)why, at);
}

int spy_regex_new(const char *pattern, struct spy_regex **ret, struct spy_err *err)
{
    enum {
        OPTIONS = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_DOTALL | PCRE2_DOLLAR_ENDONLY |
                  PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE
    };
    int code = 0;
    PCRE2_SIZE at = 0;
    _cleanup_(context_done) pcre2_compile_context *how = pcre2_compile_context_create(NULL);
    _cleanup_(regex_done) struct spy_regex *re = calloc(1, sizeof *re);
    if (!re || !how)
        return spy_err_nomem(err);
    size_t len = strlen(pattern);
    if (len > PATTERN_MAX)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "it is longer than %d bytes", PATTERN_MAX);
    pcre2_set_parens_nest_limit(how, DEPTH_MAX);
    re->code = pcre2_compile((PCRE2_SPTR)pattern, len, OPTIONS, &code, &at, how);
    if (!re->code)
        return refuse_pattern(code, at, err);
    re->found = pcre2_match_data_create(1, NULL);
    re->limits = pcre2_match_context_create(NULL);
    if (!re->found || !re->limits)
        return spy_err_nomem(err);
    pcre2_set_match_limit(re->limits, SPY_REGEX_STEPS);
    pcre2_set_heap_limit(re->limits, SPY_REGEX_HEAP_KIB);
    *ret = spy_steal(&re);
    return 0;
}

void spy_regex_free(struct spy_regex *re)
{
    if (!re)
        return;
    pcre2_code_free(re->code);
    pcre2_match_data_free(re->found);
    pcre2_match_context_free(re->limits);
    free(re);
}

int spy_regex_search(struct spy_regex *re, const char *text, size_t len)
{
    int n = pcre2_match(re->code, (PCRE2_SPTR)text, len, 0, 0, re->found, re->limits);
    return n >= 0                         ? 1
           : n == PCRE2_ERROR_NOMATCH     ? 0
           : n == PCRE2_ERROR_HEAP_FAILED ? SPY_ERR_NOMEM
                                          : SPY_ERR_LIMIT;
}
