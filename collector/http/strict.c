#include "collector/http/strict.h"
#include "shared/base/text.h"
#include <ctype.h>
#include <string.h>
#include <strings.h>

// Headers that decide how a request is read or whom it is for. Each may appear once.
enum single { HOST, LENGTH, CODING, AUTHORIZATION, TYPE, ENCODING, ORIGIN, SITE, N_SINGLES };

static const char *const single_names[N_SINGLES] = {
    [HOST] = MHD_HTTP_HEADER_HOST,
    [LENGTH] = MHD_HTTP_HEADER_CONTENT_LENGTH,
    [CODING] = MHD_HTTP_HEADER_TRANSFER_ENCODING,
    [AUTHORIZATION] = MHD_HTTP_HEADER_AUTHORIZATION,
    [TYPE] = MHD_HTTP_HEADER_CONTENT_TYPE,
    [ENCODING] = MHD_HTTP_HEADER_CONTENT_ENCODING,
    [ORIGIN] = MHD_HTTP_HEADER_ORIGIN,
    [SITE] = "Sec-Fetch-Site",
};

static char mark; // its address is all that is used

struct headers {
    const char *single[N_SINGLES]; // NULL: not sent
    const char *end;               // of the last header's value
    bool repeated, bad_name, bad_line;
};

// --- the target ---

static bool is_control(int byte)
{
    return byte < 0x20 || byte == 0x7f;
}

bool spy_strict_target_is_good(const char *target)
{
    for (const char *p = target; *p; p++) {
        int byte = (unsigned char)*p;
        if (byte == ' ')
            return false;
        if (byte == '%') {
            int high = spy_hex_digit(p[1]), low = high < 0 ? -1 : spy_hex_digit(p[2]);
            if (low < 0)
                return false;
            byte = high * 16 + low;
            p += 2;
        }
        if (is_control(byte))
            return false;
    }
    return true;
}

// libmicrohttpd 0.9.75 takes a NUL in a line for the end of a text (later versions refuse it). It
// leaves the lines in its buffer as they arrived, so the bytes behind a text show what was sent:
// connection.c of that version, get_next_header_line and process_header_line.
static bool shows_lines(void)
{
    return !strcmp(MHD_get_version(), "0.9.75");
}

void *spy_strict_on_target(void *arg, const char *target, struct MHD_Connection *c)
{
    (void)arg, (void)c;
    if (!target)
        return NULL; // find_route refuses it
    // The space before "HTTP/1.1" has become the NUL.
    bool cut = shows_lines() && strncmp(target + strlen(target) + 1, "HTTP/", 5) != 0;
    return cut || !spy_strict_target_is_good(target) ? &mark : NULL;
}

bool spy_strict_take_mark(void **state)
{
    bool marked = *state == &mark;
    if (marked)
        *state = NULL;
    return marked;
}

// --- headers ---

// RFC 9110, 5.6.2.
static bool is_header_token(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("!#$%&'*+-.^_`|~", name[i]))
            return false;
    return len > 0;
}

static bool has_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (is_control((unsigned char)text[i]) && text[i] != '\t')
            return true;
    return false;
}

// libmicrohttpd has replaced the CR and LF behind a value by NULs. Any other bytes there follow a NUL
// in the line or a bare LF. A line that begins with a colon would be taken for the empty line that
// ends the headers. (libmicrohttpd keeps a record of each header behind all lines, so these bytes
// exist.)
static bool ends_well(const char *end, bool last)
{
    return !shows_lines() || (!end[1] && (last ? !end[2] && !end[3] : end[2] != 0));
}

