// health.c - the probes /healthz and /readyz.
#include "collector/cli/routes.h"
#include "shared/base/clock.h"

static void get_healthz(void *arg, const struct spy_http_request *req,
                        struct spy_http_response *res)
{
    (void)arg;
    (void)req;
    res->content_type = "text/plain; charset=utf-8";
    spy_buf_puts(&res->body, "ok\n");
}

// A check writes to the disk, and anybody who reaches the port can cause one. So a successful check
// counts for a second, unless a push fails meanwhile.
static int check_store_health(struct spy_collector *c, struct spy_err *err)
{
    uint64_t now = spy_clock_mono_ns();
    if (now < __atomic_load_n(&c->ready_until, __ATOMIC_RELAXED))
        return 0;
    int r = spy_store_check(c->store, err);
    if (r == 0)
        __atomic_store_n(&c->ready_until, now + SPY_NS_PER_SEC, __ATOMIC_RELAXED);
    return r;
}

static void get_readyz(void *arg, const struct spy_http_request *req, struct spy_http_response *res)
{
    struct spy_collector *c = arg;
    struct spy_err err = {0};
    if (__atomic_load_n(&c->ending, __ATOMIC_RELAXED))
        spy_http_error(res, 503, "the collector is ending", "ask another collector");
    else if (check_store_health(c, &err) < 0)
        spy_http_error(res, 503, err.msg, "the store cannot be written: see the collector's log");
    else
        get_healthz(arg, req, res);
}

const struct spy_http_route spy_route_readyz = {
    .method = "GET",
    .path = "/readyz",
    .lane = SPY_HTTP_PROMPT,
    .allow = spy_allow_plain,
    .handle = get_readyz,
};

const struct spy_http_route spy_route_healthz = {
    .method = "GET",
    .path = "/healthz",
    .lane = SPY_HTTP_PROMPT,
    .at_once = true,
    .allow = spy_allow_plain,
    .handle = get_healthz,
};
