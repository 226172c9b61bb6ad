#include "collector/auth/auth.h"
#include "collector/auth/clients.h"
#include "collector/auth/review.h"
#include "collector/config/collector_config.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/file_id.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include "shared/base/token.h"
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { TOKEN_MAX = 512, TOKEN_BYTES = 32 };

static int64_t n_denied_ingest, n_denied_read;
const struct spy_metric spy_auth_metrics[] = {
    {"podspy_collector_denied_total", "role=\"ingest\"", "Requests without a right credential.",
     SPY_COUNTER, &n_denied_ingest},
    {"podspy_collector_denied_total", "role=\"read\"", NULL, SPY_COUNTER, &n_denied_read},
    {"podspy_collector_token_reviews_total", "result=\"yes\"",
     "Questions to Kubernetes about tokens.", SPY_COUNTER, &spy_review_n_yes},
    {"podspy_collector_token_reviews_total", "result=\"no\"", NULL, SPY_COUNTER, &spy_review_n_no},
    {"podspy_collector_token_reviews_total", "result=\"failed\"", NULL, SPY_COUNTER,
     &spy_review_n_failed},
};
const size_t spy_auth_n_metrics = SPY_COUNT(spy_auth_metrics);

struct token {
    char path[PATH_MAX];
    char header[PATH_MAX]; // a file for curl -H @FILE; "": none
    char text[TOKEN_MAX];
    struct spy_file_id seen; // the file that text was read from
};

struct spy_auth {
    unsigned ways[2];
    struct token tokens[2];
    struct spy_review *review;   // NULL: kubernetes is not allowed for any role
    struct spy_clients *clients; // NULL: client certificates are refused
    pthread_mutex_t lock;
};

static int make_token(const char *path, struct spy_err *err)
{
    uint8_t bytes[TOKEN_BYTES];
    char text[TOKEN_BYTES * 2 + 2];
    if (spy_random_bytes(bytes, sizeof bytes) < 0)
        return spy_err_set(err, SPY_ERR_IO, 0, "cannot get random numbers for %s", path);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + i * 2, 3, "%02x", bytes[i]);
    text[TOKEN_BYTES * 2] = '\n';
    text[TOKEN_BYTES * 2 + 1] = 0;
    return spy_file_write_atomic(path, text, strlen(text), 0600, err);
}

// The file is for people's convenience: the collector starts without it.
static void write_header(const struct token *t)
{
    char now[TOKEN_MAX + 32], text[TOKEN_MAX + 32];
    if (!*t->header)
        return;
    int len = snprintf(text, sizeof text, "Authorization: Bearer %s\n", t->text);
    ssize_t n = spy_file_read_small(AT_FDCWD, t->header, now, sizeof now);
    struct spy_err err = {0};
    int r = 0;
    if (!spy_token_is_visible(t->text))
        r = spy_err_set(&err, SPY_ERR_INVALID, 0, "%s is not one line of visible characters",
                        t->path);
    else if (n != len || memcmp(now, text, (size_t)len) != 0)
        r = spy_file_write_atomic(t->header, text, (size_t)len, 0600, &err);
    explicit_bzero(text, sizeof text);
    explicit_bzero(now, sizeof now);
    if (r < 0)
        spy_log(SPY_LOG_WARN,
                "cannot write the file with the read token's header, for curl -H @FILE",
                SPY_S("file", t->header), SPY_S("error", err.msg));
}

// Reads the file if it has changed. If it cannot be read, or is empty because it is just being
// written, the old token stays valid.
static void refresh_token(struct token *t)
{
    struct spy_file_id now = spy_file_id_of(t->path);
    char text[TOKEN_MAX];
    if (spy_file_id_is_none(&now) || spy_file_id_equal(&now, &t->seen))
        return;
    ssize_t n = spy_token_read(t->path, text, sizeof text);
    if (n <= 0)
        return;
    memcpy(t->text, text, (size_t)n + 1);
    explicit_bzero(text, sizeof text);
    t->seen = now;
    write_header(t);
}

static int open_token(const char *dir, enum spy_auth_role role, struct token *t,
                      struct spy_err *err)
{
    static const char *const names[] = {"ingest.token", "read.token"};
    struct stat st;
    if (snprintf(t->path, PATH_MAX, "%s/%s", dir, names[role]) >= PATH_MAX ||
        (role == SPY_AUTH_READ && snprintf(t->header, PATH_MAX, "%s/read.header", dir) >= PATH_MAX))
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the data folder's path is too long");
    if (stat(t->path, &st) < 0 && errno == ENOENT) {
        int r = make_token(t->path, err);
        if (r < 0)
            return r;
    }
    refresh_token(t);
    return t->text[0] ? 0
                      : spy_err_set(err, SPY_ERR_INVALID, 0,
                                    "%s cannot be read or holds no token: remove it to make a "
                                    "new one",
                                    t->path);
}

