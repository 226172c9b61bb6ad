// enroll.c - podspy-collector --enroll FOLDER: hands an agent what it needs of the collector's data
// folder, and no more. The store, the authority's key and the read token stay behind.
#include "collector/cli/collector.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>

enum { FILE_MAX = 1 << 20, GROUP_READS = 0640 };

static int copy_credential(const char *from_dir, const char *to_dir, const char *name,
                           struct spy_err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    _cleanup_buf_ struct spy_buf data = SPY_BUF_INIT(FILE_MAX);
    if (snprintf(from, sizeof from, "%s/%s", from_dir, name) >= PATH_MAX ||
        snprintf(to, sizeof to, "%s/%s", to_dir, name) >= PATH_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, ENAMETOOLONG, "cannot copy %s", name);
    int r = spy_file_read(AT_FDCWD, from, &data, err);
    if (r < 0 || !data.len)
        return spy_err_set(err, SPY_ERR_NOTFOUND, 0,
                           "%.150s is not there yet: is the collector up?", from);
    return spy_file_write_atomic(to, data.data, data.len, GROUP_READS, err);
}

int spy_collector_enroll(const struct spy_collector_config *config, const char *folder,
                         struct spy_err *err)
{
    int r = copy_credential(config->store.dir, folder, "ca.pem", err);
    if (r == 0)
        r = copy_credential(config->store.dir, folder, "ingest.token", err);
    if (r == 0)
        fprintf(stderr, "podspy-collector: ca.pem and ingest.token are in %s\n", folder);
    return r;
}
