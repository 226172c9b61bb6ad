// secret.h - the authority and the server certificate in a Kubernetes Secret, shared by all
// replicas, and the authority's certificate in a ConfigMap, where agents read it. Inside of
// collector/auth.
//
// The Secret's keys: ca.crt, ca.key, tls.crt, tls.key; the ConfigMap's: ca.crt. deploy/k8s creates
// both objects empty, so that the account needs only get and update of the two. Replicas that start
// at the same time end up with one authority: each writes with the resourceVersion it read, and a
// replica that comes second (409) reads again and uses what the first replica made.
#pragma once
#include "collector/auth/cert.h"
#include "collector/kube/kubeapi.h"

struct spy_secret {
    struct spy_kubeapi *kube;
    const char *secret, *config_map; // names, of the namespace of `names`
    struct spy_cert_names names;
};

// Reads the Secret, makes what is missing or about to expire, and writes it. ret_ca: the authority's
// certificate, PEM, owned. SPY_ERR_INVALID: the Secret's content is damaged, and is not overwritten;
// other errors as in kubeapi.h.
int spy_secret_load(const struct spy_secret *s, struct spy_pems *ret_server, char **ret_ca,
                    struct spy_err *err);
// Writes the ConfigMap if its content differs.
int spy_secret_publish(const struct spy_secret *s, const char *ca, struct spy_err *err);
