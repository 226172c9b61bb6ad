// /proc/PID/cgroup: any bytes give an id of 64 hex digits or none, and a pod uid or none.
#include "agent/discover/cgroup.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_cgroup c;
    spy_cgroup_parse((const char *)data, size, &c);
    size_t id = strlen(c.container_id), uid = strlen(c.pod_uid);
    if ((id != 0 && id != 64) || (uid != 0 && uid != 32 && uid != 36))
        abort();
    if (strspn(c.container_id, "0123456789abcdef") != id ||
        strspn(c.pod_uid, "0123456789abcdef-") != uid)
        abort();
    if (!!id != (c.runtime != SPY_RUNTIME_NONE))
        abort();
    return 0;
}
