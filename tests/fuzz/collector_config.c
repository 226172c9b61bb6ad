// Any text is a configuration within its ranges, or an error whose message names the file.
#include "collector/config/collector_config.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_collector_config c;
    struct spy_err err = {0};
    int r = spy_collector_config_parse("file.yaml", (const char *)data, size, &c, &err);
    MUST(r == 0 || (r == err.code && !strncmp(err.msg, "file.yaml", 9)));
    if (r == 0) {
        MUST(c.limits.body_mib >= 1 && c.limits.body_mib <= 256);
        MUST(c.listen.https && c.store.dir && c.retention.raw_ns >= 60000000000);
        spy_collector_config_free(&c);
    }
    return 0;
}
