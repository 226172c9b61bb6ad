#include "collector/kube/kubeapi.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "shared/http/client.h"
#include "shared/kube/in_pod.h"
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { IDLE_MAX = 8, NAMESPACE_MAX = 64, URL_MAX = 4096 }; // connections kept; RFC 1123 label

struct spy_kubeapi {
    char *url, *ca_file, *token_file;
    char name_space[NAMESPACE_MAX];
    unsigned timeout_ms;
    struct spy_client *client;
};

// --- where the API is ---

static int find_url(const char *given, char **ret, struct spy_err *err)
{
    char url[URL_MAX] = "";
    if (given && strncasecmp(given, "https://", 8) != 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "the API server's URL must begin with https://");
    if (given ? snprintf(url, sizeof url, "%s", given) >= URL_MAX : !spy_in_pod_url(url, URL_MAX))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           given ? "the API server's URL is too long"
                                 : "this is not a pod of Kubernetes: KUBERNETES_SERVICE_HOST is "
                                   "not set");
    for (size_t n = strlen(url); n && url[n - 1] == '/'; n--)
        url[n - 1] = 0;
    *ret = strdup(url);
    return *ret ? 0 : spy_err_nomem(err);
}

static int find_namespace(struct spy_kubeapi *k, const char *given, struct spy_err *err)
{
    ssize_t n = given ? snprintf(k->name_space, NAMESPACE_MAX, "%s", given)
                      : spy_file_read_small(AT_FDCWD, SPY_IN_POD_NAMESPACE_FILE, k->name_space,
                                            NAMESPACE_MAX);
    while (n > 0 && n < NAMESPACE_MAX && isspace((unsigned char)k->name_space[n - 1]))
        k->name_space[--n] = 0;
    bool ok = n > 0 && n < NAMESPACE_MAX;
    for (ssize_t i = 0; ok && i < n; i++)
        ok = isalnum((unsigned char)k->name_space[i]) || k->name_space[i] == '-';
    return ok ? 0
              : spy_err_set(err, SPY_ERR_INVALID, 0,
                            "the pod's namespace is not known: mount the account's token, or set "
                            "auth.kubernetes.namespace");
}

static int make_client(struct spy_kubeapi *k, struct spy_err *err)
{
    struct spy_client_options o = {.token_file = k->token_file,
                                   .ca_file = k->ca_file,
                                   .user_agent = "podspy-collector/" PODSPY_VERSION,
                                   .idle_max = IDLE_MAX};
    return spy_client_new(&o, &k->client, err);
}

int spy_kubeapi_new(const struct spy_kubeapi_options *o, struct spy_kubeapi **ret,
                    struct spy_err *err)
{
    struct spy_kubeapi *k = calloc(1, sizeof *k);
    if (!k)
        return spy_err_nomem(err);
    k->timeout_ms = o->timeout_ms ? o->timeout_ms : SPY_KUBEAPI_TIMEOUT_MS;
    k->ca_file = strdup(o->ca_file ? o->ca_file : SPY_IN_POD_CA_FILE);
    k->token_file = strdup(o->token_file ? o->token_file : SPY_IN_POD_TOKEN_FILE);
    int r = k->ca_file && k->token_file ? find_url(o->url, &k->url, err) : spy_err_nomem(err);
    if (r == 0)
        r = find_namespace(k, o->name_space, err);
    if (r == 0)
        r = make_client(k, err);
    if (r < 0)
        spy_kubeapi_free(k);
    else
        *ret = k;
    return r;
}

void spy_kubeapi_free(struct spy_kubeapi *k)
{
    if (!k)
        return;
    spy_client_free(k->client);
    free(k->url);
    free(k->ca_file);
    free(k->token_file);
    free(k);
}

const char *spy_kubeapi_namespace(const struct spy_kubeapi *k)
{
    return k->name_space;
}

// --- one request ---

static int code_of_refusal(int status)
{
    static const struct {
        int status, code;
    } rows[] = {
        {401, SPY_ERR_DENIED},
        {403, SPY_ERR_DENIED},
        {404, SPY_ERR_NOTFOUND},
        {409, SPY_ERR_TORN},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if (status == rows[i].status)
            return rows[i].code;
    return SPY_ERR_INVALID;
}

static int code_of_answer(const struct spy_client_answer *a)
{
    return a->outcome == SPY_CLIENT_DONE      ? 0
           : a->outcome == SPY_CLIENT_REFUSED ? code_of_refusal(a->status)
                                              : SPY_ERR_AGAIN;
}

// A refusal is a Status object with a message; its text is the server's own.
static int read_object(const struct spy_client_answer *a, const char *method, const char *path,
                       json_t **ret, struct spy_err *err)
{
    json_t *root = json_loadb(spy_buf_str(&a->body), a->body.len, 0, NULL);
    const char *message = json_string_value(json_object_get(root, "message"));
    int r = code_of_answer(a);
    if (r < 0)
        spy_err_set(err, r, 0, "%s %s: %d %s", method, path, a->status, message ? message : "");
    else if (!json_is_object(root))
        r = spy_err_set(err, SPY_ERR_AGAIN, 0, "%s %s: the answer is not a JSON object", method,
                        path);
    if (r == 0 && ret)
        *ret = root;
    else
        json_decref(root);
    return r;
}

static int send_text(struct spy_kubeapi *k, const char *method, const char *path, const char *body,
                     json_t **ret, struct spy_err *err)
{
    static const char *const headers[] = {"Accept: application/json",
                                          "Content-Type: application/json"};
    _cleanup_(spy_client_answer_free) struct spy_client_answer answer = {0};
    _cleanup_free_ char *url = NULL;
    if (asprintf(&url, "%s%s", k->url, path) < 0) {
        url = NULL;
        return spy_err_nomem(err);
    }
    struct spy_client_request request = {.url = url,
                                         .method = method,
                                         .headers = headers,
                                         .n_headers = body ? 2 : 1,
                                         .body = body,
                                         .body_len = body ? strlen(body) : 0,
                                         .timeout_ms = k->timeout_ms,
                                         .answer_max = SPY_KUBEAPI_ANSWER_MAX};
    int r = spy_client_send(k->client, &request, &answer, err);
    if (r == SPY_ERR_DENIED) // the account's token, which the kubelet may be about to write
        return spy_err_context(err, SPY_ERR_AGAIN, "this pod's account");
    if (r < 0)
        return r;
    if (answer.outcome == SPY_CLIENT_UNREACHABLE)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "the API server at %s: %s", k->url,
                           answer.reason);
    return read_object(&answer, method, path, ret, err);
}

int spy_kubeapi_call(struct spy_kubeapi *k, const char *method, const char *path,
                     const json_t *body, json_t **ret, struct spy_err *err)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if (body && !text)
        return spy_err_nomem(err);
    int r = send_text(k, method, path, text, ret, err);
    if (text)
        explicit_bzero(text, strlen(text)); // a token or a key may be in it
    free(text);
    return r;
}
