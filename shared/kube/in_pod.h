// in_pod.h - what a pod of Kubernetes knows of its API server. Any thread.
//
// The kubelet sets KUBERNETES_SERVICE_HOST and _PORT in each container, and mounts the files of the
// pod's service account, which it renews while the pod runs.
// https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define SPY_IN_POD_ACCOUNT        "/var/run/secrets/kubernetes.io/serviceaccount/"
#define SPY_IN_POD_TOKEN_FILE     SPY_IN_POD_ACCOUNT "token"
#define SPY_IN_POD_CA_FILE        SPY_IN_POD_ACCOUNT "ca.crt"
#define SPY_IN_POD_NAMESPACE_FILE SPY_IN_POD_ACCOUNT "namespace"

// True where KUBERNETES_SERVICE_HOST is set.
bool spy_in_pod(void);
// Writes "https://HOST:PORT" to out. False, and out is "", outside of a pod or where it does not
// fit.
bool spy_in_pod_url(char *out, size_t size);
