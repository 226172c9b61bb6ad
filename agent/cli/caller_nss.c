#include "agent/cli/caller.h"
#include <grp.h>
#include <pwd.h>

int spy_caller_set_groups(uid_t uid, gid_t gid)
{
    const struct passwd *user = getpwuid(uid);
    return user ? initgroups(user->pw_name, gid) : setgroups(1, &gid);
}
