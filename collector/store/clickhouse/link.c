#include "collector/store/clickhouse/link.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/base/token.h"
#include "shared/http/client.h"
#include "shared/http/url.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    URL_MAX = 15 << 10, // ClickHouse takes 16 KiB
    SECS = 30,
    TURN_SECS = 3,
    CONNECT_MS = 5000,
    DEAD_SECS = 30,
    IDLE_CONNECTIONS = 8,
    FAULT_MAX = 64 << 10,   // bytes of a message
    UPLOAD_MAX = 512 << 20, // of a body with an external table
    PASSWORD_MAX = 1024,
    PENDING_MAX = SPY_ROWBIN_MAX + (1 << 20),
};
#define MEMORY_BYTES ((uint64_t)2 << 30) // of the server for one SELECT
#define ANSWER_BYTES ((uint64_t)1 << 30)
#define BOUNDARY     "podspy-b5f0c1d92a7e4c36"

struct spy_click_link {
    struct spy_click_place place;
    struct spy_client *client;
};

int spy_click_link_new(const struct spy_click_place *place, struct spy_click_link **ret,
                       struct spy_err *err)
{
    struct spy_click_link *l = calloc(1, sizeof *l);
    if (!l)
        return spy_err_nomem(err);
    l->place = *place;
    const char *cert = *l->place.cert_file ? l->place.cert_file : NULL;
    struct spy_client_options o = {.ca_file = l->place.ca_file,
                                   .cert_file = cert,
                                   .key_file = cert ? l->place.key_file : NULL,
                                   .user_agent = "podspy-collector",
                                   .plain = true, // place.c: to this machine alone
                                   .connect_ms = CONNECT_MS,
                                   .dead_secs = DEAD_SECS,
                                   .idle_max = IDLE_CONNECTIONS};
    int r = spy_client_new(&o, &l->client, err);
    if (r < 0) {
        free(l);
        return r;
    }
    *ret = l;
    return 0;
}

void spy_click_link_free(struct spy_click_link *l)
{
    if (!l)
        return;
    spy_client_free(l->client);
    free(l);
}

const struct spy_click_place *spy_click_link_place(const struct spy_click_link *l)
{
    return &l->place;
}

// --- the answer ---

struct stream {
    const struct spy_click_call *call;
    struct spy_buf pending; // the beginning of a row
    uint64_t bytes;
    int result;
    struct spy_err err;
    int code; // of the server's fault
};

static int read_answer_rows(struct stream *s)
{
    struct spy_rowbin r = {.at = s->pending.data, .end = s->pending.data + s->pending.len};
    const uint8_t *row = r.at;
    int result = 0;
    while (result == 0 && r.at < r.end) {
        row = r.at;
        result = s->call->row(s->call->arg, &r, &s->err);
    }
    if (result < 0 && result != SPY_ERR_TORN)
        return result;
    size_t left = (size_t)(r.end - (result < 0 ? row : r.at));
    memmove(s->pending.data, r.end - left, left);
    s->pending.len = left;
    return 0;
}

static bool take_answer_bytes(void *arg, const char *data, size_t len)
{
    struct stream *s = arg;
    uint64_t most = s->call->bytes_max ? s->call->bytes_max : ANSWER_BYTES;
    s->bytes += len;
    if (!s->call->row)
        return true;
    if (s->bytes > most || spy_buf_append(&s->pending, data, len) < 0)
        s->result =
            spy_err_set(&s->err, SPY_ERR_LIMIT, 0, "the answer is too large: narrow the selection");
    else
        s->result = read_answer_rows(s);
    return s->result == 0;
}

// --- faults ---

