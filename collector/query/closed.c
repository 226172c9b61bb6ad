#include "collector/query/query.h"
#include "shared/base/clock.h"
#include <string.h>

#define SETTLED (120 * SPY_NS_PER_SEC) // by then agents have pushed their samples

bool spy_query_is_closed(const struct spy_question *q)
{
    bool over = false;
    for (size_t i = 0; i < q->n_params; i++) {
        const char *name = q->params[i].name, *value = q->params[i].value;
        bool until = !strcmp(name, "until");
        uint64_t ns;
        if (!until && strcmp(name, "from") != 0)
            continue;
        if (*value == '-' || !strcmp(value, "now") || spy_time_parse(value, q->now_ns, &ns) < 0)
            return false;
        if (until && ns + SETTLED > q->now_ns)
            return false;
        over = over || until;
    }
    return over;
}
