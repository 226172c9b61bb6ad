#include "collector/kube/kubeapi.h"
#include "shared/base/buf.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "shared/trust/trust.h"
#include <ctype.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { KEPT = 8, NAMESPACE_MAX = 64 }; // connections kept; RFC 1123 label
#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

struct spy_kubeapi {
    char *url, *ca_file, *token_file;
    char name_space[NAMESPACE_MAX];
    long timeout_ms;
    pthread_mutex_t lock; // of all below
    CURL *kept[KEPT];
    size_t n_kept;
    struct stat ca_seen; // of the file that the kept connections trust
};

// --- where the API is ---

static int find_url(const char *given, char **ret, struct spy_err *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    bool six = host && strchr(host, ':');
    if (given && strncasecmp(given, "https://", 8) != 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "the API server's URL must begin with https://");
    if (!given && (!host || !*host))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "this is not a pod of Kubernetes: KUBERNETES_SERVICE_HOST is not set");
    int n = given ? asprintf(ret, "%s", given)
                  : asprintf(ret, "https://%s%s%s:%s", six ? "[" : "", host, six ? "]" : "",
                             port && *port ? port : "443");
    if (n < 0) {
        *ret = NULL;
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    }
    while (n > 0 && (*ret)[n - 1] == '/')
        (*ret)[--n] = 0;
    return 0;
}

static int find_namespace(struct spy_kubeapi *k, const char *given, struct spy_err *err)
{
    ssize_t n =
        given ? snprintf(k->name_space, NAMESPACE_MAX, "%s", given)
              : spy_file_read_small(AT_FDCWD, ACCOUNT "/namespace", k->name_space, NAMESPACE_MAX);
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

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int spy_kubeapi_new(const struct spy_kubeapi_options *o, struct spy_kubeapi **ret,
                    struct spy_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    struct spy_kubeapi *k = calloc(1, sizeof *k);
    if (!k)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    pthread_mutex_init(&k->lock, NULL);
    k->timeout_ms = o->timeout_ms ? (long)o->timeout_ms : SPY_KUBEAPI_TIMEOUT_MS;
    k->ca_file = strdup(o->ca_file ? o->ca_file : ACCOUNT "/ca.crt");
    k->token_file = strdup(o->token_file ? o->token_file : ACCOUNT "/token");
    int r = k->ca_file && k->token_file ? find_url(o->url, &k->url, err)
                                        : spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    if (r == 0)
        r = find_namespace(k, o->name_space, err);
    if (r < 0)
        spy_kubeapi_free(k);
    else
        *ret = k;
    return r;
}

static void drop_kept(struct spy_kubeapi *k)
{
    while (k->n_kept)
        curl_easy_cleanup(k->kept[--k->n_kept]);
}

void spy_kubeapi_free(struct spy_kubeapi *k)
{
    if (!k)
        return;
    drop_kept(k);
    pthread_mutex_destroy(&k->lock);
    free(k->url);
    free(k->ca_file);
    free(k->token_file);
    free(k);
}

const char *spy_kubeapi_namespace(const struct spy_kubeapi *k)
{
    return k->name_space;
}

// --- connections ---

// One that trusts the CA as it is now. libcurl reads the file for each new connection only.
static CURL *take(struct spy_kubeapi *k)
{
    struct stat st = {0};
    CURL *c = NULL;
    bool there = stat(k->ca_file, &st) == 0;
    pthread_mutex_lock(&k->lock);
    if (there &&
        (st.st_ino != k->ca_seen.st_ino || st.st_dev != k->ca_seen.st_dev ||
         st.st_size != k->ca_seen.st_size || st.st_mtim.tv_sec != k->ca_seen.st_mtim.tv_sec ||
         st.st_mtim.tv_nsec != k->ca_seen.st_mtim.tv_nsec)) {
        drop_kept(k);
        k->ca_seen = st;
    }
    if (k->n_kept)
        c = k->kept[--k->n_kept];
    pthread_mutex_unlock(&k->lock);
    return c ? c : curl_easy_init();
}

static void give_back(struct spy_kubeapi *k, CURL *c)
{
    curl_easy_reset(c); // keeps the connection
    pthread_mutex_lock(&k->lock);
    bool room = k->n_kept < KEPT;
    if (room)
        k->kept[k->n_kept++] = c;
    pthread_mutex_unlock(&k->lock);
    if (!room)
        curl_easy_cleanup(c);
}

static size_t on_answer(char *data, size_t size, size_t n, void *arg)
{
    return spy_buf_append(arg, data, size * n) < 0 ? 0 : size * n;
}

// --- one request ---

struct call {
    const char *method;
    char *url, *body;
    struct curl_slist *headers;
    struct spy_buf answer;
    char why[CURL_ERROR_SIZE];
};

static void call_done(struct call *c)
{
    for (struct curl_slist *h = c->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data)); // a token is among them
    curl_slist_free_all(c->headers);
    if (c->body)
        explicit_bzero(c->body, strlen(c->body)); // a token or a key may be in it
    free(c->body);
    if (c->answer.data)
        explicit_bzero(c->answer.data, c->answer.len);
    spy_buf_free(&c->answer);
    free(c->url);
}

static bool add_header(struct call *c, const char *text)
{
    struct curl_slist *more = curl_slist_append(c->headers, text);
    if (more)
        c->headers = more;
    return more;
}

