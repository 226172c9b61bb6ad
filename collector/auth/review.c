#include "collector/auth/review.h"
#include "collector/auth/verdicts.h"
#include "collector/kube/jwt.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include "shared/base/metrics.h"
#include <ctype.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REST_NS    SPY_NS_PER_SEC        // after a question without an answer
#define LOG_EVERY  (60 * SPY_NS_PER_SEC) // at most
#define REVIEWS    "/apis/authentication.k8s.io/v1/tokenreviews"
#define MAY_DO     "/apis/authorization.k8s.io/v1/subjectaccessreviews"
#define WHY_AWAY   "the API server of Kubernetes cannot be asked about the token now"
#define WHY_LEGACY "the token is not a service account token of Kubernetes"

int64_t spy_review_n_yes, spy_review_n_no, spy_review_n_failed;

struct spy_review {
    struct spy_auth_options o;
    struct spy_verdicts *verdicts;
    pthread_mutex_t lock; // of all below
    unsigned under_way;
    uint64_t rest_until_ns;
};

int spy_review_new(const struct spy_auth_options *options, struct spy_review **ret,
                   struct spy_err *err)
{
    struct spy_review *v = calloc(1, sizeof *v);
    if (v)
        v->verdicts = spy_verdicts_new(SPY_REVIEW_KEPT);
    if (!v || !v->verdicts) {
        free(v);
        return spy_err_nomem(err);
    }
    v->o = *options;
    pthread_mutex_init(&v->lock, NULL);
    *ret = v;
    return 0;
}

void spy_review_free(struct spy_review *v)
{
    if (!v)
        return;
    spy_verdicts_free(v->verdicts);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

// --- before any question ---

static bool is_token_form(const char *token)
{
    size_t len = 0;
    while (isgraph((unsigned char)token[len]) && len < SPY_KUBEAPI_TOKEN_MAX)
        len++;
    return len && !token[len];
}

// Finds tokens that the API server could only refuse, by what they say themselves.
static const char *find_token_fault(enum spy_auth_role role, const char *token, bool is_jwt,
                                    const struct spy_jwt *jwt)
{
    if (!is_token_form(token) || (role == SPY_AUTH_INGEST && !is_jwt))
        return WHY_LEGACY;
    if (role == SPY_AUTH_INGEST && !jwt->names_audience)
        return "the token is not for the audience of this collector (auth.kubernetes.audience)";
    return is_jwt && jwt->expires && jwt->expires <= time(NULL) ? "the token has expired" : NULL;
}

static bool hash_token(enum spy_auth_role role, const char *token, uint8_t *hash)
{
    gnutls_hash_hd_t h;
    uint8_t kind = (uint8_t)role;
    if (gnutls_hash_init(&h, GNUTLS_DIG_SHA256) < 0)
        return false;
    bool ok = gnutls_hash(h, &kind, 1) == 0 && gnutls_hash(h, token, strlen(token)) == 0;
    gnutls_hash_deinit(h, hash);
    return ok;
}

// --- the questions ---

static json_t *review_of(const char *token, const char *audience)
{
    return audience
               ? json_pack("{ss ss s{ss s[s]}}", "apiVersion", "authentication.k8s.io/v1", "kind",
                           "TokenReview", "spec", "token", token, "audiences", audience)
               : json_pack("{ss ss s{ss}}", "apiVersion", "authentication.k8s.io/v1", "kind",
                           "TokenReview", "spec", "token", token);
}

// A server that does not know audiences leaves them out, and has not checked them.
static bool is_for(const json_t *status, const char *audience)
{
    const json_t *all = json_object_get(status, "audiences");
    for (size_t i = 0; audience && i < json_array_size(all); i++) {
        const char *one = json_string_value(json_array_get(all, i));
        if (one && !strcmp(one, audience))
            return true;
    }
    return !audience;
}

// *ret_user: whose token it is, the caller's reference; NULL: the token is not valid.
static int ask_who(struct spy_review *v, const char *token, const char *audience, json_t **ret_user,
                   struct spy_err *err)
{
    json_t *question = review_of(token, audience), *answer = NULL;
    int r = question ? spy_kubeapi_call(v->o.kube, "POST", REVIEWS, question, &answer, err)
                     : spy_err_nomem(err);
    json_decref(question);
    if (r < 0)
        return r;
    const json_t *status = json_object_get(answer, "status");
    json_t *user = json_object_get(status, "user");
    bool holds = json_is_true(json_object_get(status, "authenticated")) &&
                 is_for(status, audience) && json_string_length(json_object_get(user, "username"));
    *ret_user = holds ? json_incref(user) : NULL;
    json_decref(answer);
    return 0;
}

static int ask_may_get(struct spy_review *v, json_t *user, bool *ret_may, struct spy_err *err)
{
    json_t *answer = NULL;
    json_t *question = json_pack(
        "{ss ss s{sO so* so* so* s{ss ss ss ss}}}", "apiVersion", "authorization.k8s.io/v1", "kind",
        "SubjectAccessReview", "spec", "user", json_object_get(user, "username"), "uid",
        json_incref(json_object_get(user, "uid")), "groups",
        json_incref(json_object_get(user, "groups")), "extra",
        json_incref(json_object_get(user, "extra")), "resourceAttributes", "verb", "get",
        "resource", "services", "name", v->o.service, "namespace", v->o.name_space);
    int r = question ? spy_kubeapi_call(v->o.kube, "POST", MAY_DO, question, &answer, err)
                     : spy_err_nomem(err);
    json_decref(question);
    if (r == 0)
        *ret_may = json_is_true(json_object_get(json_object_get(answer, "status"), "allowed"));
    json_decref(answer);
    return r;
}

// Whether name is in names, which are separated by commas (and spaces).
static bool is_among(const char *names, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = names; *p; p += strcspn(p, ", ")) {
        p += strspn(p, ", ");
        if (!strncmp(p, name, len) && strcspn(p, ", ") == len)
            return true;
    }
    return false;
}

