#include "shared/kube/in_pod.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool spy_in_pod(void)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    return host && *host;
}

bool spy_in_pod_url(char *out, size_t size)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    bool v6 = host && strchr(host, ':');
    *out = 0;
    if (!spy_in_pod())
        return false;
    int n = snprintf(out, size, "https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "",
                     port && *port ? port : "443");
    if (n > 0 && (size_t)n < size)
        return true;
    *out = 0;
    return false;
}
