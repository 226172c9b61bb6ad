// A token as a client sends it.
#include "collector/kube/jwt.h"
#include "fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char token[20000];
    struct spy_jwt jwt = {.expires = 7};
    if (size >= sizeof token)
        return 0;
    memcpy(token, data, size);
    token[size] = 0;
    bool is_jwt = spy_jwt_read(token, "podspy-collector", &jwt);
    MUST(is_jwt || (jwt.expires == 7 && !jwt.names_audience)); // untouched on failure
    return 0;
}
