#include "agent/discover/note.h"
#include "shared/base/buf.h"
#include "shared/base/log.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WAITING = 32, KNOWN = 1024, TIMEOUT_MS = 10000, ANSWER_MAX = 64 << 10 };

struct note {
    char namespace_name[64];
    char *content;
};

struct spy_notes {
    const struct spy_access *access;
    struct spy_client_loop *loop;
    bool refused;
    struct note waiting[WAITING];
    unsigned first, n;
    uint64_t known[KNOWN]; // hashes of what was noted; the oldest is evicted
    unsigned next_known;
    struct spy_transfer *transfer; // of sending; NULL: none is under way
    struct note sending;
};

struct spy_notes *spy_notes_new(const struct spy_access *access, struct spy_client_loop *loop)
{
    struct spy_notes *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->access = access;
    n->loop = loop;
    return n;
}

static void end_sending(struct spy_notes *n)
{
    spy_transfer_free(n->transfer);
    free(n->sending.content);
    n->transfer = NULL;
    n->sending = (struct note){0};
}

void spy_notes_free(struct spy_notes *n)
{
    if (!n)
        return;
    end_sending(n);
    for (unsigned i = 0; i < n->n; i++)
        free(n->waiting[(n->first + i) % WAITING].content);
    free(n);
}

static bool remember_note(struct spy_notes *n, uint64_t hash)
{
    for (unsigned i = 0; i < KNOWN; i++)
        if (n->known[i] == hash)
            return true;
    n->known[n->next_known++ % KNOWN] = hash;
    return false;
}

static char *write_event(const struct spy_access *a, const struct spy_pod *pod, const char *problem,
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
    if (n->refused || !name_fits || n->n == WAITING || remember_note(n, hash))
        return;
    struct note note = {.content = write_event(n->access, pod, problem, hash)};
    snprintf(note.namespace_name, sizeof note.namespace_name, "%s", pod->namespace_name);
    if (note.content)
        n->waiting[(n->first + n->n++) % WAITING] = note;
}

static void begin_sending(struct spy_notes *n)
{
    static const char *const headers[] = {"Accept: application/json",
                                          "Content-Type: application/json"};
    char url[640];
    n->sending = n->waiting[n->first];
    n->first = (n->first + 1) % WAITING;
    n->n--;
    snprintf(url, sizeof url, "%s/api/v1/namespaces/%s/events", n->access->url,
             n->sending.namespace_name);
    struct spy_client_request request = {.url = url,
                                         .headers = headers,
                                         .n_headers = SPY_COUNT(headers),
                                         .body = n->sending.content,
                                         .body_len = strlen(n->sending.content),
                                         .timeout_ms = TIMEOUT_MS,
                                         .answer_max = ANSWER_MAX};
    if (spy_client_loop_start(n->loop, &request, &n->transfer, NULL) < 0)
        end_sending(n);
}

static void take_answer(struct spy_notes *n, const struct spy_client_answer *a)
{
    n->refused = a->outcome == SPY_CLIENT_REFUSED && a->status == 403;
    if (n->refused)
        spy_log(SPY_LOG_INFO,
                "wrong annotations are not reported as Events: the account may not create any",
                SPY_I("status", a->status));
    end_sending(n);
}

void spy_notes_run(struct spy_notes *n)
{
    const struct spy_client_answer *a = n->transfer ? spy_transfer_answer(n->transfer) : NULL;
    if (a)
        take_answer(n, a);
    if (!n->transfer && n->n && !n->refused)
        begin_sending(n);
}
