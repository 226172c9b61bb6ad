// podspy doctor without a process: whether everything an agent talks to answers. Rights:
// doctor_here.c.
#include "agent/cli/doctor.h"
#include "agent/config/agent_config.h"
#include "agent/discover/access.h"
#include "agent/upload/push.h"
#include "shared/base/buf.h"
#include "shared/base/clock.h"
#include "shared/base/compress.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_MAX = 64 << 10 };

SPY_CLEANUP(free_client, struct spy_client, spy_client_free)

// --- configuration ---

static enum spy_finding check_configuration(struct spy_doctor *d)
{
    struct spy_err err = {0};
    d->config = calloc(1, sizeof *d->config);
    if (!d->config || spy_agent_config_load(d->config_path, d->config, &err) < 0) {
        SPY_DOCTOR_SAY(d, "%s", d->config ? err.msg : "out of memory");
        return SPY_DOCTOR_STOP;
    }
    SPY_DOCTOR_SAY(d, "%s",
                   d->config_path ? d->config_path : "none given: the defaults (--config)");
    return d->config_path ? SPY_DOCTOR_OK : SPY_DOCTOR_NOTE;
}

void spy_doctor_free_agent(struct spy_doctor *d)
{
    if (d->config)
        spy_agent_config_free(d->config);
    free(d->config);
}

// --- Docker and Kubernetes ---

static int connect_socket(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        return ENAMETOOLONG;
    memcpy(a.sun_path, path, strlen(path) + 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0 ? errno : 0;
}

static enum spy_finding check_docker(struct spy_doctor *d)
{
    const char *path = d->config->discovery.docker_socket;
    enum spy_switch want = d->config->discovery.docker;
    if (want == SPY_SWITCH_OFF) {
        SPY_DOCTOR_SAY(d, "not asked (discovery.docker: off)");
        return SPY_DOCTOR_OK;
    }
    int failed = connect_socket(path);
    SPY_DOCTOR_SAY(d, "%s %s%s", path, failed ? "cannot be reached: " : "answers",
                   failed ? strerror(failed) : "");
    if (!failed)
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d,
                    "the labels of containers are unknown: mount the socket (-v %s:%s) or set "
                    "discovery.docker_socket; without Docker set discovery.docker: off",
                    path, path);
    return want == SPY_SWITCH_ON ? SPY_DOCTOR_NO : SPY_DOCTOR_NOTE;
}

static int post_review(struct spy_client *c, const struct spy_access *a, const char *content,
                       struct spy_client_answer *ret, struct spy_err *err)
{
    static const char *const headers[] = {"Accept: application/json",
                                          "Content-Type: application/json"};
    char url[640];
    snprintf(url, sizeof url, "%s/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", a->url);
    struct spy_client_request request = {.url = url,
                                         .headers = headers,
                                         .n_headers = SPY_COUNT(headers),
                                         .body = content,
                                         .body_len = strlen(content),
                                         .timeout_ms = 15000,
                                         .answer_max = ANSWER_MAX};
    int r = spy_client_send(c, &request, ret, err);
    return r == 0 && ret->outcome == SPY_CLIENT_UNREACHABLE
               ? spy_err_set(err, -1, 0, "%s is not reached: %s", a->url, ret->reason)
               : r;
}

// Whether this account may do that with pods or events: 1, 0, or -1 with the reason in err.
static int ask_permission(struct spy_client *c, const struct spy_access *a, const char *verb,
                          const char *resource, struct spy_err *err)
{
    char content[300];
    _cleanup_(spy_client_answer_free) struct spy_client_answer answer = {0};
    snprintf(content, sizeof content,
             "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SelfSubjectAccessReview\","
             "\"spec\":{\"resourceAttributes\":{\"verb\":\"%s\",\"resource\":\"%s\"}}}",
             verb, resource);
    if (post_review(c, a, content, &answer, err) < 0)
        return -1;
    json_t *said = answer.status == 201 ? json_loads(spy_buf_str(&answer.body), 0, NULL) : NULL;
    json_t *allowed = json_object_get(json_object_get(said, "status"), "allowed");
    int yes = json_is_true(allowed);
    if (!allowed)
        spy_err_set(err, -1, 0, "%s answered with HTTP %d", a->url, answer.status);
    bool known = allowed != NULL;
    json_decref(said);
    return known ? yes : -1;
}

static enum spy_finding report_no_access(struct spy_doctor *d, const struct spy_err *err)
{
    SPY_DOCTOR_SAY(d, "%s", err->msg);
    SPY_DOCTOR_CURE(d, "%s",
                    strstr(err->msg, "HTTP 401")
                        ? "the token is refused: is the account's token mounted, and does the "
                          "account still exist? kubectl apply -f deploy/k8s"
                        : "does a network policy or a proxy stand between? The address comes from "
                          "KUBERNETES_SERVICE_HOST or discovery.kubernetes_url");
    return SPY_DOCTOR_NO;
}

