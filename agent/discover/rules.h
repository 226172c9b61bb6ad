// rules.h - the `processes:` rules of the configuration, compiled. Inside of agent/discover.
#pragma once
#include "agent/config/agent_config.h"
#include "agent/discover/facts.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"

struct spy_rules;

// rules are borrowed. Fails with SPY_ERR_INVALID when a rule's user is neither a number nor a name
// known on this machine.
int spy_rules_new(const struct spy_rule *rules, size_t n, struct spy_rules **ret,
                  struct spy_err *err);
void spy_rules_free(struct spy_rules *r);
SPY_CLEANUP(spy_cleanup_rules, struct spy_rules, spy_rules_free)

// The first rule whose fields all match, or NULL. Only the files that the rules need are read from f.
//   cmdline  regular expression, found anywhere in the first 4096 bytes of the joined arguments
//   exe      glob over argv[0]; without '/' in it, over the last part of argv[0]. '*' matches '/'
//   cgroup   glob over any whole path of the process's cgroup file. '*' matches '/'
//   user     its effective user
const struct spy_rule *spy_rules_match(const struct spy_rules *r, struct spy_facts *f);
