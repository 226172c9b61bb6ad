// kubeapi.h - single requests to the Kubernetes API server.
//
// Inside a pod the address, the CA, the token and the namespace are found as the kubelet provides
// them: shared/kube/in_pod.h. The token is read for every request and the CA when its file changes,
// since the kubelet renews both while the pod runs.
//
// Bounds: SPY_KUBEAPI_TIMEOUT_MS a request, SPY_KUBEAPI_ANSWER_MAX bytes of an answer. TLS as in
// shared/http/client.h; https:// only, no proxy. Connections are kept and used again.
//
// Threads: all functions of a spy_kubeapi may be called from any thread, several at once.
#pragma once
#include "shared/base/err.h"
#include <jansson.h>

enum {
    SPY_KUBEAPI_TIMEOUT_MS = 5000,
    SPY_KUBEAPI_ANSWER_MAX = 4 << 20,
    SPY_KUBEAPI_TOKEN_MAX = 16 << 10
};

struct spy_kubeapi_options {
    const char *url;        // https://HOST:PORT; NULL: from the environment
    const char *ca_file;    // NULL: as the kubelet provides it
    const char *token_file; // NULL: likewise
    const char *name_space; // NULL: the pod's own
    unsigned timeout_ms;    // 0: SPY_KUBEAPI_TIMEOUT_MS
};

struct spy_kubeapi;
// Sends nothing yet. SPY_ERR_INVALID: not inside a pod, or a URL that is not https://.
// The options are copied.
int spy_kubeapi_new(const struct spy_kubeapi_options *options, struct spy_kubeapi **ret,
                    struct spy_err *err);
void spy_kubeapi_free(struct spy_kubeapi *k);
const char *spy_kubeapi_namespace(const struct spy_kubeapi *k);

// method: GET, POST or PUT; path: from "/api" or "/apis" on; body: sent as JSON, NULL: none. On
// success *ret (may be NULL) is the answer, for the caller to json_decref.
// SPY_ERR_NOTFOUND: 404. SPY_ERR_DENIED: 401 or 403, this pod's account may not do that.
// SPY_ERR_TORN: 409, the object has changed since it was read, or exists already: read it again.
// SPY_ERR_AGAIN: no token, no answer in time, no trust in the server, 408, 429 or 5xx.
// SPY_ERR_INVALID: any other status.
int spy_kubeapi_call(struct spy_kubeapi *k, const char *method, const char *path,
                     const json_t *body, json_t **ret, struct spy_err *err);