static int add_token(const struct spy_kubeapi *k, struct call *c, struct spy_err *err)
{
    char text[SPY_KUBEAPI_TOKEN_MAX + 32] = "Authorization: Bearer ";
    char *token = text + strlen(text);
    ssize_t n = spy_file_read_small(AT_FDCWD, k->token_file, token, SPY_KUBEAPI_TOKEN_MAX);
    while (n > 0 && isspace((unsigned char)token[n - 1]))
        token[--n] = 0;
    bool ok = n > 0;
    for (ssize_t i = 0; ok && i < n; i++)
        ok = isgraph((unsigned char)token[i]);
    if (ok)
        ok = add_header(c, text);
    explicit_bzero(text, sizeof text);
    return ok ? 0
              : spy_err_set(err, SPY_ERR_AGAIN, 0, "no token of this pod's account in %s",
                            k->token_file);
}

static int prepare(const struct spy_kubeapi *k, struct call *c, const char *path,
                   const json_t *body, struct spy_err *err)
{
    if (asprintf(&c->url, "%s%s", k->url, path) < 0) {
        c->url = NULL;
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    }
    c->body = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if ((body && !c->body) || !add_header(c, "Accept: application/json") ||
        !add_header(c, "Expect:") || (body && !add_header(c, "Content-Type: application/json")))
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    return add_token(k, c, err);
}

// Every option is one that must hold: a libcurl that cannot do one of them is not used.
static bool set_up(const struct spy_kubeapi *k, CURL *h, struct call *c)
{
    CURLcode r[] = {
        curl_easy_setopt(h, CURLOPT_URL, c->url),
        curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "https"),
        curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2),
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L),
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L),
        spy_trust_servers_only(h),
        curl_easy_setopt(h, CURLOPT_CAINFO, k->ca_file),
        curl_easy_setopt(h, CURLOPT_CAPATH, NULL),
        curl_easy_setopt(h, CURLOPT_PROXY, ""),
        curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L),
        curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1),
        curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L),
        curl_easy_setopt(h, CURLOPT_MAXCONNECTS, 1L),
        curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, k->timeout_ms),
        curl_easy_setopt(h, CURLOPT_ERRORBUFFER, c->why),
        curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_answer),
        curl_easy_setopt(h, CURLOPT_WRITEDATA, &c->answer),
        curl_easy_setopt(h, CURLOPT_HTTPHEADER, c->headers),
        curl_easy_setopt(h, CURLOPT_USERAGENT, "podspy-collector/" PODSPY_VERSION),
        c->body ? curl_easy_setopt(h, CURLOPT_POSTFIELDS, c->body) : CURLE_OK,
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, c->method),
    };
    for (size_t i = 0; i < SPY_COUNT(r); i++)
        if (r[i] != CURLE_OK)
            return false;
    return true;
}

static int code_of(long status)
{
    static const struct {
        long from, to;
        int code;
    } rows[] = {
        {200, 299, 0},
        {401, 401, SPY_ERR_DENIED},
        {403, 403, SPY_ERR_DENIED},
        {404, 404, SPY_ERR_NOTFOUND},
        {408, 408, SPY_ERR_AGAIN},
        {409, 409, SPY_ERR_TORN},
        {429, 429, SPY_ERR_AGAIN},
        {500, 599, SPY_ERR_AGAIN},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if (status >= rows[i].from && status <= rows[i].to)
            return rows[i].code;
    return SPY_ERR_INVALID;
}

// A Status object, whose message says it best; its texts are the server's own.
static int refused(int code, const char *method, const char *path, long status, const json_t *root,
                   struct spy_err *err)
{
    const char *message = json_string_value(json_object_get(root, "message"));
    return spy_err_set(err, code, 0, "%s %s: %ld %s", method, path, status, message ? message : "");
}

static int perform(struct spy_kubeapi *k, struct call *c, const char *path, json_t **ret,
                   struct spy_err *err)
{
    CURL *h = take(k);
    long status = 0;
    if (!h || !set_up(k, h, c)) {
        curl_easy_cleanup(h);
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "libcurl cannot be set up");
    }
    CURLcode code = curl_easy_perform(h);
    if (code == CURLE_OK)
        curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    give_back(k, h);
    if (code != CURLE_OK)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "the API server at %s: %s", k->url,
                           code == CURLE_ABORTED_BY_CALLBACK ? SPY_TRUST_NOT_A_SERVER
                           : c->why[0]                       ? c->why
                                                             : curl_easy_strerror(code));
    json_t *root = json_loadb(spy_buf_str(&c->answer), c->answer.len, 0, NULL);
    int r = code_of(status);
    if (r < 0)
        refused(r, c->method, path, status, root, err);
    else if (!json_is_object(root))
        r = spy_err_set(err, SPY_ERR_AGAIN, 0, "%s %s: the answer is no JSON object", c->method,
                        path);
    if (r == 0 && ret)
        *ret = root;
    else
        json_decref(root);
    return r;
}

int spy_kubeapi_call(struct spy_kubeapi *k, const char *method, const char *path,
                     const json_t *body, json_t **ret, struct spy_err *err)
{
    _cleanup_(call_done) struct call c = {.method = method,
                                          .answer = SPY_BUF_INIT(SPY_KUBEAPI_ANSWER_MAX)};
    int r = prepare(k, &c, path, body, err);
    return r < 0 ? r : perform(k, &c, path, ret, err);
}
