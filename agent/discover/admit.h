// admit.h - which processes are members of spy_discover: opted in, and reported to its caller.
// Inside of agent/discover.
//
// judge.h decides about a process; admit.c acts on the decision and reports ADDED or REMOVED.
#pragma once

struct spy_discover;
struct spy_entry;
struct spy_proc_stat;

// Decides about the process of an entry, unless it is a member already. The process may be gone.
void spy_admit(struct spy_discover *d, struct spy_entry *e);
// The same where d->facts has the process open.
void spy_admit_open(struct spy_discover *d, struct spy_entry *e);
// Decides about a member too: it is removed if it should no longer be one, and removed and added if
// its settings changed.
void spy_admit_again(struct spy_discover *d, struct spy_entry *e);
// Removes a member; nothing where the entry is not one. Its memory lives until
// spy_admit_free_removed.
void spy_admit_end(struct spy_discover *d, struct spy_entry *e);
void spy_admit_free_removed(struct spy_discover *d);
// The entry of the parent, if the parent is a member; else NULL.
struct spy_entry *spy_admit_parent(const struct spy_discover *d, const struct spy_proc_stat *s);
