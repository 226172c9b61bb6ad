// push.c - receives profiles: ingest's outcome becomes a status and a hint.
#include "collector/cli/routes.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"

#define WARN_EVERY   (60 * SPY_NS_PER_SEC)
#define EXPIRE_EVERY (5 * SPY_NS_PER_SEC) // while the disk is full

static const struct {
    unsigned status, retry_after;
    const char *hint;
} refusals[SPY_INGEST_OUTCOMES] = {
    [SPY_INGEST_BAD_TYPE] = {415, 0,
                             "send OTLP Profiles as application/x-protobuf or application/json, as "
                             "they are or with Content-Encoding gzip or zstd"},
    [SPY_INGEST_MALFORMED] = {400, 0,
                              "send an ExportProfilesServiceRequest of OTLP Profiles "
                              "v1development (docs/wire.md)"},
    [SPY_INGEST_TOO_LARGE] =
        {413, 0, "push smaller windows, or raise limits.body_mib and limits.memory_mib"},
    [SPY_INGEST_TOO_FAST] = {429, 20,
                             "push less often or at a lower rate, or raise "
                             "limits.agent_mib_per_minute"},
    [SPY_INGEST_BUSY_AGENTS] = {429, 60, "raise limits.agents, or run more collectors"},
    [SPY_INGEST_FULL] = {507, 60,
                         "raise the bound that the message names, or shorten retention.raw"},
    [SPY_INGEST_DISK_FULL] = {507, 60,
                              "free space on the collector's disk, or shorten retention.raw or "
                              "lower retention.max_gib: dropping old data makes room for new "
                              "pushes"},
    [SPY_INGEST_NOT_TAKEN] = {400, 0, "docs/wire.md says which profiles are accepted"},
    [SPY_INGEST_CLOCK] = {503, 60,
                          "nothing is lost: the sender keeps its profiles and retries; correct the "
                          "clock of the collector or of the sender"},
    [SPY_INGEST_UNAVAILABLE] = {503, 5, "try again; the collector's log has the reason"},
};

static void post_profiles(void *arg, const struct spy_http_request *req,
                          struct spy_http_response *res)
{
    static uint64_t last, last_expiry;
    struct spy_collector *c = arg;
    struct spy_err err = {0};
    struct spy_ingest_body body = {.content_type = req->content_type,
                                   .content_encoding = req->content_encoding,
                                   .date = req->date,
                                   .version = req->profiles_version,
                                   .data = req->body,
                                   .len = req->body_len,
                                   .stop = req->stop};
    const char *type;
    enum spy_ingest_outcome o = spy_ingest_take(c->ingest, &body, &res->body, &type, &err);
    if (o == SPY_INGEST_TAKEN) {
        res->content_type = type;
        return;
    }
    if (refusals[o].status >= 500)
        __atomic_store_n(&c->ready_until, 0, __ATOMIC_RELAXED);
    spy_http_error(res, refusals[o].status, err.msg, refusals[o].hint);
    res->retry_after = refusals[o].retry_after;
    if (o == SPY_INGEST_DISK_FULL && spy_log_due(&last_expiry, EXPIRE_EVERY))
        spy_every_now(c->retention); // drops what has become too old
    if (spy_log_due(&last, WARN_EVERY))
        spy_log(refusals[o].status >= 500 ? SPY_LOG_ERROR : SPY_LOG_WARN, "push refused",
                SPY_I("status", refusals[o].status), SPY_S("error", err.msg));
}

const struct spy_http_route spy_route_push = {
    .method = "POST",
    .path = "/v1development/profiles",
    .lane = SPY_HTTP_PUSH,
    .takes_body = true,
    .remote_only = true,
    .allow = spy_allow_push,
    .handle = post_profiles,
};
