// access.c - who may send profiles and who may ask, and the texts of refusals.
#include "collector/cli/routes.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"

#define WARN_EVERY (60 * SPY_NS_PER_SEC)

static const struct {
    enum spy_http_verdict verdict;
    unsigned status, retry_after;
} verdicts[] = {
    [SPY_AUTH_YES] = {SPY_HTTP_ALLOWED, 200, 0},
    [SPY_AUTH_UNKNOWN] = {SPY_HTTP_REFUSED, 401, 0},
    [SPY_AUTH_FORBIDDEN] = {SPY_HTTP_REFUSED, 403, 0},
    [SPY_AUTH_AWAY] = {SPY_HTTP_REFUSED, 503, 2},
    [SPY_AUTH_LATER] = {SPY_HTTP_LATER, 0, 0},
};

static const char *hint_of(const struct spy_collector *c, enum spy_auth_role role, unsigned status)
{
    unsigned ways = role == SPY_AUTH_INGEST ? c->config.auth.ingest : c->config.auth.read;
    if (status == 503)
        return "try again; credentials accepted in the last minute stay valid";
    if (ways == SPY_AUTH_MTLS)
        return "present a certificate of an authority in tls.client_ca_file, in date and for "
               "clients (clientAuth)";
    if (!(ways & SPY_AUTH_KUBERNETES))
        return role == SPY_AUTH_INGEST
                   ? "send 'Authorization: Bearer TOKEN' with the token in ingest.token of the "
                     "collector's data folder"
                   : "send 'Authorization: Bearer TOKEN' with the token in read.token of the "
                     "collector's data folder";
    return role == SPY_AUTH_INGEST
               ? "send a projected token of the agent's service account, for the collector's "
                 "audience (docs/kubernetes.md)"
               : "send the token of an account that may get the collector's service, or use "
                 "kubectl "
                 "port-forward to port 8080, which needs none (docs/kubernetes.md)";
}

static enum spy_http_verdict check_credential(struct spy_collector *c, enum spy_auth_role role,
                                              const struct spy_http_request *req,
                                              struct spy_http_response *res)
{
    static uint64_t last[2];
    const char *why;
    struct spy_credential credential = {req->authorization, req->tls_session};
    if (req->local)
        return SPY_HTTP_ALLOWED;
    enum spy_auth_answer a = spy_auth_check(c->auth, role, &credential, req->may_wait, &why);
    if (verdicts[a].verdict != SPY_HTTP_REFUSED)
        return verdicts[a].verdict;
    spy_http_error(res, verdicts[a].status, why, hint_of(c, role, verdicts[a].status));
    res->retry_after = verdicts[a].retry_after;
    if (a != SPY_AUTH_AWAY && spy_log_due(&last[role], WARN_EVERY))
        spy_log(SPY_LOG_WARN, "request refused: missing or invalid credential",
                SPY_S("path", req->path), SPY_S("error", why));
    return SPY_HTTP_REFUSED;
}

enum spy_http_verdict spy_allow_read(void *arg, const struct spy_http_request *req,
                                     struct spy_http_response *res)
{
    return check_credential(arg, SPY_AUTH_READ, req, res);
}

enum spy_http_verdict spy_allow_plain(void *arg, const struct spy_http_request *req,
                                      struct spy_http_response *res)
{
    (void)arg;
    if (!req->n_params)
        return SPY_HTTP_ALLOWED;
    spy_http_error(res, 400, "this path takes no parameters", "leave them out");
    return SPY_HTTP_REFUSED;
}

enum spy_http_verdict spy_allow_metrics(void *arg, const struct spy_http_request *req,
                                        struct spy_http_response *res)
{
    enum spy_http_verdict v = spy_allow_read(arg, req, res);
    return v == SPY_HTTP_ALLOWED ? spy_allow_plain(arg, req, res) : v;
}

enum spy_http_verdict spy_allow_push(void *arg, const struct spy_http_request *req,
                                     struct spy_http_response *res)
{
    enum spy_http_verdict v = check_credential(arg, SPY_AUTH_INGEST, req, res);
    return v == SPY_HTTP_ALLOWED ? spy_allow_plain(arg, req, res) : v;
}
