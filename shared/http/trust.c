#include "shared/http/trust.h"
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <strings.h>

static bool is_for_servers(gnutls_session_t session)
{
    static char purpose[] = GNUTLS_KP_TLS_WWW_SERVER;
    gnutls_typed_vdata_st data = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                  .data = (unsigned char *)purpose};
    unsigned status = GNUTLS_CERT_INVALID;
    return gnutls_certificate_verify_peers(session, &data, 1, &status) == 0 && status == 0;
}

static bool is_encrypted(CURL *c)
{
    char *scheme = NULL; // "HTTPS"; of the URL, not of a proxy
    return curl_easy_getinfo(c, CURLINFO_SCHEME, &scheme) != CURLE_OK || !scheme ||
           strcasecmp(scheme, "http") != 0;
}

// After the handshake and before each request, also on a connection that is used again.
static int check_server(void *arg, char *to, char *from, int to_port, int from_port)
{
    const struct curl_tlssessioninfo *tls = NULL;
    (void)to, (void)from, (void)to_port, (void)from_port;
    if (!is_encrypted(arg))
        return CURL_PREREQFUNC_OK;
    if (curl_easy_getinfo(arg, CURLINFO_TLS_SSL_PTR, &tls) != CURLE_OK || !tls)
        return CURL_PREREQFUNC_ABORT;
    if (tls->backend == CURLSSLBACKEND_OPENSSL)
        return CURL_PREREQFUNC_OK;
    bool ok =
        tls->backend == CURLSSLBACKEND_GNUTLS && tls->internals && is_for_servers(tls->internals);
    return ok ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

CURLcode spy_trust_servers_only(CURL *c)
{
    CURLcode r = curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, check_server);
    return r == CURLE_OK ? curl_easy_setopt(c, CURLOPT_PREREQDATA, c) : r;
}
