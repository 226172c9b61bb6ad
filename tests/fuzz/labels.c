// The list of containers as a Docker socket gives it.
#include "agent/discover/labels.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_containers c;
    struct spy_err err;
    if (spy_containers_parse((const char *)data, size, "podspy.dev", &c, &err) < 0)
        return 0;
    for (size_t i = 0; i < c.n; i++) {
        const struct spy_labels *l = &c.all[i].labels;
        if (l->rate > 1000 || l->n_problems > SPY_LABEL_PROBLEMS ||
            !spy_containers_find(&c, c.all[i].id))
            abort();
    }
    spy_containers_free(&c);
    return 0;
}
