// The target and the Host of a request, as clients send them: the first line and the rest.
#include "collector/http/strict.h"
#include "tests/fuzz/fuzz.h"
#include <ctype.h>
#include <string.h>

// What libmicrohttpd makes of a target that was taken: no NUL may be in it.
static void expect_no_nul(const char *target)
{
    for (const char *p = strchr(target, '%'); p; p = strchr(p + 1, '%'))
        MUST(isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2]) &&
             strncmp(p, "%00", 3) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *host = text;
    MUST(text);
    memcpy(text, data, size);
    text[size] = 0;
    const char *target = strsep(&host, "\n");
    if (spy_strict_target_is_good(target))
        expect_no_nul(target);
    if (host && spy_strict_host_is_good(host))
        MUST(*host && !strpbrk(host, " \t\r\n@/?#\\") &&
             (strchr(host, '[') == NULL) == (strchr(host, ']') == NULL));
    free(text);
    return 0;
}
