// caller.h - the groups of the user who called sudo. Inside of agent/cli.
//
// Two files have it. caller_nss.c asks the name service, as login does. caller_files.c reads
// /etc/passwd and /etc/group: the static program must not load the libraries of a name service.
#pragma once
#include <sys/types.h>

// Gives this process the supplementary groups of user uid, whose own group is gid; that group alone
// if the user has no entry. 0, or -1 with errno. Between fork and exec.
int spy_caller_set_groups(uid_t uid, gid_t gid);
