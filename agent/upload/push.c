#include "agent/upload/push.h"
#include "shared/base/clock.h"
#include "shared/base/compress.h"
#include "shared/base/mem.h"
#include "shared/http/client.h"
#include "shared/http/url.h"
#include "shared/otlp/otlp.h"
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWER_MAX = 64 << 10, PLAIN_MAX = 64 << 20, CONNECT_MS = 10000 };
#define PATH "/v1development/profiles"

struct spy_push {
    char *url;
    struct spy_client *client;
    unsigned timeout_ms;
    bool is_auto;
    enum spy_encoding encoding; // that is sent
};

int spy_push_check_url(const char *url, struct spy_err *err)
{
    const char *fault = spy_url_server_fault(url);
    return fault ? spy_err_set(err, SPY_ERR_USAGE, 0, "the collector's URL is refused: %s", fault)
                 : 0;
}

// --- the answer ---

static void write_line(const char *text, size_t len, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < size; i++)
        out[n++] = isprint((unsigned char)text[i]) ? text[i] : ' ';
    out[n] = 0;
}

// {"error": {"code", "message", "hint"}} of podspy-collector, or the beginning of any other text.
static void write_collector_reason(const struct spy_buf *answer, char *out, size_t size)
{
    const char *text = spy_buf_str(answer), *message, *hint = "";
    json_t *root = json_loadb(text, answer->len, 0, NULL);
    if (json_unpack(root, "{s:{s:s,s?s}}", "error", "message", &message, "hint", &hint) == 0) {
        char both[512];
        snprintf(both, sizeof both, "%s%s%s", message, *hint ? ": " : "", hint);
        write_line(both, strlen(both), out, size);
    } else {
        write_line(text, answer->len, out, size);
    }
    json_decref(root);
}

