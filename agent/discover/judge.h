// judge.h - is this process opted in, and with which settings. Inside of agent/discover.
//
// The order: the annotations of its pod, the label of its Docker container, the rules, its parent.
// An owner that says no is left alone, whatever a rule says. A container that the API server does
// not tell of though its cgroup is a pod's (the pod's sandbox is one) is in by rules or parent
// only.
#pragma once
#include "agent/discover/kube.h"
#include "agent/discover/labels.h"
#include "agent/discover/rules.h"
#include "agent/discover/table.h"

enum spy_verdict {
    SPY_VERDICT_OUT,
    SPY_VERDICT_REFUSED, // its owner says no
    SPY_VERDICT_IN,
    SPY_VERDICT_WAIT, // Docker or Kubernetes did not tell of its container yet
    SPY_VERDICT_GONE,
};

struct spy_judge {
    const struct spy_agent_config *config;
    const struct spy_rules *rules;
    bool docker;        // Docker is asked, and did not fail the last time
    uint64_t docker_ns; // when its last answer began; 0: none yet
    const struct spy_containers *list;
    const struct spy_kube_view *kube; // NULL: not asked
    uint64_t now;
};

// parent is the opted-in entry of f's parent, or NULL; e is the process's own. With IN, *ret is
// filled but for p and pointers.
enum spy_verdict spy_judge(const struct spy_judge *j, struct spy_facts *f,
                           const struct spy_entry *e, const struct spy_entry *parent,
                           struct spy_member *ret);
// Takes name and arguments anew: at opt-in and after an exec.
void spy_member_describe(struct spy_member *m, struct spy_facts *f);