static enum MHD_Result check_request_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                            size_t name_len, const char *value, size_t len)
{
    struct headers *h = arg;
    (void)kind;
    h->bad_name |= !is_header_token(name, name_len);
    h->bad_line |= value && has_control(value, len);
    h->bad_line |= h->end && !ends_well(h->end, false);
    h->end = value ? value + len : NULL;
    for (size_t i = 0; i < N_SINGLES; i++) {
        if (strcasecmp(name, single_names[i]) != 0)
            continue;
        h->repeated |= h->single[i] != NULL;
        h->single[i] = value ? value : "";
    }
    return MHD_YES;
}

// --- the host ---

// The length of the part before the port; 0 if brackets do not enclose an address.
static size_t host_len(const char *host)
{
    if (*host != '[')
        return strcspn(host, ":");
    size_t n = 1 + strspn(host + 1, "0123456789abcdefABCDEF:.");
    return n > 1 && host[n] == ']' ? n + 1 : 0;
}

bool spy_strict_host_is_good(const char *host)
{
    size_t n = host_len(host);
    const char *port = host + n;
    for (size_t i = 0; i < n && *host != '['; i++)
        if (!isalnum((unsigned char)host[i]) && !strchr("-._~", host[i]))
            return false;
    return n > 0 && (!*port || (*port == ':' && port[1 + strspn(port + 1, "0123456789")] == 0));
}

// --- another site's page ---

static bool is_other_site(const struct headers *h)
{
    const char *site = h->single[SITE], *origin = h->single[ORIGIN];
    if (site && strcasecmp(site, "same-origin") != 0 && strcasecmp(site, "none") != 0)
        return true;
    return origin && (strncasecmp(origin, "http://", 7) != 0 ||
                      strcasecmp(origin + 7, h->single[HOST] ? h->single[HOST] : "") != 0);
}

// --- all of it ---

static struct spy_fault bad_request(const char *message, const char *hint)
{
    return (struct spy_fault){400, message, hint};
}

static struct spy_fault check_host(const char *host, const char *version)
{
    static const char hint[] = "send one 'Host: NAME' or 'Host: NAME:PORT'";
    if (!host)
        return strcmp(version, MHD_HTTP_VERSION_1_1) != 0
                   ? (struct spy_fault){0}
                   : bad_request("there is no Host header", hint);
    return spy_strict_host_is_good(host) ? (struct spy_fault){0}
                                         : bad_request("the Host header is malformed", hint);
}

static struct spy_fault check_length(const struct headers *h)
{
    if (h->single[LENGTH] && h->single[CODING])
        return bad_request("Content-Length and Transfer-Encoding are both present",
                           "send one of them");
    if (h->single[CODING] && strcasecmp(h->single[CODING], "chunked") != 0)
        return bad_request("the only Transfer-Encoding accepted is chunked",
                           "send a Content-Length, or 'Transfer-Encoding: chunked'");
    return (struct spy_fault){0};
}

struct spy_fault spy_strict_check(struct MHD_Connection *c, const char *version, bool bad_target,
                                  bool local)
{
    struct headers h = {0};
    struct spy_fault f = {0};
    if (bad_target)
        return bad_request("the request's target holds a control character, a space or a stray '%'",
                           "write a '%' as %25 and a space as %20");
    MHD_get_connection_values_n(c, MHD_HEADER_KIND, check_request_header, &h);
    h.bad_line |= h.end && !ends_well(h.end, true);
    if (h.bad_name)
        return bad_request("a header's name is malformed", "no space may stand before the colon");
    if (h.bad_line)
        return bad_request("a header line is malformed",
                           "lines end with CR LF and hold no control characters");
    if (h.repeated)
        return bad_request("a header that may appear once is repeated",
                           "Host, Content-Length, Transfer-Encoding, Authorization, Content-Type, "
                           "Content-Encoding, Origin and Sec-Fetch-Site may appear once");
    f = check_length(&h);
    if (!f.status)
        f = check_host(h.single[HOST], version);
    if (!f.status && local && is_other_site(&h))
        f = (struct spy_fault){403, "the plain listener refuses requests from another site's page",
                               "open the address by itself, not from a page of another site"};
    return f;
}
