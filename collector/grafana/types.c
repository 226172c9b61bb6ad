#include "collector/grafana/types.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <string.h>

#define CPU    "cpu"
#define WALL   "wall"
#define TIME   "nanoseconds"
#define COUNT  "count"
#define ACTIVE (SPY_STATE_RUNNING | SPY_STATE_RUNNABLE)

const struct spy_profile_type spy_profile_types[] = {
    {"process_cpu", "cpu", TIME, CPU, SPY_STATE_RUNNING},
    {"process_cpu", "samples", COUNT, CPU, SPY_STATE_RUNNING},
    {"active", "wall", TIME, WALL, ACTIVE},
    {"wall", "wall", TIME, WALL, 0},
    {"wall", "samples", COUNT, WALL, 0},
    {"gil", "holds", TIME, WALL, SPY_STATE_GIL_HOLDS},
    {"gil", "waits", TIME, WALL, SPY_STATE_GIL_WAITS},
    {"gc", "wall", TIME, WALL, SPY_STATE_GC},
};
const size_t spy_profile_n_types = SPY_COUNT(spy_profile_types);

bool spy_type_is_plain(const char *type)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_.-/";
    size_t n = strspn(type, plain);
    return n && n < SPY_TYPE_ID_MAX / 2 && !type[n];
}

static bool is_period(const char *text)
{
    return !strcmp(text, ":" CPU ":" TIME) || !strcmp(text, ":" WALL ":" TIME);
}

// The text after a prefix, or NULL.
static const char *skip_prefix(const char *text, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(text, prefix, n) ? NULL : text + n;
}

static bool parse_usual(const char *id, struct spy_type_asked *ret)
{
    for (size_t i = 0; i < spy_profile_n_types; i++) {
        const struct spy_profile_type *t = &spy_profile_types[i];
        char prefix[SPY_TYPE_ID_MAX];
        snprintf(prefix, sizeof prefix, "%s:%s:%s", t->name, t->sample_type, t->unit);
        const char *rest = skip_prefix(id, prefix);
        if (!rest || !is_period(rest))
            continue;
        *ret = (struct spy_type_asked){.states = t->states, .counts = !strcmp(t->unit, COUNT)};
        return true;
    }
    return false;
}

static bool parse_other(const char *id, struct spy_type_asked *ret)
{
    struct spy_type_asked t = {.is_other = true};
    const char *type = skip_prefix(id, "other:"), *end = type ? strchr(type, ':') : NULL;
    if (!end || (size_t)(end - type) >= sizeof t.type)
        return false;
    memcpy(t.type, type, (size_t)(end - type));
    const char *time = skip_prefix(end, ":" TIME), *count = skip_prefix(end, ":" COUNT);
    t.counts = count != NULL;
    if (!spy_type_is_plain(t.type) || !is_period(time ? time : count ? count : ""))
        return false;
    *ret = t;
    return true;
}

int spy_type_parse(const char *id, struct spy_type_asked *ret, struct spy_err *err)
{
    if (parse_usual(id, ret) || parse_other(id, ret))
        return 0;
    return spy_err_set(err, SPY_ERR_INVALID, 0,
                       "there is no profile type '%.80s'; ProfileTypes lists those that there are, "
                       "such as process_cpu:cpu:nanoseconds:cpu:nanoseconds",
                       id);
}

void spy_type_narrow(const struct spy_type_asked *t, struct spy_select *select)
{
    select->terms[select->n++] = (struct spy_select_term){.keys = {SPY_LABEL_SAMPLE_TYPE},
                                                          .value = t->is_other ? t->type : NULL};
}
