#include "agent/upload/push.h"
#include "shared/base/clock.h"
#include "shared/base/compress.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "shared/otlp/otlp.h"
#include "shared/trust/trust.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

enum { ANSWER_MAX = 64 << 10, TOKEN_MAX = 16 << 10, PLAIN_MAX = 64 << 20, N_FILES = 4, TOKEN = 0 };
#define PATH               "/v1development/profiles"
#define CONNECT_TIMEOUT_NS (10 * SPY_NS_PER_SEC)

struct identity {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
};

struct spy_push {
    struct spy_push_options o;
    char *url;
    CURL *easy; // NULL: to be made for the next request
    struct curl_slist *headers;
    struct spy_buf answer;
    const char *files[N_FILES];
    struct identity seen[N_FILES];
    char why[CURL_ERROR_SIZE];
    enum spy_encoding encoding; // that is sent
    int aborted;                // atomic
};

// --- the URL ---

static bool is_loopback(const char *host)
{
    struct in_addr four;
    return !strcasecmp(host, "localhost") || !strcmp(host, "[::1]") ||
           (inet_pton(AF_INET, host, &four) == 1 && ntohl(four.s_addr) >> 24 == 127);
}

static const char *url_fault(const char *scheme, const char *host, const char *path, bool extra)
{
    if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        return "it must begin with https://";
    if (!strcmp(scheme, "http") && !is_loopback(host))
        return "http:// would send profiles and token in clear text to another machine: use "
               "https://";
    if (strcmp(path, "/") != 0)
        return "it must not have a path";
    return extra ? "it must not have a user, password, query or fragment" : NULL;
}

int spy_push_check_url(const char *url, struct spy_err *err)
{
    CURLU *u = curl_url();
    if (!u)
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    char *scheme = NULL, *host = NULL, *path = NULL, *other = NULL;
    const char *fault = "it is not a URL";
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK) {
        static const CURLUPart parts[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY,
                                          CURLUPART_FRAGMENT};
        bool extra = false;
        for (size_t i = 0; i < SPY_COUNT(parts); i++) {
            extra |= curl_url_get(u, parts[i], &other, 0) == CURLUE_OK;
            curl_free(other);
            other = NULL;
        }
        fault = url_fault(scheme, host, path, extra);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(path);
    curl_url_cleanup(u);
    // The URL itself may hold a password and is not repeated.
    return fault ? spy_err_set(err, SPY_ERR_USAGE, 0, "the collector's URL is refused: %s", fault)
                 : 0;
}

// --- files that may change ---

static struct identity identity_of(const char *path)
{
    struct stat st;
    struct identity id;
    memset(&id, 0, sizeof id); // compared as bytes
    if (path && stat(path, &st) == 0) {
        id.dev = st.st_dev;
        id.ino = st.st_ino;
        id.size = st.st_size;
        id.mtime = st.st_mtim;
        id.ctime = st.st_ctim;
    }
    return id;
}

static bool changed(const struct spy_push *p, size_t file, struct identity *now)
{
    *now = identity_of(p->files[file]);
    return memcmp(now, &p->seen[file], sizeof *now) != 0;
}

bool spy_push_files_changed(struct spy_push *p)
{
    struct identity now;
    bool any = false;
    for (size_t i = 0; i < N_FILES; i++)
        any |= changed(p, i, &now);
    return any;
}

static void forget_connection(struct spy_push *p)
{
    if (p->easy)
        curl_easy_cleanup(p->easy);
    p->easy = NULL;
}

// Notes the files as they are; another CA or certificate means another connection.
static void look_at_files(struct spy_push *p)
{
    for (size_t i = 0; i < N_FILES; i++) {
        struct identity now;
        if (changed(p, i, &now) && i != TOKEN)
            forget_connection(p);
        p->seen[i] = now;
    }
}

// --- one request ---

static size_t on_answer(char *data, size_t size, size_t n, void *arg)
{
    struct spy_push *p = arg;
    return spy_buf_append(&p->answer, data, size * n) < 0 ? 0 : size * n;
}

static int is_aborted(const struct spy_push *p)
{
    return __atomic_load_n(&p->aborted, __ATOMIC_RELAXED);
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return is_aborted(arg);
}

