#include "agent/target/maps_load.h"
#include "agent/target/still.h"
#include "shared/base/file.h"

enum { BYTES_MAX = 32 << 20 };

static int copy_maps(const struct spy_maps *from, struct spy_maps *ret)
{
    struct spy_maps m = {0};
    int r = 0;
    for (size_t i = 0; r == 0 && i < from->n; i++)
        r = spy_maps_add(&m, &from->list[i], spy_maps_path(from, &from->list[i]));
    if (r < 0)
        spy_maps_free(&m);
    else
        *ret = m;
    return r;
}

int spy_maps_load(const struct spy_target *t, struct spy_maps *ret, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(BYTES_MAX);
    if (spy_target_still(t))
        return copy_maps(&spy_target_still(t)->maps, ret) < 0 ? spy_err_nomem(err) : 0;
    char path[32];
    int r = spy_file_read(spy_target_proc_fd(t), spy_target_file(t, "maps", path, sizeof path),
                          &text, err);
    if ((r == SPY_ERR_GONE || (r == 0 && !text.len)) && spy_target_find_memory(t) == 0)
        r = spy_file_read(spy_target_proc_fd(t), spy_target_file(t, "maps", path, sizeof path),
                          &text, err);
    if (r == SPY_ERR_DENIED)
        return spy_target_explain_denied(t, err);
    if (r < 0)
        return r;
    if (!text.len) // no memory: a zombie or a kernel thread
        return spy_target_explain_denied(t, err);
    r = spy_maps_parse((char *)text.data, ret);
    if (r < 0)
        return spy_err_set(err, r, 0, "process %d has too many mappings", (int)spy_target_pid(t));
    return 0;
}
