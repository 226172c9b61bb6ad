#include "collector/query/query.h"
#include "shared/base/clock.h"
#include <string.h>

#define SETTLED (120 * SPY_NS_PER_SEC) // by then agents have pushed their samples

// The parameters with this prefix ("" or "base.", diff.c). Without any time among them the base is
// as of the other side.
static bool is_over(const struct spy_question *q, const char *prefix, bool without)
{
    bool over = false, any = false;
    size_t n = strlen(prefix);
    for (size_t i = 0; i < q->n_params; i++) {
        const char *name = q->params[i].name, *value = q->params[i].value;
        if (strncmp(name, prefix, n) != 0)
            continue;
        bool until = !strcmp(name + n, "until");
        uint64_t ns;
        if (!until && strcmp(name + n, "from") != 0)
            continue;
        any = true;
        if (*value == '-' || !strcmp(value, "now") || spy_time_parse(value, q->now_ns, &ns) < 0)
            return false;
        if (until && ns + SETTLED > q->now_ns)
            return false;
        over = over || until;
    }
    return any ? over : without;
}

bool spy_query_is_closed(const struct spy_question *q)
{
    return is_over(q, "", false) && is_over(q, "base.", true);
}
