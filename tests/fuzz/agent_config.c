// Any text is a configuration within its ranges, or an error whose message names the file.
#include "agent/config/agent_config.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_agent_config c;
    struct spy_err err = {0};
    int r = spy_agent_config_parse("file.yaml", (const char *)data, size, &c, &err);
    MUST(r == 0 || (r == err.code && !strncmp(err.msg, "file.yaml", 9)));
    if (r == 0) {
        MUST(c.sampling.rate >= 1 && c.sampling.rate <= 1000);
        MUST(c.push.interval_ns >= 1000000000 && c.push.spool_dir);
        MUST(c.discovery.n_processes <= 1024);
        for (size_t i = 0; i < c.discovery.n_processes; i++)
            MUST(c.discovery.processes[i].name && c.discovery.processes[i].line > 0);
        spy_agent_config_free(&c);
    }
    return 0;
}