static enum spy_push_outcome judge_refusal(int status)
{
    static const struct {
        int status;
        enum spy_push_outcome outcome;
    } rows[] = {
        {400, SPY_PUSH_REJECTED}, {413, SPY_PUSH_REJECTED}, {415, SPY_PUSH_REJECTED},
        {422, SPY_PUSH_REJECTED}, {401, SPY_PUSH_DENIED},   {403, SPY_PUSH_DENIED},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if (status == rows[i].status)
            return rows[i].outcome;
    return SPY_PUSH_STRANGE;
}

static enum spy_push_outcome judge_outcome(const struct spy_client_answer *a)
{
    switch (a->outcome) {
    case SPY_CLIENT_DONE:
        return a->status == 200 ? SPY_PUSH_STORED : SPY_PUSH_STRANGE;
    case SPY_CLIENT_REFUSED:
        return judge_refusal(a->status);
    case SPY_CLIENT_AGAIN:
        return SPY_PUSH_BUSY;
    default:
        return SPY_PUSH_UNREACHABLE;
    }
}

static void read_response(const struct spy_buf *body, struct spy_push_result *ret)
{
    static const uint8_t none[1];
    if (spy_otlp_decode_response(body->data ? body->data : none, body->len, &ret->rejected,
                                 ret->reason, sizeof ret->reason) < 0) {
        ret->outcome = SPY_PUSH_STRANGE;
        snprintf(ret->reason, sizeof ret->reason, "the answer is not that of a collector");
    }
    write_line(ret->reason, strlen(ret->reason), ret->reason, sizeof ret->reason);
}

static void read_push_answer(const struct spy_client_answer *a, struct spy_push_result *ret)
{
    *ret = (struct spy_push_result){.outcome = judge_outcome(a)};
    if (ret->outcome == SPY_PUSH_UNREACHABLE) {
        snprintf(ret->reason, sizeof ret->reason, "%s", a->reason);
        return;
    }
    ret->status = a->status;
    ret->retry_after_ns = a->retry_after_ns;
    if (ret->outcome == SPY_PUSH_STORED)
        read_response(&a->body, ret);
    else
        write_collector_reason(&a->body, ret->reason, sizeof ret->reason);
}

// --- one request ---

static bool write_date(char *out, size_t size)
{
    time_t now = (time_t)(spy_clock_real_ns() / SPY_NS_PER_SEC);
    struct tm tm;
    return gmtime_r(&now, &tm) && strftime(out, size, "Date: %a, %d %b %Y %H:%M:%S GMT", &tm);
}

static void push_body(struct spy_push *p, enum spy_encoding encoding, const void *body, size_t len,
                      struct spy_push_result *ret)
{
    static const char *const encodings[] = {
        [SPY_ENCODING_IDENTITY] = "Content-Encoding: identity",
        [SPY_ENCODING_GZIP] = "Content-Encoding: gzip",
        [SPY_ENCODING_ZSTD] = "Content-Encoding: zstd",
    };
    char date[64];
    const char *const headers[] = {"Content-Type: application/x-protobuf", encodings[encoding],
                                   "OTLP-Profiles-Development-Version: 1", date};
    struct spy_client_request request = {.url = p->url,
                                         .headers = headers,
                                         .n_headers = SPY_COUNT(headers) - !write_date(date, 64),
                                         .body = body,
                                         .body_len = len,
                                         .timeout_ms = p->timeout_ms,
                                         .answer_max = ANSWER_MAX};
    struct spy_client_answer answer;
    struct spy_err err = {0};
    int r = spy_client_send(p->client, &request, &answer, &err);
    if (r < 0) {
        *ret = (struct spy_push_result){.outcome = r == SPY_ERR_DENIED ? SPY_PUSH_DENIED
                                                                       : SPY_PUSH_UNREACHABLE};
        snprintf(ret->reason, sizeof ret->reason, "%s", err.msg);
        return;
    }
    read_push_answer(&answer, ret);
    spy_client_answer_free(&answer);
    if (ret->outcome == SPY_PUSH_STRANGE)
        spy_client_forget(p->client); // it leads to another server
}

// The body in zstd as `encoding` has it.
static bool recompress(enum spy_encoding encoding, const void *body, size_t len,
                       struct spy_buf *out)
{
    _cleanup_buf_ struct spy_buf plain = SPY_BUF_INIT(PLAIN_MAX);
    return spy_decompress(SPY_ENCODING_ZSTD, body, len, &plain, NULL) == 0 &&
           spy_compress(encoding, plain.data, plain.len, out, NULL) == 0;
}

static void send_as(struct spy_push *p, enum spy_encoding encoding, const void *body, size_t len,
                    struct spy_push_result *ret)
{
    _cleanup_buf_ struct spy_buf packed = SPY_BUF_INIT(2 * PLAIN_MAX);
    if (encoding != SPY_ENCODING_ZSTD && recompress(encoding, body, len, &packed)) {
        body = packed.data;
        len = packed.len;
    } else {
        encoding = SPY_ENCODING_ZSTD; // the collector is to refuse what is not zstd
    }
    push_body(p, encoding, body, len, ret);
}

void spy_push_send(struct spy_push *p, const void *body, size_t len, struct spy_push_result *ret)
{
    send_as(p, p->encoding, body, len, ret);
    bool refused = ret->outcome == SPY_PUSH_REJECTED && (ret->status == 400 || ret->status == 415);
    if (!refused || !p->is_auto || p->encoding != SPY_ENCODING_ZSTD)
        return;
    send_as(p, SPY_ENCODING_GZIP, body, len, ret);
    if (ret->outcome != SPY_PUSH_STORED)
        return;
    p->encoding = SPY_ENCODING_GZIP;
    ret->changed_to_gzip = true;
}

// --- life ---

static unsigned to_milliseconds(uint64_t ns)
{
    uint64_t ms = ns / SPY_NS_PER_MS;
    return !ms ? 1 : ms < INT32_MAX ? (unsigned)ms : INT32_MAX;
}

int spy_push_new(const struct spy_push_options *options, struct spy_push **ret, struct spy_err *err)
{
    int r = spy_push_check_url(options->url, err);
    if (r < 0)
        return r;
    if (!options->cert_file != !options->key_file)
        return spy_err_set(err, SPY_ERR_USAGE, 0,
                           "collector.cert_file and collector.key_file are given both or not at "
                           "all");
    struct spy_push *p = calloc(1, sizeof *p);
    size_t len = strlen(options->url);
    if (!p)
        return spy_err_nomem(err);
    if (options->url[len - 1] == '/')
        len--;
    if (asprintf(&p->url, "%.*s%s", (int)len, options->url, PATH) < 0) {
        free(p);
        return spy_err_nomem(err);
    }
    p->timeout_ms = to_milliseconds(options->timeout_ns);
    p->is_auto = options->compression == SPY_PUSH_AUTO;
    p->encoding = options->compression == SPY_PUSH_GZIP   ? SPY_ENCODING_GZIP
                  : options->compression == SPY_PUSH_NONE ? SPY_ENCODING_IDENTITY
                                                          : SPY_ENCODING_ZSTD;
    r = spy_client_new(&(struct spy_client_options){.token_file = options->token_file,
                                                    .ca_file = options->ca_file,
                                                    .cert_file = options->cert_file,
                                                    .key_file = options->key_file,
                                                    .user_agent = "podspy/" PODSPY_VERSION,
                                                    .plain = true,
                                                    .proxy = true,
                                                    .connect_ms = CONNECT_MS,
                                                    .idle_max = 1},
                       &p->client, err);
    if (r < 0)
        spy_push_free(p);
    else
        *ret = p;
    return r;
}

bool spy_push_files_changed(struct spy_push *p)
{
    return spy_client_files_changed(p->client);
}

void spy_push_abort(struct spy_push *p)
{
    spy_client_abort(p->client);
}

void spy_push_free(struct spy_push *p)
{
    if (!p)
        return;
    spy_client_free(p->client);
    free(p->url);
    free(p);
}