int spy_auth_new(const struct spy_auth_options *options, struct spy_auth **ret, struct spy_err *err)
{
    struct spy_auth *a = calloc(1, sizeof *a);
    if (!a)
        return spy_err_nomem(err);
    pthread_mutex_init(&a->lock, NULL);
    int r = 0;
    for (int i = 0; i < 2 && r == 0; i++) {
        a->ways[i] = options->ways[i];
        r = open_token(options->dir, (enum spy_auth_role)i, &a->tokens[i], err);
    }
    if (r == 0 && options->client_ca_file)
        r = spy_clients_new(options->client_ca_file, &a->clients, err);
    if (r == 0 && (a->ways[0] | a->ways[1]) & SPY_AUTH_KUBERNETES)
        r = spy_review_new(options, &a->review, err);
    if (r < 0)
        spy_auth_free(a);
    else
        *ret = a;
    return r;
}

void spy_auth_free(struct spy_auth *a)
{
    if (!a)
        return;
    spy_review_free(a->review);
    spy_clients_free(a->clients);
    pthread_mutex_destroy(&a->lock);
    explicit_bzero(a, sizeof *a);
    free(a);
}

int spy_auth_refresh(struct spy_auth *a, struct spy_err *err)
{
    bool changed = false;
    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < 2; i++)
        refresh_token(&a->tokens[i]);
    pthread_mutex_unlock(&a->lock);
    int r = a->clients ? spy_clients_refresh(a->clients, &changed, err) : 0;
    if (changed)
        spy_log(SPY_LOG_INFO, "using other authorities for client certificates");
    return r < 0 ? spy_err_context(err, r, "tls.client_ca_file") : 0;
}

// Compares hashes, so that the time reveals neither where the tokens differ nor their length.
static bool is_same_secret(const char *a, const char *b)
{
    uint8_t x[32], y[32];
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, a, strlen(a), x) == 0 &&
           gnutls_hash_fast(GNUTLS_DIG_SHA256, b, strlen(b), y) == 0 &&
           gnutls_memcmp(x, y, sizeof x) == 0;
}

static bool token_is_right(struct spy_auth *a, enum spy_auth_role role, const char *token)
{
    pthread_mutex_lock(&a->lock);
    refresh_token(&a->tokens[role]);
    bool ok = is_same_secret(token, a->tokens[role].text);
    pthread_mutex_unlock(&a->lock);
    return ok;
}

// The cheapest way first: a file is read before another machine is asked.
static enum spy_auth_answer check_bearer(struct spy_auth *a, enum spy_auth_role role,
                                         const char *authorization, bool may_wait,
                                         const char **ret_why)
{
    if (!*authorization) {
        *ret_why = "no Authorization header was sent";
        return SPY_AUTH_UNKNOWN;
    }
    if (strncasecmp(authorization, "Bearer ", 7) != 0) {
        *ret_why = "the Authorization header is not 'Bearer TOKEN'";
        return SPY_AUTH_UNKNOWN;
    }
    if (a->ways[role] & SPY_AUTH_TOKEN && token_is_right(a, role, authorization + 7))
        return SPY_AUTH_YES;
    if (a->ways[role] & SPY_AUTH_KUBERNETES)
        return spy_review_check(a->review, role, authorization + 7, may_wait, ret_why);
    *ret_why = "the token is not valid";
    return SPY_AUTH_UNKNOWN;
}

// The fault of a certificate is reported, unless a token was sent instead.
static enum spy_auth_answer check_certificate(struct spy_auth *a, void *session,
                                              const char **ret_why)
{
    *ret_why = a->clients ? spy_clients_fault(a->clients, session)
                          : "client certificates are not accepted: tls.client_ca_file is not set";
    return *ret_why ? SPY_AUTH_UNKNOWN : SPY_AUTH_YES;
}

enum spy_auth_answer spy_auth_check(struct spy_auth *a, enum spy_auth_role role,
                                    const struct spy_credential *credential, bool may_wait,
                                    const char **ret_why)
{
    enum spy_auth_answer answer = SPY_AUTH_UNKNOWN;
    bool by_bearer = a->ways[role] & (SPY_AUTH_TOKEN | SPY_AUTH_KUBERNETES);
    *ret_why = "nobody is allowed: auth is empty in the configuration";
    if (a->ways[role] & SPY_AUTH_MTLS)
        answer = check_certificate(a, credential->tls_session, ret_why);
    if (answer != SPY_AUTH_YES && by_bearer &&
        (*credential->authorization || !(a->ways[role] & SPY_AUTH_MTLS)))
        answer = check_bearer(a, role, credential->authorization, may_wait, ret_why);
    if (answer == SPY_AUTH_UNKNOWN || answer == SPY_AUTH_FORBIDDEN)
        spy_count(role == SPY_AUTH_INGEST ? &n_denied_ingest : &n_denied_read, 1);
    return answer;
}
