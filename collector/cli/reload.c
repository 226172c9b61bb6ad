// reload.c - the configuration file, read again while the collector runs: how long data is kept is
// applied, and all other changes are named, as they need a restart.
#include "collector/cli/collector.h"
#include "shared/base/buf.h"
#include "shared/base/clock.h"
#include "shared/base/log.h"
#include <string.h>

int64_t spy_reload_is_current = 1;
enum { NAMES_MAX = 2000 };

struct changes {
    const struct spy_collector_config *fresh;
    struct spy_buf later; // names of the keys that need a restart
    bool retention;
};

static void note_change(void *changes, const char *key)
{
    struct changes *c = changes;
    if (!strncmp(key, "retention.", strlen("retention."))) {
        c->retention = true;
        return;
    }
    if (!strcmp(key, "auth.kubernetes.agent") && !c->fresh->auth.kubernetes.agent)
        return; // the start filled it in
    spy_buf_puts(&c->later, c->later.len ? ", " : "");
    spy_buf_puts(&c->later, key);
}

// The thread that drops old data reads these, so it ends before they change.
static void apply_retention(struct spy_collector *c, const struct spy_collector_config *fresh)
{
    struct spy_err err = {0};
    spy_every_free(c->retention);
    c->retention = NULL;
    c->config.retention.raw_ns = fresh->retention.raw_ns;
    c->config.retention.minutes_ns = fresh->retention.minutes_ns;
    c->config.retention.hours_ns = fresh->retention.hours_ns;
    spy_ingest_set_retention(c->ingest, fresh->retention.minutes_ns);
    __atomic_store_n(&c->config.retention.max_gib, fresh->retention.max_gib, __ATOMIC_RELAXED);
    if (spy_collector_start_retention(c, &err) < 0)
        spy_log(SPY_LOG_ERROR, "old data is not dropped any more: restart the collector",
                SPY_S("error", err.msg));
    else
        spy_log(SPY_LOG_INFO, "how long data is kept has changed",
                SPY_I("raw_seconds", fresh->retention.raw_ns / SPY_NS_PER_SEC),
                SPY_I("minutes_seconds", fresh->retention.minutes_ns / SPY_NS_PER_SEC),
                SPY_I("hours_seconds", fresh->retention.hours_ns / SPY_NS_PER_SEC),
                SPY_I("max_gib", fresh->retention.max_gib));
}

void spy_collector_reconfigure(struct spy_collector *c, const struct spy_collector_config *fresh,
                               const struct spy_err *err)
{
    struct changes changes = {.fresh = fresh, .later = SPY_BUF_INIT(NAMES_MAX)};
    if (!fresh) {
        spy_log(SPY_LOG_ERROR, "the configuration is refused; the previous one stays in use",
                SPY_S("error", err->msg));
        spy_gauge_set(&spy_reload_is_current, 0);
        return;
    }
    spy_collector_config_compare(&c->config, fresh, note_change, &changes);
    if (changes.retention && fresh->store.kind == c->config.store.kind) // not that of another store
        apply_retention(c, fresh);
    if (changes.later.len)
        spy_log(SPY_LOG_WARN, "these changes of the configuration need a restart",
                SPY_S("keys", spy_buf_str(&changes.later)));
    spy_gauge_set(&spy_reload_is_current, !changes.later.len);
    spy_buf_free(&changes.later);
}

bool spy_config_has_changed(const char *path, struct spy_file_id *last)
{
    struct spy_file_id now = spy_file_id_of(path);
    if (spy_file_id_is_none(&now) || spy_file_id_equal(&now, last))
        return false;
    *last = now;
    return true;
}