// Codes of ClickHouse's ErrorCodes.cpp that call for more than "it failed".
static const struct {
    int code, ours, sys;
} faults[] = {
    {60, SPY_ERR_NOTFOUND, 0},    // UNKNOWN_TABLE
    {81, SPY_ERR_NOTFOUND, 0},    // UNKNOWN_DATABASE
    {158, SPY_ERR_LIMIT, 0},      // TOO_MANY_ROWS
    {159, SPY_ERR_LIMIT, 0},      // TIMEOUT_EXCEEDED
    {192, SPY_ERR_DENIED, 0},     // UNKNOWN_USER
    {193, SPY_ERR_DENIED, 0},     // WRONG_PASSWORD
    {194, SPY_ERR_DENIED, 0},     // REQUIRED_PASSWORD
    {202, SPY_ERR_AGAIN, 0},      // TOO_MANY_SIMULTANEOUS_QUERIES
    {241, SPY_ERR_LIMIT, 0},      // MEMORY_LIMIT_EXCEEDED
    {242, SPY_ERR_AGAIN, 0},      // TABLE_IS_READ_ONLY
    {243, SPY_ERR_LIMIT, ENOSPC}, // NOT_ENOUGH_SPACE
    {252, SPY_ERR_AGAIN, 0},      // TOO_MANY_PARTS
    {285, SPY_ERR_AGAIN, 0},      // TOO_LESS_LIVE_REPLICAS
    {286, SPY_ERR_AGAIN, 0},      // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
    {289, SPY_ERR_AGAIN, 0},      // REPLICA_IS_NOT_IN_QUORUM
    {307, SPY_ERR_LIMIT, 0},      // TOO_MANY_BYTES
    {319, SPY_ERR_AGAIN, 0},      // UNKNOWN_STATUS_OF_INSERT
    {396, SPY_ERR_LIMIT, 0},      // TOO_MANY_ROWS_OR_BYTES
    {497, SPY_ERR_DENIED, 0},     // ACCESS_DENIED
    {516, SPY_ERR_DENIED, 0},     // AUTHENTICATION_FAILED
    {999, SPY_ERR_AGAIN, 0},      // KEEPER_EXCEPTION
};

// "Code: 60, e.displayText() = DB::Exception: Table x doesn't exist, e.what() = ..."
static int explain_fault(const struct spy_click_link *l, const struct spy_client_answer *a,
                         int *ret_code, struct spy_err *err)
{
    const char *text = spy_buf_str(&a->body), *said = strstr(text, "DB::Exception: ");
    int code = !strncmp(text, "Code: ", 6) ? (int)strtol(text + 6, NULL, 10) : 0;
    int ours = a->outcome == SPY_CLIENT_AGAIN && !code ? SPY_ERR_AGAIN : SPY_ERR_IO, sys = 0;
    said = said ? said + strlen("DB::Exception: ") : text;
    const char *end = strstr(said, ", e.what()");
    size_t len = end ? (size_t)(end - said) : strcspn(said, "\r\n");
    for (size_t i = 0; i < SPY_COUNT(faults); i++)
        if (faults[i].code == code) {
            ours = faults[i].ours;
            sys = faults[i].sys;
        }
    *ret_code = code;
    return spy_err_set(err, ours, sys, "ClickHouse at %s answers %d: %.*s", l->place.url, a->status,
                       (int)(len < 150 ? len : 150), said);
}

static int end_call(const struct spy_click_link *l, struct stream *s,
                    const struct spy_client_answer *a, struct spy_err *err)
{
    if (spy_stop_is_set(s->call->stop))
        return spy_err_set(err, SPY_ERR_GONE, 0, "the client has gone");
    if (s->result < 0) {
        if (err)
            *err = s->err;
        return s->result;
    }
    if (a->outcome == SPY_CLIENT_UNREACHABLE)
        return spy_err_set(err, SPY_ERR_AGAIN, 0, "ClickHouse at %s does not answer: %s",
                           l->place.url, a->reason);
    if (a->status != 200)
        return explain_fault(l, a, &s->code, err);
    return s->pending.len ? spy_err_set(err, SPY_ERR_IO, 0,
                                        "ClickHouse at %s sent an answer that ends inside of a row",
                                        l->place.url)
                          : 0;
}

// --- the request ---

static int put_url(const struct spy_click_link *l, const struct spy_click_call *c,
                   struct spy_buf *url)
{
    unsigned secs = c->secs ? c->secs : SECS;
    spy_buf_printf(url, "%s/?wait_end_of_query=1&max_execution_time=%u", l->place.url, secs);
    if (!c->outside)
        spy_buf_printf(url, "&database=%s", l->place.database);
    if (c->row)
        spy_buf_printf(url, "&max_memory_usage=%" PRIu64, MEMORY_BYTES);
    if (l->place.replicas > 1 && c->rows) // the server answers before this side gives up
        spy_buf_printf(url, "&insert_quorum=%u&insert_quorum_timeout=%u", l->place.replicas,
                       secs * 1000 / 3);
    if (l->place.replicas > 1 && c->agreed)
        spy_buf_puts(url, "&select_sequential_consistency=1");
    if (c->picked) {
        spy_buf_puts(url, "&picked_format=RowBinary&picked_structure=");
        spy_url_put_value(url, c->structure);
    }
    spy_buf_puts(url, "&query=");
    return spy_url_put_value(url, c->sql);
}

static void put_picked(struct spy_buf *body, const struct spy_buf *rows)
{
    spy_buf_puts(body, "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"picked\"; "
                       "filename=\"picked\"\r\nContent-Type: application/octet-stream\r\n\r\n");
    if (rows->len)
        spy_buf_append(body, rows->data, rows->len);
    spy_buf_puts(body, "\r\n--" BOUNDARY "--\r\n");
}

