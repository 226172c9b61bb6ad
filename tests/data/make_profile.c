// test_make_profile FORMAT [FLAG...] - prints a synthetic profile, for the tests of what users see.
//
// Flags: idle gil no-native no-lines function-lines threads processes no-processes full max=N
// title=TEXT seed=N (a random profile) frames=N (a large one) empty. FORMAT "otlp" prints the bytes
// of the wire.
#include "shared/base/mem.h"
#include "shared/formats/format.h"
#include "shared/otlp/otlp.h"
#include "tests/data/synthetic.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int flag(const char *a, struct spy_view *v, struct spy_profile **p)
{
    const struct {
        const char *name;
        bool *to;
    } bools[] = {{"idle", &v->idle},
                 {"gil", &v->gil},
                 {"no-native", &v->no_native},
                 {"no-lines", &v->no_lines},
                 {"function-lines", &v->function_lines},
                 {"threads", &v->threads},
                 {"full", &v->full_filenames}};
    for (size_t i = 0; i < SPY_COUNT(bools); i++)
        if (!strcmp(a, bools[i].name)) {
            *bools[i].to = true;
            return 0;
        }
    struct spy_profile *other = NULL;
    if (!strcmp(a, "processes"))
        v->processes = SPY_PROCESSES_YES;
    else if (!strcmp(a, "no-processes"))
        v->processes = SPY_PROCESSES_NO;
    else if (!strncmp(a, "max=", 4))
        v->max_nodes = (uint32_t)strtoul(a + 4, NULL, 10);
    else if (!strncmp(a, "title=", 6))
        v->title = a + 6;
    else if (!strncmp(a, "seed=", 5))
        other = test_profile_random(strtoul(a + 5, NULL, 10), 300);
    else if (!strncmp(a, "frames=", 7))
        other = test_profile_large((uint32_t)strtoul(a + 7, NULL, 10));
    else if (!strcmp(a, "empty"))
        other = spy_profile_new();
    else
        return -1;
    if (other) {
        spy_profile_free(*p);
        *p = other;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct spy_view view = {0};
    struct spy_err err = {0};
    _cleanup_profile_ struct spy_profile *p = test_profile_rich();
    const struct spy_format *f = argc > 1 ? spy_format_find(argv[1]) : NULL;
    bool otlp = argc > 1 && !strcmp(argv[1], "otlp");
    for (int i = 2; i < argc; i++)
        if (flag(argv[i], &view, &p) < 0)
            f = NULL, otlp = false;
    if (!p || (!f && !otlp)) {
        fprintf(stderr, "usage: test_make_profile FORMAT [FLAG...]\n");
        return 2;
    }
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(256 << 20);
    int r = otlp ? spy_otlp_encode(p, NULL, 0, &out, &err) : f->print(p, &view, &out, &err);
    if (r < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    return fwrite(out.data, 1, out.len, stdout) == out.len ? 0 : 1;
}
