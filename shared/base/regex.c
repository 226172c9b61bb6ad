#include "shared/base/regex.h"
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERN_MAX = 1024, DEPTH_MAX = 64, NODES_MAX = 1024, NEST_MAX = 3 };

// glibc copies x for x+ and x{n}, so nested ones grow by their product, and knows back-references
// only by trying all ways. So the nodes that will come of an expression are counted first.

// Repetitions of what is repeated are bounded in depth as well: the ways through nested ones that
// match nothing multiply when glibc looks where each state can go on.

struct item {
    size_t nodes;
    int nest; // repetitions inside of repetitions
};

struct count {
    struct item groups[DEPTH_MAX + 1]; // those that are open
    size_t depth;
    struct item last; // what a repetition is of
};

// The end of a bracket expression that begins at `at` (POSIX, 9.3.5), or of the text.
static const char *after_bracket(const char *at)
{
    at += at[1] == '^' ? 2 : 1;
    at += *at == ']';
    for (; *at && *at != ']'; at++)
        if (*at == '[' && at[1] && strchr(".:=", at[1])) {
            const char end[] = {at[1], ']', 0};
            const char *found = strstr(at + 2, end);
            if (!found)
                return at + strlen(at);
            at = found + 1;
        }
    return *at ? at + 1 : at;
}

// How often x stands in what x{n,m} becomes; *at goes behind it.
static size_t repetitions(const char **at)
{
    size_t most = 1;
    while (**at == '{' || **at == ',') {
        char *end;
        size_t n = strtoul(*at + 1, &end, 10);
        most = n > most ? n : most;
        *at = end;
    }
    *at += **at == '}';
    return most < NODES_MAX ? most + 1 : NODES_MAX;
}

static void add_item(struct count *c, struct item item)
{
    struct item *group = &c->groups[c->depth];
    c->last = item;
    group->nodes += item.nodes;
    group->nest = item.nest > group->nest ? item.nest : group->nest;
}

static void repeat_item(struct count *c, size_t times)
{
    struct item repeated = {(c->last.nodes + 1) * times, c->last.nest + 1};
    c->groups[c->depth].nodes -= c->last.nodes;
    add_item(c, repeated);
}

static bool open_group(struct count *c)
{
    if (c->depth == DEPTH_MAX)
        return false;
    c->groups[++c->depth] = (struct item){.nodes = 1};
    c->last = (struct item){0};
    return true;
}

static void close_group(struct count *c)
{
    struct item inside = {.nodes = 1}; // where none is open it is a character like others
    if (c->depth)
        inside = c->groups[c->depth--];
    add_item(c, inside);
}

// Returns what follows, or NULL where groups are open too deep.
static const char *count_one(struct count *c, const char *at)
{
    switch (*at) {
    case '(':
        return open_group(c) ? at + 1 : NULL;
    case ')':
        close_group(c);
        return at + 1;
    case '+':
        repeat_item(c, 2);
        return at + 1;
    case '*':
    case '?':
        repeat_item(c, 1);
        return at + 1;
    case '{':
        repeat_item(c, repetitions(&at));
        return at;
    case '[':
        add_item(c, (struct item){.nodes = 1});
        return after_bracket(at);
    case '\\':
        add_item(c, (struct item){.nodes = 1});
        return at + (at[1] ? 2 : 1);
    default:
        add_item(c, (struct item){.nodes = 1});
        return at + 1;
    }
}

static const char *past_bounds(const char *pattern)
{
    struct count c = {.depth = 0};
    if (strlen(pattern) > PATTERN_MAX)
        return "it is longer than 1024 bytes";
    for (const char *at = pattern; *at;) {
        if (*at == '\\' && isdigit((unsigned char)at[1]))
            return "back-references are not taken";
        at = count_one(&c, at);
        if (!at)
            return "more than 64 parentheses are open";
        if (c.last.nest > NEST_MAX)
            return "more than 3 repetitions are inside of each other";
        if (c.groups[c.depth].nodes > NODES_MAX)
            return "its repetitions multiply to more than 1024";
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