static long milliseconds(uint64_t ns)
{
    uint64_t ms = ns / SPY_NS_PER_MS;
    return ms ? (long)ms : 1;
}

// Every option is one that must hold: a libcurl that cannot do one of them is not used.
static bool set_up(struct spy_push *p, CURL *c)
{
    uint64_t connect = p->o.timeout_ns < CONNECT_TIMEOUT_NS ? p->o.timeout_ns : CONNECT_TIMEOUT_NS;
    bool plain = !strncasecmp(p->url, "http:", 5);
    CURLcode r[] = {
        curl_easy_setopt(c, CURLOPT_URL, p->url),
        curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, plain ? "http" : "https"),
        curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2),
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L),
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L),
        spy_trust_servers_only(c),
        curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L),
        curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1),
        curl_easy_setopt(c, CURLOPT_POST, 1L),
        curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L),
        curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L),
        curl_easy_setopt(c, CURLOPT_MAXCONNECTS, 1L),
        curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(connect)),
        curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, milliseconds(p->o.timeout_ns)),
        curl_easy_setopt(c, CURLOPT_ERRORBUFFER, p->why),
        curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_answer),
        curl_easy_setopt(c, CURLOPT_WRITEDATA, p),
        curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L),
        curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress),
        curl_easy_setopt(c, CURLOPT_XFERINFODATA, p),
        plain ? curl_easy_setopt(c, CURLOPT_PROXY, "") : CURLE_OK,
        p->o.ca_file ? curl_easy_setopt(c, CURLOPT_CAINFO, p->o.ca_file) : CURLE_OK,
        // libcurl would add the system's folder of authorities to the file.
        p->o.ca_file ? curl_easy_setopt(c, CURLOPT_CAPATH, NULL) : CURLE_OK,
        p->o.cert_file ? curl_easy_setopt(c, CURLOPT_SSLCERT, p->o.cert_file) : CURLE_OK,
        p->o.key_file ? curl_easy_setopt(c, CURLOPT_SSLKEY, p->o.key_file) : CURLE_OK,
    };
    for (size_t i = 0; i < SPY_COUNT(r); i++)
        if (r[i] != CURLE_OK)
            return false;
    return true;
}

static bool add_header(struct spy_push *p, const char *header)
{
    struct curl_slist *more = curl_slist_append(p->headers, header);
    if (more)
        p->headers = more;
    return more != NULL;
}

// "Authorization: Bearer TOKEN". A token is one line of visible ASCII, whatever the file says.
static bool add_token(struct spy_push *p, struct spy_push_result *ret)
{
    char header[TOKEN_MAX + 32] = "Authorization: Bearer ";
    size_t at = strlen(header);
    ssize_t n = spy_file_read_small(AT_FDCWD, p->o.token_file, header + at, TOKEN_MAX);
    const char *fault = n < 0 ? "cannot be read" : n >= TOKEN_MAX - 1 ? "is too long" : NULL;
    char *token = header + at;
    size_t skip = n > 0 ? strspn(token, " \t\r\n") : 0;
    size_t len = n > 0 ? (size_t)n - skip : 0;
    memmove(token, token + skip, len);
    while (len && isspace((unsigned char)token[len - 1]))
        len--;
    token[len] = 0;
    if (!fault && !len)
        fault = "is empty";
    for (size_t i = 0; i < len && !fault; i++)
        if (!isgraph((unsigned char)token[i]))
            fault = "does not hold one line of visible characters";
    if (!fault && !add_header(p, header))
        fault = "does not fit in memory";
    explicit_bzero(header, sizeof header);
    if (!fault)
        return true;
    *ret = (struct spy_push_result){.outcome = SPY_PUSH_DENIED};
    snprintf(ret->reason, sizeof ret->reason, "token file %s %s", p->o.token_file, fault);
    return false;
}

static bool add_date(struct spy_push *p)
{
    char header[64];
    time_t now = (time_t)(spy_clock_real_ns() / SPY_NS_PER_SEC);
    struct tm tm;
    return gmtime_r(&now, &tm) &&
           strftime(header, sizeof header, "Date: %a, %d %b %Y %H:%M:%S GMT", &tm) &&
           add_header(p, header);
}