static enum spy_finding check_kubernetes(struct spy_doctor *d)
{
    struct spy_err err = {0};
    struct spy_access a;
    int r = spy_access_find(d->config, &a, &err);
    if (r == 0 && !err.code) {
        SPY_DOCTOR_SAY(d, "not asked: %s",
                       d->config->discovery.kubernetes == SPY_SWITCH_OFF
                           ? "discovery.kubernetes: off"
                           : "this is not a pod");
        return SPY_DOCTOR_OK;
    }
    if (r <= 0) {
        SPY_DOCTOR_SAY(d, "%s", err.msg);
        return SPY_DOCTOR_NO;
    }
    _cleanup_(free_client) struct spy_client *c = NULL;
    struct spy_client_options o = spy_access_client_options(&a);
    if (spy_client_new(&o, &c, &err) < 0)
        return report_no_access(d, &err);
    int list = ask_permission(c, &a, "list", "pods", &err);
    int watch = list < 0 ? -1 : ask_permission(c, &a, "watch", "pods", &err);
    int events = watch < 0 ? -1 : ask_permission(c, &a, "create", "events", &err);
    if (events < 0)
        return report_no_access(d, &err);
    SPY_DOCTOR_SAY(d, "%s answers; node %s; list pods: %s, watch pods: %s, create events: %s",
                   a.url, a.node, list ? "yes" : "no", watch ? "yes" : "no", events ? "yes" : "no");
    if (!list || !watch) {
        SPY_DOCTOR_CURE(d, "%s",
                        "the account lacks its ClusterRole or the binding: kubectl apply -f "
                        "deploy/k8s/10-access.yaml");
        return SPY_DOCTOR_NO;
    }
    SPY_DOCTOR_CURE(d, "%s",
                    "without events, a wrong annotation is reported only in the log and by GET "
                    "/pods");
    return events ? SPY_DOCTOR_OK : SPY_DOCTOR_NOTE;
}

// --- the collector and the spool ---

static const char *find_cure(const struct spy_push_result *r)
{
    static const char *const cures[SPY_PUSH_OUTCOMES] = {
        [SPY_PUSH_DENIED] = "collector.token_file must hold the collector's ingest token (or the "
                            "projected token for its audience)",
        [SPY_PUSH_BUSY] = "it runs but does not take profiles now: see the collector's log",
        [SPY_PUSH_UNREACHABLE] = "is collector.url right, does the collector run, and does "
                                 "collector.ca_file vouch for its certificate?",
        [SPY_PUSH_STRANGE] = "what answers at collector.url is not a collector",
    };
    return cures[r->outcome] ? cures[r->outcome] : "";
}

// Sends a request without a profile: it is checked like any other and stores nothing.
static enum spy_finding check_collector(struct spy_doctor *d)
{
    struct spy_err err = {0};
    struct spy_push *p = NULL;
    struct spy_push_result r = {0};
    _cleanup_buf_ struct spy_buf body = SPY_BUF_INIT(4096);
    const struct spy_agent_config *c = d->config;
    struct spy_push_options o = {.url = c->collector.url,
                                 .ca_file = c->collector.ca_file,
                                 .token_file = c->collector.token_file,
                                 .cert_file = c->collector.cert_file,
                                 .key_file = c->collector.key_file,
                                 .timeout_ns = 15 * SPY_NS_PER_SEC};
    if (!o.url) {
        SPY_DOCTOR_SAY(d, "none is configured");
        SPY_DOCTOR_CURE(d, "set collector.url, or use podspy agent --collector URL");
        return SPY_DOCTOR_NOTE;
    }
    if (spy_compress(SPY_ENCODING_ZSTD, "", 0, &body, &err) < 0 ||
        spy_push_check_url(o.url, &err) < 0 || spy_push_new(&o, &p, &err) < 0) {
        SPY_DOCTOR_SAY(d, "%s", err.msg);
        return SPY_DOCTOR_NO;
    }
    spy_push_send(p, body.data, body.len, &r);
    spy_push_free(p);
    if (r.outcome == SPY_PUSH_STORED || r.outcome == SPY_PUSH_REJECTED) {
        SPY_DOCTOR_SAY(d, "%.200s takes profiles of this agent", o.url);
        return SPY_DOCTOR_OK;
    }
    SPY_DOCTOR_SAY(d, "%.120s: %s", o.url, r.reason);
    SPY_DOCTOR_CURE(d, "%s", find_cure(&r));
    return SPY_DOCTOR_NO;
}

// Whether the folder, or its nearest existing parent, can be written. Nothing is created.
static enum spy_finding check_spool(struct spy_doctor *d)
{
    char path[4096];
    const char *dir = d->config->push.spool_dir;
    snprintf(path, sizeof path, "%s", dir);
    int r = access(path, W_OK | X_OK);
    for (char *slash; r < 0 && errno == ENOENT && (slash = strrchr(path, '/'));) {
        slash[slash == path] = 0;
        r = access(path, W_OK | X_OK);
    }
    SPY_DOCTOR_SAY(d, "%.300s %s%s", dir, r ? "cannot be written: " : "can be written",
                   r ? strerror(errno) : "");
    if (r == 0)
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d,
                    "make the folder writable for user %u, or set push.spool_dir (Kubernetes: the "
                    "volume `spool`)",
                    geteuid());
    return SPY_DOCTOR_NO;
}

const struct spy_doctor_check spy_doctor_agent[] = {
    {"configuration", check_configuration},
    {"Docker", check_docker},
    {"Kubernetes", check_kubernetes},
    {"collector", check_collector},
    {"spool", check_spool},
};
const size_t spy_doctor_n_agent = SPY_COUNT(spy_doctor_agent);
const char spy_doctor_works_here[] = "An agent can work here.";
