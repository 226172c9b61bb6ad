// options.h - the roles of those who send and read, the answers to them, and the settings that
// decide. Inside of collector/auth and for its callers.
#pragma once
#include "collector/kube/kubeapi.h"
#include <stdbool.h>

enum spy_auth_role { SPY_AUTH_INGEST, SPY_AUTH_READ };
enum spy_auth_answer {
    SPY_AUTH_YES,
    SPY_AUTH_UNKNOWN,   // 401: no credential, or an invalid one
    SPY_AUTH_FORBIDDEN, // 403: a valid credential of an account that may not
    SPY_AUTH_AWAY,      // 503: the API server cannot be asked now
    SPY_AUTH_LATER,     // only without may_wait: call again with it
};

struct spy_auth_options {
    const char *dir;            // the data folder
    unsigned ways[2];           // for each role, SPY_AUTH_ bits of collector_config.h
    const char *client_ca_file; // borrowed; NULL: client certificates are refused
    struct spy_kubeapi *kube;   // borrowed; with SPY_AUTH_KUBERNETES
    const char *audience;       // of the agents' tokens; borrowed, as the rest
    // The accounts that may send, each system:serviceaccount:NAMESPACE:NAME, commas between them.
    const char *agent;
    const char *service;    // accounts that may `get` this service may read
    const char *name_space; // of the service
};
