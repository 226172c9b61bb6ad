// access.h - where the Kubernetes API is, and with which files it is asked. Inside of
// agent/discover.
//
// In a pod: as shared/kube/in_pod.h has it. Elsewhere the configuration gives the address and the
// files (discovery.kubernetes_url, kubernetes_token_file, kubernetes_ca_file).
#pragma once
#include "agent/config/agent_config.h"
#include "shared/base/err.h"
#include "shared/http/client.h"

struct spy_access {
    char url[512];        // without a slash at the end
    char token_file[512]; // "": no token
    char ca_file[512];    // "": the system's
    char node[254];       // whose pods
    char prefix[254];     // of annotations
};

// Fills *ret. Returns 1; or 0 where Kubernetes is not to be asked, and then fills *why if the user
// should know the reason (auto, in a pod, but NODE_NAME is missing); or SPY_ERR_USAGE when it is on
// and something is missing.
int spy_access_find(const struct spy_agent_config *config, struct spy_access *ret,
                    struct spy_err *why);

// For a client that asks there. *a is borrowed for the life of the client.
struct spy_client_options spy_access_client_options(const struct spy_access *a);
