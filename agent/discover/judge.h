// judge.h - is this process opted in, and with which settings. Inside of agent/discover.
//
// The order: the label of its Docker container, then the rules, then its parent. A container that
// says no is left alone, whatever a rule says. A source of Kubernetes pods will be asked between
// label and rules.
#pragma once
#include "agent/discover/labels.h"
#include "agent/discover/rules.h"
#include "agent/discover/table.h"

enum spy_verdict {
    SPY_VERDICT_OUT,
    SPY_VERDICT_IN,
    SPY_VERDICT_WAIT, // Docker was not asked yet since this process is there
    SPY_VERDICT_GONE,
};

struct spy_judge {
    const struct spy_agent_config *config;
    const struct spy_rules *rules;
    bool docker;        // Docker is asked, and did not fail the last time
    uint64_t docker_ns; // when its last answer began; 0: none yet
    const struct spy_containers *list;
};

// parent is the opted-in entry of f's parent, or NULL; e is the process's own. With IN, *ret is
// filled but for p and pointers.
enum spy_verdict spy_judge(const struct spy_judge *j, struct spy_facts *f,
                           const struct spy_entry *e, const struct spy_entry *parent,
                           struct spy_member *ret);
// Takes name and arguments anew: at opt-in and after an exec.
void spy_member_describe(struct spy_member *m, struct spy_facts *f);
