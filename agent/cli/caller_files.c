#include "agent/cli/caller.h"
#include "shared/base/mem.h"
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { CALLER_GROUPS_MAX = 1024 };

static bool find_caller(uid_t uid, char *out, size_t size)
{
    FILE *f = fopen("/etc/passwd", "re");
    const struct passwd *user = NULL;
    while (f && (user = fgetpwent(f)) && user->pw_uid != uid)
        ;
    if (user)
        snprintf(out, size, "%s", user->pw_name);
    if (f)
        fclose(f);
    return user != NULL;
}

static bool has_member(const struct group *g, const char *name)
{
    for (char **member = g->gr_mem; *member; member++)
        if (!strcmp(*member, name))
            return true;
    return false;
}

int spy_caller_set_groups(uid_t uid, gid_t gid)
{
    char name[256];
    gid_t list[CALLER_GROUPS_MAX] = {gid};
    size_t n = 1;
    FILE *f = find_caller(uid, name, sizeof name) ? fopen("/etc/group", "re") : NULL;
    for (const struct group *g; f && n < SPY_COUNT(list) && (g = fgetgrent(f));)
        if (g->gr_gid != gid && has_member(g, name))
            list[n++] = g->gr_gid;
    if (f)
        fclose(f);
    return setgroups(n, list);
}
