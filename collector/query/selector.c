#include "collector/query/selector.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/regex.h"
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum kind {
    TERM,
    TYPE,
    FROM,
    UNTIL,
    FLAG,
    NOT_FLAG,
    PROCESSES,
    INCLUDE,
    EXCLUDE,
    THREAD,
    NODES,
    FORMAT,
    STEP,
    GROUP,
    VIEW,
    STEPS
};
enum { NODES_MIN = 10, NODES_MAX = 1000000, STEP_MAX = 31 * 86400, STEPS_MAX = 240 };

static const struct parameter {
    const char *name;
    enum kind kind;
    const char *keys[3]; // TERM, TYPE
    size_t offset;       // FLAG, NOT_FLAG: of a bool in spy_view
} parameters[] = {
    {"cluster", TERM, {SPY_LABEL_CLUSTER}, 0},
    {"namespace", TERM, {SPY_LABEL_NAMESPACE}, 0},
    {"pod", TERM, {SPY_LABEL_POD}, 0},
    {"container", TERM, {SPY_LABEL_CONTAINER, SPY_LABEL_CONTAINER_ID}, 0},
    {"node", TERM, {SPY_LABEL_NODE, SPY_LABEL_HOST}, 0},
    {"service", TERM, {SPY_LABEL_SERVICE}, 0},
    {"pid", TERM, {SPY_LABEL_PID, SPY_LABEL_NS_PID}, 0},
    {"image", TERM, {SPY_LABEL_IMAGE}, 0},
    {"type", TYPE, {SPY_LABEL_SAMPLE_TYPE}, 0},
    {"thread", THREAD, {0}, 0},
    {"from", FROM, {0}, 0},
    {"until", UNTIL, {0}, 0},
    {"idle", FLAG, {0}, offsetof(struct spy_view, idle)},
    {"gil", FLAG, {0}, offsetof(struct spy_view, gil)},
    {"native", NOT_FLAG, {0}, offsetof(struct spy_view, no_native)},
    {"lines", NOT_FLAG, {0}, offsetof(struct spy_view, no_lines)},
    {"threads", FLAG, {0}, offsetof(struct spy_view, threads)},
    {"states", FLAG, {0}, offsetof(struct spy_view, states)},
    {"processes", PROCESSES, {0}, 0},
    {"include", INCLUDE, {0}, 0},
    {"exclude", EXCLUDE, {0}, 0},
    {"max_nodes", NODES, {0}, 0},
    {"format", FORMAT, {0}, 0},
    {"step", STEP, {0}, 0},
    {"group", GROUP, {0}, 0},
    {"view", VIEW, {SPY_LABEL_SAMPLE_TYPE}, 0},
    {"steps", STEPS, {0}, 0},
};

static bool is_taken(const struct parameter *row, unsigned takes)
{
    return row->kind == FORMAT  ? takes & SPY_TAKES_FORMAT
           : row->kind == STEP  ? takes & SPY_TAKES_STEP
           : row->kind == GROUP ? takes & SPY_TAKES_GROUP
           : row->kind == STEPS ? takes & SPY_TAKES_STEPS
                                : true;
}

bool spy_selector_chooses(const char *name)
{
    for (size_t i = 0; i < SPY_COUNT(parameters); i++)
        if (!strcmp(parameters[i].name, name)) {
            enum kind kind = parameters[i].kind;
            return kind == TERM || kind == TYPE || kind == FROM || kind == UNTIL || kind == THREAD;
        }
    return false;
}

const char *spy_selector_name(const char *key)
{
    for (size_t i = 0; i < SPY_COUNT(parameters); i++)
        if (parameters[i].keys[0] && !strcmp(parameters[i].keys[0], key))
            return parameters[i].name;
    return NULL;
}

// --- time ---

