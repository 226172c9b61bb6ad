#include "agent/discover/rules.h"
#include "shared/base/regex.h"
#include <errno.h>
#include <fnmatch.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

struct compiled {
    const struct spy_rule *rule;
    struct spy_regex *cmdline; // NULL: the rule has none
    uid_t uid;                 // when rule->user
};

struct spy_rules {
    size_t n;
    struct compiled all[];
};

static int find_user(const struct spy_rule *rule, uid_t *ret, struct spy_err *err)
{
    char buf[16384], *end;
    struct passwd pw, *found = NULL;
    errno = 0;
    unsigned long n = strtoul(rule->user, &end, 10);
    if (*rule->user >= '0' && *rule->user <= '9' && !*end && !errno && n < UINT32_MAX) {
        *ret = (uid_t)n;
        return 0;
    }
    if (getpwnam_r(rule->user, &pw, buf, sizeof buf, &found) == 0 && found) {
        *ret = pw.pw_uid;
        return 0;
    }
    return spy_err_set(err, SPY_ERR_INVALID, 0,
                       "rule '%.60s': there is no user '%.60s' here; an agent in a container knows "
                       "its own users only, give the number",
                       rule->name, rule->user);
}

static int compile_rule(struct compiled *c, const struct spy_rule *rule, struct spy_err *err)
{
    if (rule->user) {
        int r = find_user(rule, &c->uid, err);
        if (r < 0)
            return r;
    }
    c->rule = rule;
    int r = rule->cmdline ? spy_regex_new(rule->cmdline, &c->cmdline, err) : 0;
    return r < 0 ? spy_err_context(err, r, "cmdline of a rule") : 0;
}

int spy_rules_new(const struct spy_rule *rules, size_t n, struct spy_rules **ret,
                  struct spy_err *err)
{
    _cleanup_(spy_cleanup_rules) struct spy_rules *r =
        calloc(1, sizeof *r + n * sizeof(struct compiled));
    if (!r)
        return spy_err_nomem(err);
    for (; r->n < n; r->n++) {
        int code = compile_rule(&r->all[r->n], &rules[r->n], err);
        if (code < 0)
            return code;
    }
    *ret = spy_steal(&r);
    return 0;
}

void spy_rules_free(struct spy_rules *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        spy_regex_free(r->all[i].cmdline);
    free(r);
}

static bool match_exe(const char *glob, struct spy_facts *f)
{
    const struct spy_proc_args *args = spy_facts_args(f);
    if (!args || !*args->argv0)
        return false;
    const char *slash = strrchr(args->argv0, '/');
    return fnmatch(glob, strchr(glob, '/') || !slash ? args->argv0 : slash + 1, 0) == 0;
}

static bool match_cgroup(const char *glob, struct spy_facts *f)
{
    char path[4096];
    size_t n;
    if (!spy_facts_container(f))
        return false;
    const char *p;
    for (const char *at = f->cgroup, *end = at + f->cgroup_len;
         (p = spy_cgroup_next_path(&at, end, &n));) {
        n = n < sizeof path - 1 ? n : sizeof path - 1;
        memcpy(path, p, n);
        path[n] = 0;
        if (fnmatch(glob, path, 0) == 0)
            return true;
    }
    return false;
}

static bool match_user(uid_t uid, struct spy_facts *f)
{
    const struct spy_proc_status *status = spy_facts_status(f);
    return status && status->uid == uid;
}

// A command line that takes too long to search does not match.
static bool match_cmdline(struct spy_regex *re, struct spy_facts *f)
{
    const struct spy_proc_args *args = spy_facts_args(f);
    return args && args->len && spy_regex_search(re, args->joined, strlen(args->joined)) == 1;
}

static bool match_rule(const struct compiled *c, struct spy_facts *f)
{
    const struct spy_rule *r = c->rule;
    return (!r->cmdline || match_cmdline(c->cmdline, f)) && (!r->exe || match_exe(r->exe, f)) &&
           (!r->cgroup || match_cgroup(r->cgroup, f)) && (!r->user || match_user(c->uid, f));
}

const struct spy_rule *spy_rules_match(const struct spy_rules *r, struct spy_facts *f)
{
    for (size_t i = 0; i < r->n; i++)
        if (match_rule(&r->all[i], f))
            return r->all[i].rule;
    return NULL;
}
