// inside.h - the parts of spy_discover that more than one file needs. Inside of agent/discover.
//
// discover.c polls /proc; take.c takes the answers of Docker and Kubernetes; admit.c makes processes
// members; explain.c reports what is wrong.
#pragma once
#include "agent/discover/discover.h"
#include "agent/discover/docker.h"
#include "agent/discover/judge.h"
#include "agent/discover/kube.h"
#include "agent/discover/table.h"
#include "shared/base/map.h"
#include <string.h>

struct spy_discover {
    const struct spy_agent_config *config;
    int proc, loadavg; // open; loadavg may be -1
    pid_t self;        // our number there, never opted in
    struct spy_rules *rules;

    struct spy_docker *docker;
    struct spy_docker_answer answer; // the last answer
    struct spy_containers list;      // of the last good answer
    uint64_t docker_logged;

    struct spy_kube *kube;
    struct spy_kube_view view; // the last view taken
    struct spy_err no_kube;    // why it is not asked, if the user should know
    uint64_t kube_logged, waiting_ns;

    bool use_last;           // /proc/loadavg counts the same processes as proc
    pid_t last, before_last; // the kernel's last number at the last two polls
    uint64_t listed_ns;
    uint32_t listing;
    size_t turn; // where the checks of the others resume

    struct spy_table table;
    struct spy_member *removed; // freed at the next poll
    bool adopt;                 // a process was opted in: look for its children
    bool table_full, members_full;
    spy_discover_fn fn; // of the poll under way
    void *arg;
    uint64_t now;
    struct spy_facts facts;   // scratch
    struct spy_member member; // scratch
};

static inline uint64_t spy_discover_hash(const char *id) // 0: none
{
    return *id ? spy_hash_bytes(id, strlen(id)) : 0;
}
