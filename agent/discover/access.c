#include "agent/discover/access.h"
#include "shared/kube/in_pod.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONNECT_MS = 5000, DEAD_SECONDS = 20 };

#define COPY(to, from) snprintf(to, sizeof(to), "%s", from)

static void apply_config(struct spy_access *a, const struct spy_agent_config *c)
{
    if (c->discovery.kubernetes_url) {
        *a = (struct spy_access){0};
        COPY(a->url, c->discovery.kubernetes_url);
        size_t n = strlen(a->url);
        while (n && a->url[n - 1] == '/')
            a->url[--n] = 0;
    }
    if (c->discovery.kubernetes_token_file)
        COPY(a->token_file, c->discovery.kubernetes_token_file);
    if (c->discovery.kubernetes_ca_file)
        COPY(a->ca_file, c->discovery.kubernetes_ca_file);
}

// A pod's host name is not the node's, so inside a pod the host name is not taken.
static bool find_node(struct spy_access *a, bool in_pod)
{
    const char *given = getenv("NODE_NAME");
    COPY(a->node, given ? given : "");
    if (!*a->node && !in_pod && gethostname(a->node, sizeof a->node - 1) < 0)
        a->node[0] = 0;
    return *a->node;
}

int spy_access_find(const struct spy_agent_config *config, struct spy_access *ret,
                    struct spy_err *why)
{
    enum spy_switch want = config->discovery.kubernetes;
    bool in_pod = spy_in_pod();
    struct spy_access a = {0};
    if (want == SPY_SWITCH_OFF)
        return 0;
    if (in_pod && spy_in_pod_url(a.url, sizeof a.url)) {
        COPY(a.token_file, SPY_IN_POD_TOKEN_FILE);
        COPY(a.ca_file, SPY_IN_POD_CA_FILE);
    }
    apply_config(&a, config);
    COPY(a.prefix, config->discovery.annotation_prefix);
    if (!*a.url)
        return want == SPY_SWITCH_AUTO
                   ? 0
                   : spy_err_set(why, SPY_ERR_USAGE, 0,
                                 "discovery.kubernetes is on, but there is no API: run in a pod "
                                 "(KUBERNETES_SERVICE_HOST is not set) or give "
                                 "discovery.kubernetes_url");
    if (!find_node(&a, in_pod)) {
        spy_err_set(why, SPY_ERR_USAGE, 0,
                    "Kubernetes is not asked for pods: NODE_NAME is not set; give it to the "
                    "agent's container from the field spec.nodeName");
        return want == SPY_SWITCH_AUTO ? 0 : SPY_ERR_USAGE;
    }
    *ret = a;
    return 1;
}

struct spy_client_options spy_access_client_options(const struct spy_access *a)
{
    return (struct spy_client_options){.token_file = a->token_file,
                                       .ca_file = a->ca_file,
                                       .user_agent = "podspy/" PODSPY_VERSION,
                                       .plain = true,
                                       .connect_ms = CONNECT_MS,
                                       .dead_secs = DEAD_SECONDS,
                                       .idle_max = 1};
}
