// A label selector of PromQL, matched against some labels.
#include "collector/grafana/matchers.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

static const struct spy_named labels[] = {{"service.name", "checkout"},
                                          {"k8s.pod.name", "aaaaaaaaaaaaaaaaaaaaaaaaaaaab"},
                                          {"odd-key", "\xc3\xa9"}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_matchers m;
    struct spy_err err = {0};
    struct spy_select select = {0};
    char *text = malloc(size + 1);
    MUST(text);
    memcpy(text, data, size);
    text[size] = 0;
    int r = spy_matchers_parse(text, &m, &err);
    if (r < 0) {
        MUST((r == SPY_ERR_INVALID || r == SPY_ERR_LIMIT) && *err.msg);
    } else {
        MUST(m.n <= SPY_MATCHERS_MAX);
        spy_matchers_narrow(&m, &select);
        MUST(select.n < SPY_SELECT_MAX);
        r = spy_matchers_match(&m, labels, sizeof labels / sizeof *labels, &err);
        MUST(r == 0 || r == 1 || (r == SPY_ERR_INVALID && *err.msg) || r == SPY_ERR_NOMEM);
        spy_matchers_free(&m);
    }
    free(text);
    return 0;
}
