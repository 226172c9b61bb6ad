// jwt.h - what a JSON Web Token says of itself. Nothing here is verified: good for choosing which
// question to ask the API server, and for ending early what it could only refuse; never for
// letting anybody in. Any thread.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct spy_jwt {
    bool names_audience; // its aud holds the audience that was asked for
    int64_t expires;     // Unix seconds; 0: it does not say
};

// False: not a JWT (RFC 7519) by its form. At most SPY_KUBEAPI_TOKEN_MAX bytes are looked at.
bool spy_jwt_read(const char *token, const char *audience, struct spy_jwt *ret);
