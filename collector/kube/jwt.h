// jwt.h - what a JSON Web Token says of itself. Nothing here is verified: use it to choose which
// question to ask the API server, and to refuse early what the server would refuse; never to let
// anybody in. Any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct spy_jwt {
    bool names_audience; // its aud holds the audience given
    int64_t expires;     // Unix seconds; 0: it does not say
};

// False: the text does not have the form of a JWT (RFC 7519), or is longer than
// SPY_KUBEAPI_TOKEN_MAX bytes.
bool spy_jwt_read(const char *token, const char *audience, struct spy_jwt *ret);