static int ask_api(struct spy_review *v, enum spy_auth_role role, const char *token,
                   const char *audience, struct spy_verdict *ret, struct spy_err *err)
{
    json_t *user = NULL;
    bool may = false;
    int r = ask_who(v, token, audience, &user, err);
    const char *name = json_string_value(json_object_get(user, "username"));
    if (r < 0)
        return r;
    if (!name) {
        ret->answer = SPY_AUTH_UNKNOWN;
        ret->why = "Kubernetes does not vouch for the token: is it this cluster's, and is its pod "
                   "still there?";
        return 0;
    }
    if (role == SPY_AUTH_INGEST)
        may = is_among(v->o.agent, name);
    else
        r = ask_may_get(v, user, &may, err);
    ret->answer = may ? SPY_AUTH_YES : SPY_AUTH_FORBIDDEN;
    ret->why = role == SPY_AUTH_INGEST
                   ? "the token is not that of an agent's account (auth.kubernetes.agent)"
                   : "the token's account may not get the collector's service";
    json_decref(user);
    return r;
}

// --- asking or not ---

static bool begin_question(struct spy_review *v, uint64_t now)
{
    pthread_mutex_lock(&v->lock);
    bool ok = v->under_way < SPY_REVIEW_AT_ONCE && v->rest_until_ns <= now;
    v->under_way += ok;
    pthread_mutex_unlock(&v->lock);
    return ok;
}

static void end_question(struct spy_review *v, int r, const struct spy_err *err)
{
    static uint64_t last;
    pthread_mutex_lock(&v->lock);
    v->under_way--;
    if (r < 0)
        v->rest_until_ns = spy_clock_mono_ns() + REST_NS;
    pthread_mutex_unlock(&v->lock);
    if (r == 0)
        return;
    spy_count(&spy_review_n_failed, 1);
    if (spy_log_due(&last, LOG_EVERY))
        spy_log(r == SPY_ERR_DENIED ? SPY_LOG_ERROR : SPY_LOG_WARN,
                r == SPY_ERR_DENIED ? "the API server does not let the collector's account check "
                                      "tokens: apply the ClusterRole of deploy/k8s"
                                    : "the API server cannot be asked to check tokens",
                SPY_S("error", err->msg));
}

static bool is_resting(struct spy_review *v, uint64_t now)
{
    pthread_mutex_lock(&v->lock);
    bool resting = v->rest_until_ns > now;
    pthread_mutex_unlock(&v->lock);
    return resting;
}

// A yes ends with the token. Its expiry can be trusted once Kubernetes has verified the token.
static uint64_t verdict_end(const struct spy_verdict *verdict, const struct spy_jwt *jwt,
                            uint64_t now)
{
    int64_t secs = verdict->answer == SPY_AUTH_YES ? SPY_REVIEW_YES_SECS : SPY_REVIEW_NO_SECS;
    int64_t left = jwt->expires ? jwt->expires - (int64_t)time(NULL) : secs;
    secs = left < 0 ? 0 : left < secs ? left : secs;
    return now + (uint64_t)secs * SPY_NS_PER_SEC;
}

enum spy_auth_answer spy_review_check(struct spy_review *v, enum spy_auth_role role,
                                      const char *token, bool may_wait, const char **ret_why)
{
    struct spy_jwt jwt = {0};
    struct spy_verdict verdict = {0};
    struct spy_err err = {0};
    uint64_t now = spy_clock_mono_ns();
    *ret_why = WHY_AWAY;
    if (!hash_token(role, token, verdict.hash))
        return SPY_AUTH_AWAY;
    if (spy_verdicts_find(v->verdicts, now, &verdict)) {
        *ret_why = verdict.why;
        return verdict.answer;
    }
    const char *fault =
        find_token_fault(role, token, spy_jwt_read(token, v->o.audience, &jwt), &jwt);
    if (fault) {
        *ret_why = fault;
        return SPY_AUTH_UNKNOWN;
    }
    if (!may_wait)
        return is_resting(v, now) ? SPY_AUTH_AWAY : SPY_AUTH_LATER;
    if (!begin_question(v, now))
        return SPY_AUTH_AWAY;
    int r = ask_api(v, role, token, jwt.names_audience ? v->o.audience : NULL, &verdict, &err);
    end_question(v, r, &err);
    if (r < 0)
        return SPY_AUTH_AWAY;
    spy_count(verdict.answer == SPY_AUTH_YES ? &spy_review_n_yes : &spy_review_n_no, 1);
    now = spy_clock_mono_ns();
    verdict.until_ns = verdict_end(&verdict, &jwt, now);
    spy_verdicts_keep(v->verdicts, now, &verdict);
    *ret_why = verdict.why;
    return verdict.answer;
}