static int parse_relative(const char *text, uint64_t now_ns, uint64_t *ret)
{
    static const struct {
        char unit;
        unsigned seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    char *end;
    if (!isdigit((unsigned char)text[1]))
        return SPY_ERR_INVALID;
    errno = 0;
    unsigned long long n = strtoull(text + 1, &end, 10);
    for (size_t i = 0; i < SPY_COUNT(units); i++)
        if (*end == units[i].unit && !end[1] && !errno && n < 1000000000) {
            uint64_t back = n * units[i].seconds * SPY_NS_PER_SEC;
            *ret = back < now_ns ? now_ns - back : 0;
            return 0;
        }
    return SPY_ERR_INVALID;
}

// What follows the seconds in RFC 3339: a fraction and "Z" or "+hh:mm". A '+' that is not encoded in
// a URL arrives as a space.
static int parse_zone(const char *at, double *ret_fraction, long *ret_offset)
{
    char *end = (char *)(uintptr_t)at;
    *ret_fraction = *at == '.' ? strtod(at, &end) : 0;
    at = end;
    *ret_offset = 0;
    if ((*at == 'Z' || *at == 'z') && !at[1])
        return 0;
    int sign = *at == '-' ? -1 : 1;
    unsigned h, m;
    int used = 0;
    if ((*at != '+' && *at != '-' && *at != ' ') ||
        sscanf(at + 1, "%2u:%2u%n", &h, &m, &used) < 2 || used != 5 || at[6] || h > 23 || m > 59)
        return SPY_ERR_INVALID;
    *ret_offset = sign * (long)(h * 3600 + m * 60);
    return 0;
}

static int parse_rfc3339(const char *text, uint64_t *ret)
{
    struct tm tm = {0};
    double fraction;
    long offset;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest || parse_zone(rest, &fraction, &offset) < 0)
        return SPY_ERR_INVALID;
    time_t t = timegm(&tm) - offset;
    if (t < 0 || t > 9000000000)
        return SPY_ERR_INVALID;
    *ret = (uint64_t)t * SPY_NS_PER_SEC + (uint64_t)(fraction * 1e9);
    return 0;
}

int spy_time_parse(const char *text, uint64_t now_ns, uint64_t *ret_ns)
{
    char *end;
    if (!strcmp(text, "now")) {
        *ret_ns = now_ns;
        return 0;
    }
    if (*text == '-')
        return parse_relative(text, now_ns, ret_ns);
    if (strspn(text, "0123456789.") != strlen(text))
        return parse_rfc3339(text, ret_ns);
    double seconds = strtod(text, &end);
    if (end == text || *end || !(seconds >= 0 && seconds < 9e9))
        return SPY_ERR_INVALID;
    *ret_ns = (uint64_t)(seconds * 1e9);
    return 0;
}

void spy_time_print(uint64_t ns, char *out)
{
    time_t t = (time_t)(ns / SPY_NS_PER_SEC);
    struct tm tm;
    gmtime_r(&t, &tm);
    if (!strftime(out, SPY_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm))
        *out = 0;
}

// --- parameters ---

struct parser {
    struct spy_selector *to;
    uint64_t now_ns;
    bool has_from, has_until, has_type, is_blame;
    char *hint;
    struct spy_err *err;
};

static __attribute__((format(printf, 4, 5))) int
fail_value(struct parser *p, const char *name, const char *value, const char *hint, ...)
{
    va_list ap;
    va_start(ap, hint);
    vsnprintf(p->hint, SPY_HINT_MAX, hint, ap);
    va_end(ap);
    return spy_err_set(p->err, SPY_ERR_INVALID, 0, "the parameter %s=%.120s is wrong", name, value);
}

static void note_parameter(struct spy_selector *s, const char *name, const char *value)
{
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s%s=%s", n ? ", " : "", name, value);
}

// Series of CPU and wall time, whatever a profiler calls it, have no label of their type.
static bool is_usual_type(const char *value)
{
    return !strcmp(value, "cpu") || !strcmp(value, "wall") || !strcmp(value, "samples");
}

