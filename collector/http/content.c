#include "collector/http/content.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

// --- what the client accepts ---

struct weights {
    double of[3], other; // by enum spy_encoding; of those not named; below 0: not given
};

static double parse_weight(const char *at, const char *end)
{
    for (; at < end; at++) {
        if (*at != ';')
            continue;
        at += 1 + strspn(at + 1, " \t");
        if (at + 1 < end && (*at == 'q' || *at == 'Q') && at[1] == '=')
            return strtod(at + 2, NULL);
    }
    return 1;
}

// One coding of the list with its weight: "gzip;q=0.5". Unknown codings are skipped.
static void take_coding(struct weights *w, const char *at, const char *end)
{
    static const struct {
        const char *name;
        enum spy_encoding encoding;
    } names[] = {{"identity", SPY_ENCODING_IDENTITY},
                 {"gzip", SPY_ENCODING_GZIP},
                 {"x-gzip", SPY_ENCODING_GZIP},
                 {"zstd", SPY_ENCODING_ZSTD}};
    size_t len = strcspn(at, ",; \t");
    double weight = parse_weight(at, end);
    if (len == 1 && *at == '*')
        w->other = weight;
    for (size_t i = 0; i < SPY_COUNT(names); i++)
        if (len == strlen(names[i].name) && !strncasecmp(at, names[i].name, len))
            w->of[names[i].encoding] = weight;
}

static const enum spy_encoding best_first[] = {SPY_ENCODING_ZSTD, SPY_ENCODING_GZIP,
                                               SPY_ENCODING_IDENTITY};

// Of the codings from best_first[from] on.
static enum spy_encoding choose_from(size_t from, const char *accept_encoding)
{
    struct weights w = {{-1, -1, -1}, -1};
    for (const char *at = accept_encoding; *at;) {
        at += strspn(at, ", \t");
        const char *end = at + strcspn(at, ",");
        take_coding(&w, at, end);
        at = end;
    }
    // Clients need not name identity, and a client that sends "*" may not know zstd.
    enum spy_encoding best = SPY_ENCODING_IDENTITY;
    double most = 0;
    for (size_t i = from; i < SPY_COUNT(best_first); i++) {
        double weight = w.of[best_first[i]];
        if (weight < 0 && best_first[i] != SPY_ENCODING_ZSTD)
            weight = w.other;
        if (weight > most) {
            best = best_first[i];
            most = weight;
        }
    }
    return best;
}

enum spy_encoding spy_content_choose(const char *accept_encoding)
{
    return choose_from(0, accept_encoding);
}

enum spy_encoding spy_content_choose_gzip(const char *accept_encoding)
{
    return choose_from(1, accept_encoding);
}

// Whether a media type is `known`, with or without parameters; "text/" is all of its kind.
static bool starts_type(const char *type, const char *known)
{
    size_t len = strlen(known);
    return !strncmp(type, known, len) &&
           (known[len - 1] == '/' || !type[len] || strchr("; ", type[len]));
}

static bool can_be_compressed(const char *type)
{
    static const char *const types[] = {"application/json", "application/proto", "image/svg+xml",
                                        "text/"};
    for (size_t i = 0; i < SPY_COUNT(types); i++)
        if (starts_type(type, types[i]))
            return true;
    return false;
}

// --- what is sent ---

bool spy_content_is_known(const char *if_none_match, const char *etag)
{
    const char *at = if_none_match + strspn(if_none_match, " \t");
    return *etag && (!strcmp(at, "*") || strstr(at, etag)); // the quotes make it a whole tag
}

static void compress_body(struct spy_http_response *res, enum spy_encoding encoding)
{
    struct spy_buf packed =
        SPY_BUF_INIT(res->body.len - 1); // a body that grows is sent uncompressed
    if (spy_compress(encoding, res->body.data, res->body.len, &packed, NULL) < 0) {
        spy_buf_free(&packed);
        return;
    }
    spy_buf_free(&res->body);
    res->body = packed;
    res->content_encoding = encoding == SPY_ENCODING_GZIP ? "gzip" : "zstd";
}

static void give_back_room(struct spy_buf *b)
{
    uint8_t *smaller = b->data ? realloc(b->data, b->len + 1) : NULL;
    if (smaller) {
        b->data = smaller;
        b->cap = b->len + 1;
    }
}

static void make_etag(struct spy_http_response *res)
{
    XXH128_hash_t h = XXH3_128bits(res->body.data, res->body.len);
    snprintf(res->etag, sizeof res->etag, "\"%016llx%016llx\"", (unsigned long long)h.high64,
             (unsigned long long)h.low64);
}

static void choose_form(const struct spy_http_request *req, struct spy_http_response *res)
{
    const struct spy_http_constant *c = res->constant;
    bool packed = c->packed && spy_content_choose_gzip(req->accept_encoding) == SPY_ENCODING_GZIP;
    res->varies = c->packed;
    res->content_encoding = packed ? "gzip" : NULL;
    res->sent = packed ? c->packed : c->data;
    res->sent_len = packed ? c->packed_len : c->len;
    snprintf(res->etag, sizeof res->etag, "%s", packed ? c->packed_etag : c->etag);
    if (spy_content_is_known(req->if_none_match, res->etag)) {
        res->status = 304;
        res->sent_len = 0;
    }
}

void spy_content_prepare(const struct spy_http_request *req, struct spy_http_response *res)
{
    if (res->constant) {
        choose_form(req, res);
        return;
    }
    res->varies = can_be_compressed(res->content_type);
    bool soon = req->may_wait || res->body.len <= SPY_CONTENT_AT_ONCE;
    if (res->body.failed || !soon)
        return;
    enum spy_encoding encoding = spy_content_choose(req->accept_encoding);
    bool worth = res->varies && res->body.len > SPY_CONTENT_SMALL && !res->keeps_plain;
    if (worth && encoding != SPY_ENCODING_IDENTITY)
        compress_body(res, encoding);
    give_back_room(&res->body);
    bool get = !strcmp(req->method, "GET") || !strcmp(req->method, "HEAD");
    if (!get || res->status != 200 || !res->body.len)
        return;
    make_etag(res);
    if (spy_content_is_known(req->if_none_match, res->etag)) {
        res->status = 304;
        spy_buf_free(&res->body);
    }
}
