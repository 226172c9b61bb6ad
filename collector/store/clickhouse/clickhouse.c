#include "collector/store/clickhouse/click.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { GROUP_BYTES = 16 << 20 };       // of profiles in one insert
#define FAILED_NS (5 * SPY_NS_PER_SEC) // how long a failed append makes the store unready

int spy_click_prepare(struct spy_click *s, struct spy_err *err)
{
    if (__atomic_load_n(&s->has_schema, __ATOMIC_ACQUIRE))
        return 0;
    pthread_mutex_lock(&s->schema_lock);
    int r = s->has_schema ? 0 : spy_click_schema_make(s->link, err);
    __atomic_store_n(&s->has_schema, r == 0, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&s->schema_lock);
    return r;
}

static void close_click(struct spy_store *store)
{
    struct spy_click *s = (struct spy_click *)store;
    spy_click_link_free(s->link);
    spy_idset_free(&s->written);
    pthread_mutex_destroy(&s->schema_lock);
    spy_batch_queue_destroy(&s->queue);
    pthread_mutex_destroy(&s->write_lock);
    pthread_mutex_destroy(&s->expire_lock);
    free(s);
}

static int new_click(const char *text, uint32_t max_series, size_t memory, struct spy_click **ret,
                     struct spy_err *err)
{
    struct spy_click_place place;
    int r = spy_click_place_parse(text, &place, err);
    if (r < 0)
        return r;
    struct spy_click *s = calloc(1, sizeof *s);
    if (!s)
        return spy_err_nomem(err);
    s->base.backend = &spy_store_clickhouse;
    s->max_series = max_series;
    s->memory = spy_min(memory, SPY_STORE_MEMORY_MAX);
    pthread_mutex_init(&s->schema_lock, NULL);
    spy_batch_queue_init(&s->queue, GROUP_BYTES);
    pthread_mutex_init(&s->write_lock, NULL);
    pthread_mutex_init(&s->expire_lock, NULL);
    r = spy_click_link_new(&place, &s->link, err);
    if (r < 0)
        close_click(&s->base);
    else
        *ret = s;
    return r;
}

// A ClickHouse that is away may come: the store is open, and not ready.
static int open_click(const char *place, uint32_t max_series, size_t memory, struct spy_store **ret,
                      struct spy_err *err)
{
    struct spy_click *s = NULL;
    struct spy_err mine = {0};
    int r = new_click(place, max_series, memory, &s, err);
    if (r < 0)
        return r;
    r = spy_click_prepare(s, &mine);
    if (r < 0 && r != SPY_ERR_AGAIN) {
        if (err)
            *err = mine;
        close_click(&s->base);
        return r;
    }
    *ret = &s->base;
    return 0;
}

static int verify_place(const char *place, struct spy_err *err)
{
    struct spy_click *s = NULL;
    int r = new_click(place, 0, 0, &s, err);
    if (r < 0)
        return r;
    r = spy_click_schema_check(s->link, err);
    if (r == 0) {
        s->has_schema = true;
        r = spy_click_verify(&s->base, 0, err);
    }
    close_click(&s->base);
    return r;
}

static int write_check(struct spy_click *s, unsigned id, uint64_t at_ns, struct spy_err *err)
{
    enum { SECS = 5 };
    _cleanup_buf_ struct spy_buf row = SPY_BUF_INIT(64);
    spy_rowbin_put(&row, id, 2);
    spy_rowbin_put(&row, at_ns, 8);
    return spy_click_call(
        s->link,
        &(struct spy_click_call){
            .sql = "INSERT INTO checks (id, at_ns) FORMAT RowBinary", .rows = &row, .secs = SECS},
        err);
}

static int check_click(struct spy_store *store, struct spy_err *err)
{
    struct spy_click *s = (struct spy_click *)store;
    bool is_recent;
    int last = spy_batch_last_result(&s->queue, FAILED_NS, &is_recent);
    int r = spy_click_prepare(s, err);
    if (r == 0)
        r = write_check(s, 1, spy_clock_real_ns(), err);
    if (r == 0 && is_recent)
        r = spy_err_set(err, last, 0, "ClickHouse did not take the latest profiles");
    return r;
}

static int get_click_time(struct spy_store *store, uint64_t real_ns, uint64_t mono_ns,
                          uint64_t *ret_ns, struct spy_err *err)
{
    struct spy_click *s = (struct spy_click *)store;
    uint64_t newest = 0, trusted = 0;
    int r = spy_click_prepare(s, err);
    if (r == 0)
        r = spy_click_number(s->link, "SELECT toUInt64(max(end_ns)) FROM windows FORMAT RowBinary",
                             &newest, err);
    pthread_mutex_lock(&s->write_lock);
    if (r == 0 && !s->clock.trusted_ns)
        r = spy_click_number(s->link,
                             "SELECT toUInt64(max(at_ns)) FROM checks WHERE id = 2 "
                             "FORMAT RowBinary",
                             &trusted, err);
    if (r == 0) {
        *ret_ns =
            spy_retention_now(&s->clock, real_ns, mono_ns, newest > trusted ? newest : trusted);
        write_check(s, 2, s->clock.trusted_ns, NULL); // on a full disk it is lost at the end
    }
    pthread_mutex_unlock(&s->write_lock);
    return r;
}

const struct spy_store_backend spy_store_clickhouse = {
    .kind = "clickhouse",
    .open = open_click,
    .verify_dir = verify_place,
    .close = close_click,
    .append = spy_click_append,
    .query = spy_click_query,
    .windows = spy_click_windows,
    .processes = spy_click_processes,
    .expire = spy_click_expire,
    .now = get_click_time,
    .check = check_click,
    .verify = spy_click_verify,
    .keep = spy_click_keep,
};