static int parse_term(struct parser *p, const struct parameter *row, const char *value)
{
    struct spy_select *s = &p->to->select;
    if (row->kind == TYPE && p->is_blame)
        return fail_value(p, row->name, value,
                          "view=gil-blame is a type of its own: leave out type");
    if (!*value)
        return fail_value(p, row->name, value, "it is empty: leave it out to select all");
    if (s->n == SPY_SELECT_MAX - 1)
        return fail_value(p, row->name, value, "at most %d values are accepted",
                          SPY_SELECT_MAX - 1);
    struct spy_select_term *t = &s->terms[s->n++];
    memcpy(t->keys, row->keys, sizeof t->keys);
    t->value = row->kind == TYPE && is_usual_type(value) ? NULL : value;
    p->has_type = p->has_type || row->kind == TYPE;
    note_parameter(p->to, row->name, value);
    return 0;
}

// The blame is a sample type. Its samples have the state of the GIL's holder, which may wait itself.
static int parse_view(struct parser *p, const struct parameter *row, const char *value)
{
    const struct parameter type = {.name = "view", .kind = TYPE, .keys = {row->keys[0]}};
    if (strcmp(value, "gil-blame") != 0)
        return fail_value(p, row->name, value, "it takes gil-blame");
    if (p->has_type)
        return fail_value(p, row->name, value, "it is a type of its own: leave out type");
    int r = parse_term(p, &type, SPY_TYPE_GIL_BLAME);
    p->is_blame = true;
    return r;
}

static int parse_filter(struct parser *p, const struct parameter *row, const char *value,
                        const char **list, size_t *n)
{
    struct spy_err why = {0};
    struct spy_regex *re;
    if (!*value)
        return fail_value(p, row->name, value, "it is empty: leave it out to select all");
    if (*n == SPY_FILTER_MAX)
        return fail_value(p, row->name, value, "at most %d of these are accepted", SPY_FILTER_MAX);
    if (row->kind != THREAD) {
        if (spy_regex_new(value, &re, &why) < 0)
            return fail_value(p, row->name, value, "%s", why.msg);
        spy_regex_free(re);
    }
    list[(*n)++] = value;
    note_parameter(p->to, row->name, value);
    return 0;
}

static int parse_flag(struct parser *p, const struct parameter *row, const char *value)
{
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
        return fail_value(p, row->name, value, "it takes 0 or 1");
    bool on = *value == '1';
    *(bool *)((char *)&p->to->view + row->offset) = row->kind == FLAG ? on : !on;
    return 0;
}

static int parse_time(struct parser *p, const struct parameter *row, const char *value,
                      uint64_t *to, bool *has)
{
    if (spy_time_parse(value, p->now_ns, to) < 0)
        return fail_value(p, row->name, value,
                          "write a time as 2026-11-24T05:30:00Z, as Unix seconds, or as -15m");
    *has = true;
    return 0;
}

static int parse_processes(struct parser *p, const struct parameter *row, const char *value)
{
    static const char *const names[] = {"auto", "0", "1"}; // in the order of enum spy_processes
    for (size_t i = 0; i < SPY_COUNT(names); i++)
        if (!strcmp(value, names[i])) {
            p->to->view.processes = (enum spy_processes)i;
            return 0;
        }
    return fail_value(p, row->name, value, "it takes auto, 0 or 1");
}

static int parse_nodes(struct parser *p, const struct parameter *row, const char *value)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || n < NODES_MIN || n > NODES_MAX)
        return fail_value(p, row->name, value, "it takes a number from %d to %d", NODES_MIN,
                          NODES_MAX);
    p->to->view.max_nodes = (uint32_t)n;
    return 0;
}

static int parse_step(struct parser *p, const struct parameter *row, const char *value)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);
    unsigned long unit = !strcmp(end, "m") ? 60 : !strcmp(end, "h") ? 3600 : 1;
    bool known = !*end || !strcmp(end, "s") || !strcmp(end, "m") || !strcmp(end, "h");
    if (!isdigit((unsigned char)*value) || !known || !n || n > STEP_MAX / unit)
        return fail_value(p, row->name, value,
                          "it takes seconds, or a length such as 30s, 5m or 1h");
    p->to->step_ns = n * unit * SPY_NS_PER_SEC;
    return 0;
}

static int parse_group(struct parser *p, const struct parameter *row, const char *value)
{
    if (strcmp(value, "entry") != 0)
        return fail_value(p, row->name, value, "it takes entry");
    p->to->by_entry = true;
    return 0;
}

