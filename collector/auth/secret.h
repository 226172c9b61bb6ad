// secret.h - the authority and the server's certificate in a Secret of Kubernetes, for all replicas
// alike, and the authority's certificate in a ConfigMap, where agents read it. Inside of
// collector/auth.
//
// The Secret's keys: ca.crt, ca.key, tls.crt, tls.key; the ConfigMap's: ca.crt. Both objects are
// there empty (deploy/k8s), so that the account needs no more than get and update of the two.
// Replicas that start at once end up with one authority: each writes with the resourceVersion it
// read, and the one that comes second (409) reads again and takes what the first one made.
#pragma once
#include "collector/auth/cert.h"
#include "collector/kube/kubeapi.h"

struct spy_secret {
    struct spy_kubeapi *kube;
    const char *secret, *config_map; // names, of the namespace of `names`
    struct spy_cert_names names;
};

// Reads the Secret, makes what is missing or will not do for long, writes it. ret_ca: the
// authority's certificate, PEM, owned.
// SPY_ERR_INVALID: what is in it is damaged, which is never overwritten; otherwise as kubeapi.h.
int spy_secret_load(const struct spy_secret *s, struct spy_pems *ret_server, char **ret_ca,
                    struct spy_err *err);
// Writes the ConfigMap where it says anything else.
int spy_secret_publish(const struct spy_secret *s, const char *ca, struct spy_err *err);
