#include "agent/discover/note.h"
#include "shared/base/buf.h"
#include "shared/base/log.h"
#include "shared/base/map.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WAITING = 32, KNOWN = 1024, SECONDS = 10 };

struct note {
    char namespace_name[64];
    char *content;
};

struct spy_notes {
    const struct spy_access *access;
    bool refused;
    struct note waiting[WAITING];
    unsigned first, n;
    uint64_t known[KNOWN]; // hashes of what was noted; the oldest is forgotten
    unsigned next_known;
    CURLM *multi; // that easy is on
    CURL *easy;   // under way, or NULL
    struct curl_slist *headers;
    struct note sending;
};

struct spy_notes *spy_notes_new(const struct spy_access *access)
{
    struct spy_notes *n = calloc(1, sizeof *n);
    if (n)
        n->access = access;
    return n;
}

static void sent(struct spy_notes *n)
{
    if (n->easy)
        curl_multi_remove_handle(n->multi, n->easy);
    curl_easy_cleanup(n->easy);
    curl_slist_free_all(n->headers);
    free(n->sending.content);
    n->easy = NULL;
    n->headers = NULL;
    n->sending = (struct note){0};
}

void spy_notes_free(struct spy_notes *n, CURLM *multi)
{
    (void)multi;
    if (!n)
        return;
    sent(n);
    for (unsigned i = 0; i < n->n; i++)
        free(n->waiting[(n->first + i) % WAITING].content);
    free(n);
}

static bool noted(struct spy_notes *n, uint64_t hash)
{
    for (unsigned i = 0; i < KNOWN; i++)
        if (n->known[i] == hash)
            return true;
    n->known[n->next_known++ % KNOWN] = hash;
    return false;
}

static char *event_of(const struct spy_access *a, const struct spy_pod *pod, const char *problem,
                      uint64_t hash)
{
    char name[320], when[32];
    struct tm tm;
    time_t now = time(NULL);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    snprintf(name, sizeof name, "%.230s.%016llx", pod->name, (unsigned long long)hash);
    json_t *event = json_pack(
        "{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s, s:s, s:s, s:s}, s:s, s:s, s:s, s:{s:s, s:s}, s:s, "
        "s:s, s:i}",
        "apiVersion", "v1", "kind", "Event", "metadata", "name", name, "namespace",
        pod->namespace_name, "involvedObject", "apiVersion", "v1", "kind", "Pod", "namespace",
        pod->namespace_name, "name", pod->name, "uid", pod->uid, "type", "Warning", "reason",
        "WrongAnnotation", "message", problem, "source", "component", "podspy", "host", a->node,
        "firstTimestamp", when, "lastTimestamp", when, "count", 1);
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    return text;
}

void spy_notes_add(struct spy_notes *n, const struct spy_pod *pod, const char *problem)
{
    uint64_t hash = spy_hash_mix(spy_hash_bytes(pod->uid, strlen(pod->uid)),
                                 spy_hash_bytes(problem, strlen(problem)));
    bool name_fits =
        *pod->namespace_name &&
        pod->namespace_name[strspn(pod->namespace_name, "abcdefghijklmnopqrstuvwxyz0123456789-")] ==
            0;
    if (n->refused || !name_fits || n->n == WAITING || noted(n, hash))
        return;
    struct note note = {.content = event_of(n->access, pod, problem, hash)};
    snprintf(note.namespace_name, sizeof note.namespace_name, "%s", pod->namespace_name);
    if (note.content)
        n->waiting[(n->first + n->n++) % WAITING] = note;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    (void)data, (void)arg;
    return size * n; // the status is enough
}

void spy_notes_send(struct spy_notes *n, CURLM *multi)
{
    char path[128];
    if (n->easy || !n->n || n->refused)
        return;
    n->sending = n->waiting[n->first];
    n->first = (n->first + 1) % WAITING;
    n->n--;
    n->multi = multi;
    snprintf(path, sizeof path, "/api/v1/namespaces/%s/events", n->sending.namespace_name);
    if (spy_access_request(n->access, path, n->sending.content, &n->easy, &n->headers, NULL) < 0 ||
        curl_easy_setopt(n->easy, CURLOPT_TIMEOUT, (long)SECONDS) != CURLE_OK ||
        curl_easy_setopt(n->easy, CURLOPT_WRITEFUNCTION, on_body) != CURLE_OK ||
        curl_multi_add_handle(multi, n->easy) != CURLM_OK)
        sent(n);
}

void spy_notes_ended(struct spy_notes *n, CURL *easy, CURLcode code)
{
    long status = 0;
    if (easy != n->easy)
        return;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    n->refused = code == CURLE_OK && status == 403;
    if (n->refused)
        spy_log(SPY_LOG_INFO,
                "wrong annotations are not told as Events: the account may not create any",
                SPY_I("status", status));
    sent(n);
}