static bool make_headers(struct spy_push *p, enum spy_encoding encoding,
                         struct spy_push_result *ret)
{
    static const char *const encodings[] = {
        [SPY_ENCODING_IDENTITY] = "Content-Encoding: identity",
        [SPY_ENCODING_GZIP] = "Content-Encoding: gzip",
        [SPY_ENCODING_ZSTD] = "Content-Encoding: zstd",
    };
    const char *const fixed[] = {
        "Content-Type: application/x-protobuf",
        encodings[encoding],
        "OTLP-Profiles-Development-Version: 1",
        "User-Agent: podspy/" PODSPY_VERSION,
        "Expect:", // no 100-continue
    };
    curl_slist_free_all(p->headers);
    p->headers = NULL;
    bool ok = add_date(p);
    for (size_t i = 0; i < SPY_COUNT(fixed); i++)
        ok = ok && add_header(p, fixed[i]);
    if (!ok)
        *ret = (struct spy_push_result){SPY_PUSH_UNREACHABLE, .reason = "out of memory"};
    return ok && (!p->o.token_file || add_token(p, ret));
}

// --- the answer ---

static void one_line(const char *text, size_t len, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < size; i++)
        out[n++] = isprint((unsigned char)text[i]) ? text[i] : ' ';
    out[n] = 0;
}

// {"error": {"code", "message", "hint"}} of podspy-collector, or the beginning of any other text.
static void reason_of(const struct spy_buf *answer, char *out, size_t size)
{
    const char *text = spy_buf_str(answer), *message, *hint = "";
    json_t *root = json_loadb(text, answer->len, 0, NULL);
    if (json_unpack(root, "{s:{s:s,s?s}}", "error", "message", &message, "hint", &hint) == 0) {
        char both[512];
        snprintf(both, sizeof both, "%s%s%s", message, *hint ? ": " : "", hint);
        one_line(both, strlen(both), out, size);
    } else {
        one_line(text, answer->len, out, size);
    }
    json_decref(root);
}

