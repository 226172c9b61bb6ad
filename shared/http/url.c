#include "shared/http/url.h"
#include "shared/base/mem.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

static bool is_loopback(const char *host)
{
    struct in_addr four;
    return !strcasecmp(host, "localhost") || !strcmp(host, "[::1]") ||
           (inet_pton(AF_INET, host, &four) == 1 && ntohl(four.s_addr) >> 24 == 127);
}

static const char *find_fault(const char *scheme, const char *host, const char *path, bool extra)
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

static bool has_part(CURLU *u, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return has;
}

const char *spy_url_server_fault(const char *url)
{
    CURLU *u = curl_url();
    if (!u)
        return "there is no memory to read it";
    char *scheme = NULL, *host = NULL, *path = NULL;
    const char *fault = "it is not a URL";
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK)
        fault = find_fault(scheme, host, path,
                           has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD) ||
                               has_part(u, CURLUPART_QUERY) || has_part(u, CURLUPART_FRAGMENT));
    curl_free(scheme);
    curl_free(host);
    curl_free(path);
    curl_url_cleanup(u);
    return fault;
}

int spy_url_put_value(struct spy_buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 128 && (isalnum(c) || strchr("-._~", c)))
            spy_buf_putc(out, *p);
        else
            spy_buf_printf(out, "%%%02X", c);
    }
    return out->failed;
}
