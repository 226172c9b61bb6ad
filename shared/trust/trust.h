// trust.h - what libcurl with GnuTLS leaves out when it judges a server.
//
// libcurl checks the chain, the dates and the name of a server's certificate. Its GnuTLS backend
// does not look at the purpose (gtls.c of 7.88: gnutls_certificate_verify_peers2 takes none), so a
// certificate that the same authority made for a client would do for a server of that name. RFC
// 5280, 4.2.1.12: where a certificate names purposes, it is for these only. libcurl's OpenSSL
// backend checks it by itself (X509_PURPOSE_SSL_SERVER, a default of SSL_connect).
#pragma once
#include <curl/curl.h>

// Lets requests of c end before anything of them is sent (no header, no token) where the server's
// certificate is not for servers: CURLE_ABORTED_BY_CALLBACK. Needs libcurl 7.80; takes
// CURLOPT_PREREQFUNCTION. Requests without TLS are not touched. To be called on the thread that
// uses c, and again after curl_easy_reset.
CURLcode spy_trust_servers_only(CURL *c);

// What to say for that code.
#define SPY_TRUST_NOT_A_SERVER                                                                     \
    "the server's certificate is not for servers: its extended key usage lacks serverAuth"
