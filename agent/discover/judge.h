// judge.h - is this process opted in, and with which settings. Inside of agent/discover.
//
// The order: the annotations of its pod, the label of its Docker container, the rules, its parent.
// If the owner says no, the process is left alone, whatever a rule says. A container in a pod's
// cgroup that the API server does not list (the pod's sandbox, for example) is opted in by rules or
// its parent only.
#pragma once
#include "agent/discover/kube.h"
#include "agent/discover/labels.h"
#include "agent/discover/rules.h"
#include "agent/discover/table.h"

enum spy_verdict {
    SPY_VERDICT_OUT,
    SPY_VERDICT_REFUSED, // its owner says no
    SPY_VERDICT_IN,
    SPY_VERDICT_WAIT, // Docker or Kubernetes has not listed its container yet
    SPY_VERDICT_GONE,
};

struct spy_judge {
    const struct spy_agent_config *config;
    const struct spy_rules *rules;
    bool docker;        // Docker is asked, and its last answer was good
    uint64_t docker_ns; // when its last request began; 0: no answer yet
    const struct spy_containers *list;
    const struct spy_kube_view *kube; // NULL: not asked
    uint64_t now;
};

// parent is the opted-in entry of f's parent, or NULL; e is the process's own. With IN, *ret is
// filled but for p and pointers.
enum spy_verdict spy_judge(const struct spy_judge *j, struct spy_facts *f,
                           const struct spy_entry *e, const struct spy_entry *parent,
                           struct spy_member *ret);
// Reads name and arguments again: at opt-in and after an exec.
void spy_member_describe(struct spy_member *m, struct spy_facts *f);
