#include "collector/auth/auth.h"
#include "collector/auth/review.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
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
    char text[TOKEN_MAX];
    struct stat seen; // of the file that text is from
};

struct spy_auth {
    unsigned ways[2];
    struct token tokens[2];
    struct spy_review *review; // NULL: Kubernetes is not asked
    pthread_mutex_t lock;
};

static int make_token(const char *path, struct spy_err *err)
{
    uint8_t bytes[TOKEN_BYTES];
    char text[TOKEN_BYTES * 2 + 2];
    if (spy_random_bytes(bytes, sizeof bytes) < 0)
        return spy_err_set(err, SPY_ERR_IO, 0, "no random numbers to make %s", path);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + i * 2, 3, "%02x", bytes[i]);
    text[TOKEN_BYTES * 2] = '\n';
    text[TOKEN_BYTES * 2 + 1] = 0;
    return spy_file_write_atomic(path, text, strlen(text), 0600, err);
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

// Reads the file when it is another one than before. What cannot be read, or is empty because it is
// just being written, leaves the old token valid.
static void refresh(struct token *t)
{
    struct stat st;
    char text[TOKEN_MAX];
    if (stat(t->path, &st) < 0 || is_same_file(&st, &t->seen))
        return;
    ssize_t n = spy_file_read_small(AT_FDCWD, t->path, text, sizeof text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        text[--n] = 0;
    if (n <= 0)
        return;
    memcpy(t->text, text, (size_t)n + 1);
    t->seen = st;
}

static int open_token(const char *dir, const char *name, struct token *t, struct spy_err *err)
{
    struct stat st;
    if (snprintf(t->path, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the data folder's path is too long");
    if (stat(t->path, &st) < 0 && errno == ENOENT) {
        int r = make_token(t->path, err);
        if (r < 0)
            return r;
    }
    refresh(t);
    return t->text[0] ? 0
                      : spy_err_set(err, SPY_ERR_INVALID, 0,
                                    "%s cannot be read or holds no token: remove it to make a "
                                    "new one",
                                    t->path);
}

int spy_auth_new(const struct spy_auth_options *options, struct spy_auth **ret, struct spy_err *err)
{
    static const char *const names[] = {"ingest.token", "read.token"};
    struct spy_auth *a = calloc(1, sizeof *a);
    if (!a)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    pthread_mutex_init(&a->lock, NULL);
    int r = 0;
    for (int i = 0; i < 2 && r == 0; i++) {
        a->ways[i] = options->ways[i];
        r = open_token(options->dir, names[i], &a->tokens[i], err);
    }
    if (r == 0 && (a->ways[0] | a->ways[1]) & SPY_AUTH_BY_KUBERNETES)
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
    pthread_mutex_destroy(&a->lock);
    explicit_bzero(a, sizeof *a);
    free(a);
}

// Hashes are compared, in a time that tells neither where the tokens differ nor how long ours is.
static bool same(const char *a, const char *b)
{
    uint8_t x[32], y[32];
    return gnutls_hash_fast(GNUTLS_DIG_SHA256, a, strlen(a), x) == 0 &&
           gnutls_hash_fast(GNUTLS_DIG_SHA256, b, strlen(b), y) == 0 &&
           gnutls_memcmp(x, y, sizeof x) == 0;
}

static bool token_is_right(struct spy_auth *a, enum spy_auth_role role, const char *token)
{
    pthread_mutex_lock(&a->lock);
    refresh(&a->tokens[role]);
    bool ok = same(token, a->tokens[role].text);
    pthread_mutex_unlock(&a->lock);
    return ok;
}

// The cheapest way first: a file is looked at before another machine is asked.
static enum spy_auth_answer judge_bearer(struct spy_auth *a, enum spy_auth_role role,
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
    if (a->ways[role] & SPY_AUTH_BY_TOKEN && token_is_right(a, role, authorization + 7))
        return SPY_AUTH_YES;
    if (a->ways[role] & SPY_AUTH_BY_KUBERNETES)
        return spy_review_check(a->review, role, authorization + 7, may_wait, ret_why);
    *ret_why = "the token is not the right one";
    return SPY_AUTH_UNKNOWN;
}

// libmicrohttpd only asks for a certificate: here it is held against client_ca_file, its dates and
// its purpose (RFC 5280, 4.2.1.12: a client's, where it names any).
static bool certificate_is_good(void *session)
{
    static char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st data = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                  .data = (unsigned char *)purpose};
    unsigned status = 1;
    return session && gnutls_certificate_type_get(session) == GNUTLS_CRT_X509 &&
           gnutls_certificate_get_peers(session, NULL) &&
           gnutls_certificate_verify_peers(session, &data, 1, &status) == 0 && status == 0;
}

enum spy_auth_answer spy_auth_check(struct spy_auth *a, enum spy_auth_role role,
                                    const struct spy_credential *credential, bool may_wait,
                                    const char **ret_why)
{
    enum spy_auth_answer answer = SPY_AUTH_UNKNOWN;
    *ret_why = "a client certificate that client_ca_file vouches for is required";
    if (a->ways[role] & SPY_AUTH_BY_MTLS && certificate_is_good(credential->tls_session))
        answer = SPY_AUTH_YES;
    else if (a->ways[role] & (SPY_AUTH_BY_TOKEN | SPY_AUTH_BY_KUBERNETES))
        answer = judge_bearer(a, role, credential->authorization, may_wait, ret_why);
    if (answer == SPY_AUTH_UNKNOWN || answer == SPY_AUTH_FORBIDDEN)
        spy_count(role == SPY_AUTH_INGEST ? &n_denied_ingest : &n_denied_read, 1);
    return answer;
}