// The headers with user and password; the caller wipes them.
struct headers {
    char user[SPY_CLICK_TEXT + 32], password[PASSWORD_MAX + 32];
    const char *at[3];
    size_t n;
};

static int make_credentials(const struct spy_click_link *l, const struct spy_click_call *c,
                            struct headers *h, struct spy_err *err)
{
    const char *file = l->place.password_file;
    if (c->picked)
        h->at[h->n++] = "Content-Type: multipart/form-data; boundary=" BOUNDARY;
    if (*l->place.user) {
        snprintf(h->user, sizeof h->user, "X-ClickHouse-User: %s", l->place.user);
        h->at[h->n++] = h->user;
    }
    if (!*file)
        return 0;
    int len = snprintf(h->password, sizeof h->password, "X-ClickHouse-Key: ");
    const char *fault = spy_token_read_to_send(file, h->password + len, PASSWORD_MAX);
    h->at[h->n++] = h->password;
    return fault ? spy_err_set(err, SPY_ERR_DENIED, 0, "the password file %s %s", file, fault) : 0;
}

static int send_call(struct spy_click_link *l, struct stream *s, const char *url,
                     const struct spy_buf *body, const struct headers *h, struct spy_err *err)
{
    struct spy_client_answer a = {0};
    struct spy_client_request q = {.url = url,
                                   .method = "POST",
                                   .headers = h->at,
                                   .n_headers = h->n,
                                   .body = body && body->data ? (const void *)body->data : "",
                                   .body_len = body ? body->len : 0,
                                   .timeout_ms =
                                       (s->call->secs ? s->call->secs : SECS) * 1000 + 5000,
                                   .answer_max = FAULT_MAX,
                                   .stop = s->call->stop,
                                   .on_data = take_answer_bytes,
                                   .arg = s};
    int r = spy_client_send(l->client, &q, &a, err);
    if (r == 0)
        r = end_call(l, s, &a, err);
    spy_client_answer_free(&a);
    return r;
}

// With replicas, ClickHouse refuses an insert while another into the same table is on its way, so
// collectors take turns.
static int insert_in_turn(struct spy_click_link *l, struct stream *s, const char *url,
                          const struct headers *h, struct spy_err *err)
{
    enum { BEHIND_ANOTHER = 286, LEAST_US = 5000, MOST_US = 50000 };
    uint64_t end = spy_clock_mono_ns() + TURN_SECS * SPY_NS_PER_SEC;
    for (;;) {
        s->code = 0;
        int r = send_call(l, s, url, s->call->rows, h, err);
        uint64_t now = spy_clock_mono_ns();
        if (r == 0 || s->code != BEHIND_ANOTHER || now >= end)
            return r;
        usleep((useconds_t)(LEAST_US + now / 1000 % (MOST_US - LEAST_US)));
    }
}

int spy_click_call(struct spy_click_link *l, const struct spy_click_call *call, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf url = SPY_BUF_INIT(URL_MAX), upload = SPY_BUF_INIT(UPLOAD_MAX);
    struct stream s = {.call = call, .pending = SPY_BUF_INIT(PENDING_MAX)};
    struct headers h = {0};
    int r = put_url(l, call, &url);
    if (call->picked)
        put_picked(&upload, call->picked);
    if (r < 0 || upload.failed)
        return spy_err_set(err, r < 0 ? r : upload.failed, 0,
                           "a statement for ClickHouse is too long");
    r = make_credentials(l, call, &h, err);
    if (r == 0 && call->rows)
        r = insert_in_turn(l, &s, spy_buf_str(&url), &h, err);
    else if (r == 0)
        r = send_call(l, &s, spy_buf_str(&url), call->picked ? &upload : NULL, &h, err);
    explicit_bzero(&h, sizeof h);
    spy_buf_free(&s.pending);
    return r;
}

static int read_answer_number(void *arg, struct spy_rowbin *r, struct spy_err *err)
{
    (void)err;
    uint64_t n = spy_rowbin_number(r, 8);
    if (r->is_short)
        return SPY_ERR_TORN;
    *(uint64_t *)arg = n;
    return 0;
}

int spy_click_number(struct spy_click_link *l, const char *sql, uint64_t *ret, struct spy_err *err)
{
    uint64_t n = 0;
    struct spy_click_call c = {.sql = sql, .row = read_answer_number, .arg = &n};
    int r = spy_click_call(l, &c, err);
    if (r == 0)
        *ret = n;
    return r;
}
