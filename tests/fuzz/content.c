// Accept-Encoding and If-None-Match as a client sends them: a coding is chosen that was not
// refused.
#include "collector/http/content.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *header = malloc(size + 1);
    MUST(header);
    memcpy(header, data, size);
    header[size] = 0;
    enum spy_encoding e = spy_content_choose(header);
    MUST(e == SPY_ENCODING_IDENTITY || strlen(header) >= 1);
    MUST(e != SPY_ENCODING_ZSTD || strcasestr(header, "zstd"));
    MUST(e != SPY_ENCODING_GZIP || strcasestr(header, "gzip") || strchr(header, '*'));
    if (spy_content_is_known(header, "\"abc\""))
        MUST(strchr(header, '*') || strstr(header, "\"abc\""));
    MUST(!spy_content_is_known(header, ""));
    free(header);
    return 0;
}
