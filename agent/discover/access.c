#include "agent/discover/access.h"
#include "shared/base/buf.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "shared/trust/trust.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount/"

enum { TOKEN_MAX = 16 << 10, CONNECT_MS = 5000, DEAD_SECONDS = 20 };

#define COPY(to, from) snprintf(to, sizeof(to), "%s", from)

static const char *from_environment(const char *name)
{
    const char *s = getenv(name);
    return s ? s : "";
}

static void in_a_pod(struct spy_access *a, const char *host)
{
    const char *port = from_environment("KUBERNETES_SERVICE_PORT");
    bool v6 = strchr(host, ':') != NULL;
    snprintf(a->url, sizeof a->url, "https://%s%.250s%s:%.5s", v6 ? "[" : "", host, v6 ? "]" : "",
             *port ? port : "443");
    COPY(a->token_file, ACCOUNT "token");
    COPY(a->ca_file, ACCOUNT "ca.crt");
}

static void as_configured(struct spy_access *a, const struct spy_agent_config *c)
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

// A pod's own host name is not a node's, so it is not a guess in a pod.
static bool find_node(struct spy_access *a, bool pod)
{
    COPY(a->node, from_environment("NODE_NAME"));
    if (!*a->node && !pod && gethostname(a->node, sizeof a->node - 1) < 0)
        a->node[0] = 0;
    return *a->node;
}

int spy_access_find(const struct spy_agent_config *config, struct spy_access *ret,
                    struct spy_err *why)
{
    enum spy_switch want = config->discovery.kubernetes;
    const char *host = from_environment("KUBERNETES_SERVICE_HOST");
    struct spy_access a = {0};
    if (want == SPY_SWITCH_OFF)
        return 0;
    if (*host)
        in_a_pod(&a, host);
    as_configured(&a, config);
    COPY(a.prefix, config->discovery.annotation_prefix);
    if (!*a.url)
        return want == SPY_SWITCH_AUTO
                   ? 0
                   : spy_err_set(why, SPY_ERR_USAGE, 0,
                                 "discovery.kubernetes is on, but there is no API: run in a pod "
                                 "(KUBERNETES_SERVICE_HOST is not set) or give "
                                 "discovery.kubernetes_url");
    if (!find_node(&a, *host)) {
        spy_err_set(why, SPY_ERR_USAGE, 0,
                    "Kubernetes is not asked for pods: NODE_NAME is not set; give it to the "
                    "agent's container from the field spec.nodeName");
        return want == SPY_SWITCH_AUTO ? 0 : SPY_ERR_USAGE;
    }
    *ret = a;
    return 1;
}

// --- requests ---

static int add_header(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);
    if (!longer)
        return SPY_ERR_NOMEM;
    *list = longer;
    return 0;
}

static int add_token(const struct spy_access *a, struct curl_slist **list, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf token = SPY_BUF_INIT(TOKEN_MAX);
    _cleanup_buf_ struct spy_buf header = SPY_BUF_INIT(TOKEN_MAX + 64);
    if (!*a->token_file)
        return 0;
    int r = spy_file_read(AT_FDCWD, a->token_file, &token, err);
    if (r < 0)
        return spy_err_context(err, r, "the token for Kubernetes");
    size_t n = token.len;
    while (n && strchr("\r\n \t", token.data[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++)
        if (token.data[i] <= ' ' || token.data[i] >= 127)
            n = 0;
    if (!n)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%.150s holds no token", a->token_file);
    spy_buf_printf(&header, "Authorization: Bearer %.*s", (int)n, spy_buf_str(&token));
    return add_header(list, spy_buf_str(&header));
}

// What a file once held is not kept: it is replaced while we run.
static int add_ca(const struct spy_access *a, CURL *c, struct spy_err *err)
{
    if (!*a->ca_file)
        return 0;
    if (access(a->ca_file, R_OK) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "the CA of Kubernetes: %.150s", a->ca_file);
    curl_easy_setopt(c, CURLOPT_CA_CACHE_TIMEOUT, 0L); // not every TLS library has such a cache
    return curl_easy_setopt(c, CURLOPT_CAINFO, a->ca_file) == CURLE_OK ? 0 : SPY_ERR_NOMEM;
}

// An API server whose machine died sends no end of the connection.
static int on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, DEAD_SECONDS / 2},
        {IPPROTO_TCP, TCP_KEEPINTVL, DEAD_SECONDS / 4},
        {IPPROTO_TCP, TCP_KEEPCNT, 2},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_SECONDS * 1000},
    };
    (void)arg, (void)purpose;
    for (size_t i = 0; i < SPY_COUNT(options); i++) // what the system does not know is not needed
        setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                   sizeof options[i].value);
    return CURL_SOCKOPT_OK;
}

static int set_up(const struct spy_access *a, CURL *c, const char *path, const char *content)
{
    char url[4096];
    snprintf(url, sizeof url, "%s%s", a->url, path);
    if (spy_trust_servers_only(c) != CURLE_OK)
        return SPY_ERR_NOMEM;
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, on_socket);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "podspy/" PODSPY_VERSION);
    if (content)
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, content);
    return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK ? 0 : SPY_ERR_NOMEM;
}

int spy_access_request(const struct spy_access *a, const char *path, const char *content,
                       CURL **ret, struct curl_slist **ret_headers, struct spy_err *err)
{
    struct curl_slist *headers = NULL;
    CURL *c = curl_easy_init();
    int r = c ? set_up(a, c, path, content) : SPY_ERR_NOMEM;
    if (r == 0)
        r = add_header(&headers, "Accept: application/json");
    if (r == 0 && content)
        r = add_header(&headers, "Content-Type: application/json");
    if (r == 0)
        r = add_token(a, &headers, err);
    if (r == 0)
        r = add_ca(a, c, err);
    if (r == 0) {
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
        *ret = c;
        *ret_headers = headers;
        return 0;
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    if (r == SPY_ERR_NOMEM)
        return spy_err_set(err, r, 0, "no memory for a request to Kubernetes");
    return r;
}
