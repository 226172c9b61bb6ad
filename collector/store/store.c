#include "collector/store/store.h"
#include "shared/base/mem.h"
#include <string.h>

static const struct spy_store_backend *const backends[] = {&spy_store_sqlite,
                                                           &spy_store_clickhouse};

const struct spy_profile_caps spy_store_query_caps = {.strings = 4 << 20,
                                                      .functions = 2 << 20,
                                                      .frames = 4 << 20,
                                                      .stacks = 16 << 20,
                                                      .threads = 1 << 20,
                                                      .series = 200000,
                                                      .samples = SPY_STORE_ROWS_MAX,
                                                      .string_bytes = 256 << 20};

static int find_backend(const char *kind, const struct spy_store_backend **ret, struct spy_err *err)
{
    for (size_t i = 0; i < SPY_COUNT(backends); i++)
        if (!strcmp(backends[i]->kind, kind)) {
            *ret = backends[i];
            return 0;
        }
    return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0, "there is no store of the kind '%s'", kind);
}

int spy_store_open(const char *kind, const char *dir, uint32_t max_series, size_t memory,
                   struct spy_store **ret, struct spy_err *err)
{
    const struct spy_store_backend *b;
    int r = find_backend(kind, &b, err);
    return r < 0 ? r : b->open(dir, max_series, memory, ret, err);
}

int spy_store_verify_dir(const char *kind, const char *dir, struct spy_err *err)
{
    const struct spy_store_backend *b;
    int r = find_backend(kind, &b, err);
    return r < 0 ? r : b->verify_dir(dir, err);
}

int spy_store_backup_dir(const char *kind, const char *dir, const char *to, struct spy_err *err)
{
    const struct spy_store_backend *b;
    int r = find_backend(kind, &b, err);
    if (r < 0)
        return r;
    if (!b->backup_dir)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "a store of the kind '%s' is backed up by its own server", kind);
    return b->backup_dir(dir, to, err);
}

void spy_store_keep(struct spy_store *s, const struct spy_store_levels *levels)
{
    if (s->backend->keep)
        s->backend->keep(s, levels);
}

void spy_store_close(struct spy_store *s)
{
    if (s)
        s->backend->close(s);
}

int spy_store_append(struct spy_store *s, struct spy_profile *const *profiles, size_t n,
                     size_t *ret_known, bool *ret_is_known, struct spy_err *err)
{
    return s->backend->append(s, profiles, n, ret_known, ret_is_known, err);
}

int spy_store_query(struct spy_store *s, const struct spy_select *select, struct spy_profile *into,
                    struct spy_err *err)
{
    return s->backend->query(s, select, into, err);
}

int spy_store_windows(struct spy_store *s, const struct spy_select *select, uint64_t step_ns,
                      struct spy_profile *into, spy_store_window_fn fn, void *arg,
                      struct spy_err *err)
{
    return s->backend->windows(s, select, step_ns, into, fn, arg, err);
}

int spy_store_processes(struct spy_store *s, const struct spy_select *select,
                        spy_store_process_fn fn, void *arg, struct spy_err *err)
{
    return s->backend->processes(s, select, fn, arg, err);
}

int spy_store_expire(struct spy_store *s, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                     struct spy_err *err)
{
    return s->backend->expire(s, now_ns, raw_ns, max_bytes, err);
}

int spy_store_now(struct spy_store *s, uint64_t real_ns, uint64_t mono_ns, uint64_t *ret_ns,
                  struct spy_err *err)
{
    return s->backend->now(s, real_ns, mono_ns, ret_ns, err);
}

int spy_store_check(struct spy_store *s, struct spy_err *err)
{
    return s->backend->check(s, err);
}

int spy_store_verify(struct spy_store *s, unsigned max_secs, struct spy_err *err)
{
    return s->backend->verify(s, max_secs, err);
}