static enum spy_push_outcome outcome_of(long status)
{
    static const struct {
        long from, to;
        enum spy_push_outcome outcome;
    } rows[] = {
        {200, 200, SPY_PUSH_STORED},   {400, 400, SPY_PUSH_REJECTED}, {401, 401, SPY_PUSH_DENIED},
        {403, 403, SPY_PUSH_DENIED},   {408, 408, SPY_PUSH_BUSY},     {413, 413, SPY_PUSH_REJECTED},
        {415, 415, SPY_PUSH_REJECTED}, {422, 422, SPY_PUSH_REJECTED}, {429, 429, SPY_PUSH_BUSY},
        {500, 599, SPY_PUSH_BUSY},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        if (status >= rows[i].from && status <= rows[i].to)
            return rows[i].outcome;
    return SPY_PUSH_STRANGE;
}

static void read_answer(struct spy_push *p, struct spy_push_result *ret)
{
    curl_off_t after = 0;
    curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &ret->status);
    ret->outcome = outcome_of(ret->status);
    if (ret->outcome == SPY_PUSH_BUSY &&
        curl_easy_getinfo(p->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK && after > 0)
        ret->retry_after_ns = (uint64_t)(after < 86400 ? after : 86400) * SPY_NS_PER_SEC;
    if (ret->outcome != SPY_PUSH_STORED) {
        reason_of(&p->answer, ret->reason, sizeof ret->reason);
        return;
    }
    static const uint8_t none[1];
    if (spy_otlp_decode_response(p->answer.data ? p->answer.data : none, p->answer.len,
                                 &ret->rejected, ret->reason, sizeof ret->reason) < 0) {
        ret->outcome = SPY_PUSH_STRANGE;
        snprintf(ret->reason, sizeof ret->reason, "the answer is not that of a collector");
    }
    one_line(ret->reason, strlen(ret->reason), ret->reason, sizeof ret->reason);
}

static void perform(struct spy_push *p, const void *body, size_t len, struct spy_push_result *ret)
{
    *ret = (struct spy_push_result){.outcome = SPY_PUSH_UNREACHABLE};
    p->why[0] = 0;
    spy_buf_reset(&p->answer);
    CURLcode r = curl_easy_setopt(p->easy, CURLOPT_HTTPHEADER, p->headers);
    if (r == CURLE_OK)
        r = curl_easy_setopt(p->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    if (r == CURLE_OK)
        r = curl_easy_setopt(p->easy, CURLOPT_POSTFIELDS, body);
    if (r == CURLE_OK)
        r = curl_easy_perform(p->easy);
    if (r == CURLE_OK) {
        read_answer(p, ret);
        return;
    }
    const char *why = r == CURLE_ABORTED_BY_CALLBACK && !is_aborted(p) ? SPY_TRUST_NOT_A_SERVER
                      : p->why[0]                                      ? p->why
                                                                       : curl_easy_strerror(r);
    one_line(why, strlen(why), ret->reason, sizeof ret->reason);
}

static bool connect_anew(struct spy_push *p, struct spy_push_result *ret)
{
    if (p->easy)
        return true;
    p->easy = curl_easy_init();
    if (p->easy && set_up(p, p->easy))
        return true;
    forget_connection(p);
    *ret = (struct spy_push_result){SPY_PUSH_UNREACHABLE, .reason = "libcurl cannot be set up"};
    return false;
}

// The body in zstd as `encoding` has it.
static bool repack(enum spy_encoding encoding, const void *body, size_t len, struct spy_buf *out)
{
    _cleanup_buf_ struct spy_buf plain = SPY_BUF_INIT(PLAIN_MAX);
    return spy_decompress(SPY_ENCODING_ZSTD, body, len, &plain, NULL) == 0 &&
           spy_compress(encoding, plain.data, plain.len, out, NULL) == 0;
}

static void send_as(struct spy_push *p, enum spy_encoding encoding, const void *body, size_t len,
                    struct spy_push_result *ret)
{
    _cleanup_buf_ struct spy_buf packed = SPY_BUF_INIT(2 * PLAIN_MAX);
    if (encoding != SPY_ENCODING_ZSTD && repack(encoding, body, len, &packed)) {
        body = packed.data;
        len = packed.len;
    } else {
        encoding = SPY_ENCODING_ZSTD; // what is no zstd is for the collector to refuse
    }
    if (!make_headers(p, encoding, ret) || !connect_anew(p, ret))
        return;
    perform(p, body, len, ret);
    // Nothing of a connection that failed or of another's answer is used again.
    if (ret->outcome == SPY_PUSH_UNREACHABLE || ret->outcome == SPY_PUSH_STRANGE)
        forget_connection(p);
}

void spy_push_send(struct spy_push *p, const void *body, size_t len, struct spy_push_result *ret)
{
    look_at_files(p);
    send_as(p, p->encoding, body, len, ret);
    bool refused = ret->outcome == SPY_PUSH_REJECTED && (ret->status == 400 || ret->status == 415);
    if (!refused || p->o.compression != SPY_PUSH_AUTO || p->encoding != SPY_ENCODING_ZSTD)
        return;
    send_as(p, SPY_ENCODING_GZIP, body, len, ret);
    if (ret->outcome != SPY_PUSH_STORED)
        return;
    p->encoding = SPY_ENCODING_GZIP;
    ret->changed_to_gzip = true;
}

// --- life ---

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
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    if (options->url[len - 1] == '/')
        len--;
    if (asprintf(&p->url, "%.*s%s", (int)len, options->url, PATH) < 0) {
        free(p);
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
    }
    p->o = *options;
    p->encoding = options->compression == SPY_PUSH_GZIP   ? SPY_ENCODING_GZIP
                  : options->compression == SPY_PUSH_NONE ? SPY_ENCODING_IDENTITY
                                                          : SPY_ENCODING_ZSTD;
    p->answer = SPY_BUF_INIT(ANSWER_MAX);
    const char *files[N_FILES] = {
        [TOKEN] = options->token_file, options->ca_file, options->cert_file, options->key_file};
    memcpy(p->files, files, sizeof files);
    *ret = p;
    return 0;
}

void spy_push_abort(struct spy_push *p)
{
    __atomic_store_n(&p->aborted, 1, __ATOMIC_RELAXED);
}

void spy_push_free(struct spy_push *p)
{
    if (!p)
        return;
    forget_connection(p);
    curl_slist_free_all(p->headers);
    spy_buf_free(&p->answer);
    free(p->url);
    free(p);
}