static int parse_steps(struct parser *p, const struct parameter *row, const char *value)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || !n || n > STEPS_MAX)
        return fail_value(p, row->name, value, "it takes a number from 1 to %d", STEPS_MAX);
    p->to->steps = (uint32_t)n;
    return 0;
}

static int parse_parameter(struct parser *p, const struct parameter *row, const char *value)
{
    struct spy_selector *s = p->to;
    struct spy_filter_options *f = &s->filter;
    switch (row->kind) {
    case TERM:
    case TYPE:
        return parse_term(p, row, value);
    case FROM:
        return parse_time(p, row, value, &s->select.from_ns, &p->has_from);
    case UNTIL:
        return parse_time(p, row, value, &s->select.until_ns, &p->has_until);
    case FLAG:
    case NOT_FLAG:
        return parse_flag(p, row, value);
    case PROCESSES:
        return parse_processes(p, row, value);
    case INCLUDE:
        return parse_filter(p, row, value, f->include, &f->n_include);
    case EXCLUDE:
        return parse_filter(p, row, value, f->exclude, &f->n_exclude);
    case THREAD:
        return parse_filter(p, row, value, f->threads, &f->n_threads);
    case NODES:
        return parse_nodes(p, row, value);
    case FORMAT:
        s->format = value;
        return 0;
    case STEP:
        return parse_step(p, row, value);
    case GROUP:
        return parse_group(p, row, value);
    case VIEW:
        return parse_view(p, row, value);
    case STEPS:
        return parse_steps(p, row, value);
    }
    return 0;
}

static int fail_unknown(struct parser *p, const char *name, unsigned takes)
{
    size_t n = (size_t)snprintf(p->hint, SPY_HINT_MAX, "known are");
    for (size_t i = 0; i < SPY_COUNT(parameters); i++)
        if (is_taken(&parameters[i], takes))
            n += (size_t)snprintf(p->hint + n, SPY_HINT_MAX - n, "%s %s", i ? "," : "",
                                  parameters[i].name);
    return spy_err_set(p->err, SPY_ERR_INVALID, 0, "unknown parameter '%.120s'", name);
}

static int check_time_range(struct parser *p)
{
    struct spy_select *s = &p->to->select;
    if (!p->has_until)
        s->until_ns = p->now_ns;
    if (!p->has_from)
        s->from_ns = s->until_ns > 3600 * SPY_NS_PER_SEC ? s->until_ns - 3600 * SPY_NS_PER_SEC : 0;
    if (s->from_ns < s->until_ns)
        return 0;
    snprintf(p->hint, SPY_HINT_MAX, "set from to a time before until (default: now)");
    return spy_err_set(p->err, SPY_ERR_INVALID, 0, "from is not before until");
}

int spy_selector_parse(const struct spy_param *params, size_t n, unsigned takes, uint64_t now_ns,
                       struct spy_selector *ret, char *hint, struct spy_err *err)
{
    struct spy_selector s = {0};
    struct parser p = {.to = &s, .now_ns = now_ns, .hint = hint, .err = err};
    for (size_t i = 0; i < n; i++) {
        const struct parameter *row = NULL;
        for (size_t k = 0; k < SPY_COUNT(parameters); k++)
            if (!strcmp(parameters[k].name, params[i].name) && is_taken(&parameters[k], takes))
                row = &parameters[k];
        int r = row ? parse_parameter(&p, row, params[i].value)
                    : fail_unknown(&p, params[i].name, takes);
        if (r < 0)
            return r;
    }
    int r = check_time_range(&p);
    if (r < 0)
        return r;
    s.n_asked = s.select.n;
    s.view.idle = s.view.idle || p.is_blame;
    if (!p.has_type)
        s.select.terms[s.select.n++] =
            (struct spy_select_term){.keys = {SPY_LABEL_SAMPLE_TYPE}, .value = NULL};
    if (!*s.text)
        snprintf(s.text, sizeof s.text, "anything");
    *ret = s;
    return 0;
}
