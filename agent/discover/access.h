// access.h - where the Kubernetes API is and how one asks there. Inside of agent/discover.
//
// In a pod: the address from the environment, token and CA from the service account's folder.
// Elsewhere the configuration gives them (discovery.kubernetes_url and what follows it).
#pragma once
#include "agent/config/agent_config.h"
#include "shared/base/err.h"
#include <curl/curl.h>
#include <stdbool.h>

struct spy_access {
    char url[512];        // without a slash at the end
    char token_file[512]; // "": no token
    char ca_file[512];    // "": the system's
    char node[254];       // whose pods
    char prefix[254];     // of annotations
};

// Fills *ret. Returns 1; or 0 where Kubernetes is not to be asked, with *why filled when that is
// worth telling (auto, in a pod, but NODE_NAME is missing); or SPY_ERR_USAGE when it is on and
// something is missing.
int spy_access_find(const struct spy_agent_config *config, struct spy_access *ret,
                    struct spy_err *why);

// One request, with token and CA as the files are now. *ret_headers is for curl_slist_free_all once
// the request is over. content is for a POST, else NULL; it is borrowed until then.
int spy_access_request(const struct spy_access *a, const char *path, const char *content,
                       CURL **ret, struct curl_slist **ret_headers, struct spy_err *err);
