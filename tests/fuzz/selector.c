// The parameters of a question, one "name=value" a line, and the expressions in them at work.
#include "collector/query/selector.h"
#include "shared/base/clock.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

static struct spy_profile *profile(void)
{
    static struct spy_profile *p;
    static const char *const names[] = {"main", "<module>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"};
    uint32_t stack = 0, thread;
    if (p)
        return p;
    p = spy_profile_new();
    for (size_t i = 0; i < 3; i++) {
        struct spy_function f = {0};
        uint32_t function, frame;
        spy_profile_cstr(p, names[i], &f.name);
        spy_profile_cstr(p, "/usr/lib/python3/dist-packages/x.py", &f.filename);
        spy_profile_function(p, &f, &function);
        spy_profile_frame(p, (struct spy_frame){function, 1}, &frame);
        spy_profile_stack(p, stack, frame, &stack);
        spy_profile_thread(p, i, f.name, &thread);
    }
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_param params[64];
    size_t n = 0;
    char *text = malloc(size + 1), hint[SPY_HINT_MAX] = "", *rest = text;
    struct spy_selector s;
    struct spy_err err = {0};
    MUST(text);
    memcpy(text, data, size);
    text[size] = 0;
    for (char *line; n < 64 && (line = strsep(&rest, "\n"));) {
        char *value = strchr(line, '=');
        if (!*line) // after the last one
            continue;
        if (value)
            *value++ = 0;
        params[n++] = (struct spy_param){line, value ? value : ""};
    }
    if (spy_selector_parse(params, n, SPY_TAKES_FORMAT | SPY_TAKES_STEP | SPY_TAKES_GROUP,
                           1700000000 * SPY_NS_PER_SEC, &s, hint, &err) < 0) {
        MUST(err.code == SPY_ERR_INVALID && *err.msg && *hint);
    } else {
        struct spy_filter *f = NULL;
        struct spy_sample sample = {.stack = spy_profile_n_stacks(profile()) - 1};
        MUST(s.select.from_ns < s.select.until_ns && s.select.n <= SPY_SELECT_MAX && *s.text);
        if (spy_filter_new(&s.filter, profile(), &f, &err) == 0)
            spy_filter_has(f, &sample);
        spy_filter_free(f);
    }
    free(text);
    return 0;
}
