#include "collector/kube/jwt.h"
#include "collector/kube/kubeapi.h"
#include "shared/base/mem.h"
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

enum { PAYLOAD_MAX = SPY_KUBEAPI_TOKEN_MAX };

// The middle of three parts, from base64url (RFC 4648, 5) to base64 with its padding.
static char *decode_payload(const char *token, size_t *ret_len)
{
    const char *first = strchr(token, '.');
    const char *second = first ? strchr(first + 1, '.') : NULL;
    if (!second || strchr(second + 1, '.') || strlen(token) >= SPY_KUBEAPI_TOKEN_MAX)
        return NULL;
    size_t len = (size_t)(second - first - 1);
    char *text = malloc(len + 4);
    if (!text || !len || len > PAYLOAD_MAX) {
        free(text);
        return NULL;
    }
    for (size_t i = 0; i < len; i++) {
        char c = first[1 + i];
        text[i] = c == '-' ? '+' : c == '_' ? '/' : c;
    }
    while (len % 4)
        text[len++] = '=';
    *ret_len = len;
    return text;
}

static bool names_audience(const json_t *aud, const char *audience)
{
    const char *one = json_string_value(aud);
    if (one)
        return !strcmp(one, audience);
    for (size_t i = 0; i < json_array_size(aud); i++) {
        one = json_string_value(json_array_get(aud, i));
        if (one && !strcmp(one, audience))
            return true;
    }
    return false;
}

bool spy_jwt_read(const char *token, const char *audience, struct spy_jwt *ret)
{
    size_t len = 0;
    _cleanup_free_ char *text = decode_payload(token, &len);
    gnutls_datum_t in = {(unsigned char *)text, (unsigned)len}, out = {0};
    if (!text || gnutls_base64_decode2(&in, &out) < 0)
        return false;
    json_t *root = json_loadb((const char *)out.data, out.size, 0, NULL);
    gnutls_free(out.data);
    if (json_is_object(root))
        *ret = (struct spy_jwt){.names_audience =
                                    names_audience(json_object_get(root, "aud"), audience),
                                .expires = json_integer_value(json_object_get(root, "exp"))};
    bool ok = json_is_object(root);
    json_decref(root);
    return ok;
}
