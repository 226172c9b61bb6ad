// trust.h - what libcurl with GnuTLS leaves out when it verifies a server. Inside of shared/http.
//
// libcurl checks the chain, the dates and the name of a server's certificate. Its GnuTLS backend
// does not check the purpose (gtls.c of 7.88 calls gnutls_certificate_verify_peers2, which has no
// parameter for it), so a
// certificate that the same authority issued to a client would pass for a server of that name. RFC
// 5280, 4.2.1.12: a certificate that names purposes is valid for these only. libcurl's OpenSSL
// backend checks the purpose itself (X509_PURPOSE_SSL_SERVER, a default of SSL_connect).
#pragma once
#include <curl/curl.h>

// Ends requests of c with CURLE_ABORTED_BY_CALLBACK if the server's certificate is not for servers,
// before any header or token is sent. Needs libcurl 7.80; sets CURLOPT_PREREQFUNCTION. Requests
// without TLS are not affected. Call it on the thread that uses c, and again after curl_easy_reset.
CURLcode spy_trust_servers_only(CURL *c);

// The reason to give for that code.
#define SPY_TRUST_NOT_A_SERVER                                                                     \
    "the server's certificate is not for servers: its extended key usage lacks serverAuth"
