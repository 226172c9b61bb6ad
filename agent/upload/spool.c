#include "agent/upload/spool.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/base/mem.h"
#include "shared/base/metrics.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW       ".window"
#define BAD          ".window.bad"
#define TEMPORARY    ".tmp." // see spy_file_write_atomic
#define LOSSES       "losses"
#define NAME_MAX_LEN 64
#define LOG_EVERY_NS (60 * SPY_NS_PER_SEC)
enum { DIGITS = 20, BLOCK = 4096, ENTRIES_MAX = 1 << 24 };

struct entry {
    uint64_t seq, bytes;
};

struct list {
    struct entry *rows; // by seq
    size_t n, cap;
};

struct spy_spool {
    char dir[PATH_MAX - NAME_MAX_LEN];
    int dir_fd, lock_fd;
    uint64_t max, used, next_seq;
    uint64_t in_flight; // seq; 0: none
    struct list windows, bad;
    struct spy_losses losses;
    uint64_t generation; // of the losses on disk; 0: none there
    uint64_t last_dropped;
    bool unsaved; // the losses in memory are not those on disk
};

struct spy_spool_counts spy_spool_counts;

// --- names and lists ---

static const char *name_of(uint64_t seq, const char *suffix, char buf[NAME_MAX_LEN])
{
    snprintf(buf, NAME_MAX_LEN, "%020llu%s", (unsigned long long)seq, suffix);
    return buf;
}

static void path_of(const struct spy_spool *s, const char *name, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", s->dir, name);
}

static uint64_t round_to_block(uint64_t bytes)
{
    return (bytes + BLOCK - 1) / BLOCK * BLOCK;
}

static int push_entry(struct list *l, struct entry e)
{
    int r = spy_grow(&l->rows, &l->cap, l->n + 1, sizeof *l->rows, ENTRIES_MAX);
    if (r == 0)
        l->rows[l->n++] = e;
    return r;
}

static size_t find_spooled(const struct list *l, uint64_t seq)
{
    size_t i = 0;
    while (i < l->n && l->rows[i].seq != seq) // nearly always the first
        i++;
    return i;
}

static void show_counts(const struct spy_spool *s)
{
    spy_gauge_set(&spy_spool_counts.windows, (int64_t)s->windows.n);
    spy_gauge_set(&spy_spool_counts.bytes, (int64_t)s->used);
}

static void forget_entry(struct spy_spool *s, struct list *l, size_t i)
{
    s->used -= l->rows[i].bytes;
    memmove(l->rows + i, l->rows + i + 1, (l->n - i - 1) * sizeof *l->rows);
    l->n--;
    show_counts(s);
}

static void delete_at(struct spy_spool *s, struct list *l, size_t i)
{
    char buf[NAME_MAX_LEN];
    const char *name = name_of(l->rows[i].seq, l == &s->bad ? BAD : WINDOW, buf);
    unlinkat(s->dir_fd, name, 0);
    forget_entry(s, l, i);
}

// --- the losses on disk ---

static int rows_of_losses(const struct spy_losses *l, struct spy_spool_row **ret)
{
    struct spy_spool_row *rows = calloc(l->n + 1, sizeof *rows);
    if (!rows)
        return SPY_ERR_NOMEM;
    for (size_t i = 0; i < l->n; i++)
        rows[i] = (struct spy_spool_row){.samples = l->rows[i].samples,
                                         .labels = l->rows[i].labels,
                                         .labels_len = l->rows[i].len};
    *ret = rows;
    return 0;
}

// The file of losses has the form of a window; its body is the seq dropped last.
static int write_losses(struct spy_spool *s, uint64_t generation)
{
    _cleanup_free_ struct spy_spool_row *rows = NULL;
    _cleanup_buf_ struct spy_buf file = SPY_BUF_INIT(SPY_SPOOL_FILE_MAX);
    char path[PATH_MAX];
    path_of(s, LOSSES, path);
    int r = rows_of_losses(&s->losses, &rows);
    if (r == 0)
        r = spy_spool_pack(rows, s->losses.n, generation, &s->last_dropped, sizeof s->last_dropped,
                           &file, NULL);
    return r < 0 ? r : spy_file_write_atomic(path, file.data, file.len, 0600, NULL);
}

// If that fails, the losses stay in memory and are written later.
void spy_spool_save(struct spy_spool *s)
{
    uint64_t generation = 0;
    if (!s->losses.n) {
        s->unsaved = unlinkat(s->dir_fd, LOSSES, 0) < 0 && errno != ENOENT;
        s->generation = s->unsaved ? s->generation : 0;
        return;
    }
    if (spy_random_bytes(&generation, sizeof generation) < 0 || !generation)
        generation = spy_clock_real_ns();
    s->unsaved = write_losses(s, generation) < 0;
    if (!s->unsaved)
        s->generation = generation;
}

static void add_loss(struct spy_spool *s, const struct spy_spool_row *row, uint64_t samples)
{
    if (spy_losses_add(&s->losses, row->labels, row->labels_len, samples) < 0)
        spy_log(SPY_LOG_ERROR, "out of memory: lost samples are not reported to the collector",
                SPY_I("samples", samples));
    spy_count(&spy_spool_counts.lost_samples, (int64_t)samples);
}

// The samples in a file are lost, and so are the reports of earlier losses in it.
static void lose_rows(struct spy_spool *s, uint64_t seq, const struct spy_spool_view *v)
{
    for (size_t i = 0; i < v->n_rows; i++) {
        add_loss(s, &v->rows[i], v->rows[i].samples);
        if (spy_losses_add(&s->losses, v->rows[i].labels, v->rows[i].labels_len, v->rows[i].lost))
            spy_log(SPY_LOG_ERROR, "out of memory: lost samples are not reported to the collector",
                    SPY_I("samples", v->rows[i].lost));
    }
    s->last_dropped = seq;
    spy_spool_save(s);
}

// --- reading a file ---

// 0, SPY_ERR_TORN and SPY_ERR_INVALID as spy_spool_unpack; SPY_ERR_GONE; SPY_ERR_AGAIN when it is
// not the file's fault.
static int load(const struct spy_spool *s, const char *name, struct spy_buf *data,
                struct spy_spool_view *v, struct spy_err *err)
{
    int r = spy_file_read(s->dir_fd, name, data, err);
    if (r == SPY_ERR_LIMIT || r == SPY_ERR_IO)
        return SPY_ERR_INVALID; // longer than any of ours, or a bad block
    if (r < 0)
        return r == SPY_ERR_GONE ? r : SPY_ERR_AGAIN;
    r = spy_spool_unpack(data->data ? data->data : (const uint8_t *)"", data->len, v, err);
    return r == 0 || r == SPY_ERR_TORN || r == SPY_ERR_NOMEM ? r : SPY_ERR_INVALID;
}

static void drop_at(struct spy_spool *s, size_t i)
{
    _cleanup_buf_ struct spy_buf data = SPY_BUF_INIT(SPY_SPOOL_FILE_MAX);
    _cleanup_(spy_spool_view_free) struct spy_spool_view v = {0};
    char buf[NAME_MAX_LEN];
    const char *name = name_of(s->windows.rows[i].seq, WINDOW, buf);
    int r = load(s, name, &data, &v, NULL);
    if (r < 0 && r != SPY_ERR_TORN)
        spy_log(SPY_LOG_WARN,
                "cannot read a dropped spool file: its samples are not counted as lost",
                SPY_S("file", name), SPY_S("why", spy_code_name(r)));
    lose_rows(s, s->windows.rows[i].seq, &v);
    delete_at(s, &s->windows, i);
}

// --- the bound ---

// Deletes the file that goes first. False when only the file in flight is left.
static bool drop_oldest_batch(struct spy_spool *s)
{
    if (s->bad.n) {
        delete_at(s, &s->bad, 0);
        return true;
    }
    size_t i = s->windows.n && s->windows.rows[0].seq == s->in_flight ? 1 : 0;
    if (i >= s->windows.n)
        return false;
    static uint64_t logged;
    if (spy_log_due(&logged, LOG_EVERY_NS))
        spy_log(SPY_LOG_WARN,
                "the spool is full: the oldest window is dropped, and its samples count as lost",
                SPY_S("folder", s->dir), SPY_I("windows", s->windows.n), SPY_I("bytes", s->used));
    spy_count(&spy_spool_counts.dropped, 1);
    drop_at(s, i);
    return true;
}

static int make_room(struct spy_spool *s, uint64_t need, struct spy_err *err)
{
    if (need > s->max)
        return spy_err_set(err, SPY_ERR_LIMIT, 0,
                           "a window of %llu bytes is larger than the spool: raise push.spool_mib",
                           (unsigned long long)need);
    while (s->used + need > s->max)
        if (!drop_oldest_batch(s))
            return spy_err_set(err, SPY_ERR_LIMIT, 0,
                               "the spool is full: the one window in it is being sent");
    return 0;
}

// --- adding ---

static int pack(struct spy_spool *s, const struct spy_spool_row *rows, size_t n, const void *body,
                size_t len, struct spy_buf *file, struct spy_err *err)
{
    spy_buf_reset(file);
    return spy_spool_pack(rows, n, s->generation, body, len, file, err);
}

// True when the disk is full and an older window was dropped for this one: the newest window is
// worth more.
static bool gave_way(struct spy_spool *s, const struct spy_err *why, uint64_t enough)
{
    bool full = why->sys == ENOSPC || why->sys == EDQUOT;
    return full && s->used > enough && drop_oldest_batch(s);
}

static int write_window(struct spy_spool *s, const struct spy_spool_row *rows, size_t n,
                        const void *body, size_t len, uint64_t *ret_bytes, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf file = SPY_BUF_INIT(SPY_SPOOL_FILE_MAX);
    char buf[NAME_MAX_LEN], path[PATH_MAX];
    const char *name = name_of(s->next_seq, WINDOW, buf);
    path_of(s, name, path);
    int r = pack(s, rows, n, body, len, &file, err);
    if (r == 0)
        r = make_room(s, round_to_block(file.len), err);
    if (r < 0)
        return r;
    uint64_t enough = s->used > 2 * file.len ? s->used - 2 * file.len : 0;
    struct spy_err why;
    do {
        why = (struct spy_err){0};
        r = pack(s, rows, n, body, len, &file, err); // a drop begins another generation
        if (r < 0)
            return r;
        r = spy_file_write_atomic(path, file.data, file.len, 0600, &why);
    } while (r < 0 && gave_way(s, &why, enough));
    if (r < 0)
        return spy_err_set(err, why.code, 0, "%s", why.msg);
    *ret_bytes = round_to_block(file.len);
    return 0;
}

int spy_spool_append(struct spy_spool *s, const struct spy_spool_row *rows, size_t n,
                     const void *body, size_t len, struct spy_err *err)
{
    uint64_t bytes;
    int r = spy_grow(&s->windows.rows, &s->windows.cap, s->windows.n + 1, sizeof(struct entry),
                     ENTRIES_MAX);
    if (r < 0)
        return spy_err_set(err, r, 0, "no memory for one more window in the spool");
    r = write_window(s, rows, n, body, len, &bytes, err);
    if (r < 0)
        return r;
    push_entry(&s->windows, (struct entry){s->next_seq++, bytes});
    s->used += bytes;
    show_counts(s);
    bool reported = false;
    for (size_t i = 0; i < n; i++) {
        reported |= rows[i].lost != 0;
        spy_losses_sub(&s->losses, rows[i].labels, rows[i].labels_len, rows[i].lost);
    }
    if (reported || s->unsaved)
        spy_spool_save(s);
    return 0;
}

void spy_spool_lose(struct spy_spool *s, const struct spy_spool_row *row)
{
    add_loss(s, row, row->samples);
}

// --- sending ---

static void set_aside(struct spy_spool *s, size_t i)
{
    struct entry e = s->windows.rows[i];
    char from[NAME_MAX_LEN], to[NAME_MAX_LEN];
    name_of(e.seq, WINDOW, from);
    name_of(e.seq, BAD, to);
    spy_count(&spy_spool_counts.damaged, 1);
    forget_entry(s, &s->windows, i);
    if (renameat(s->dir_fd, from, s->dir_fd, to) < 0 || push_entry(&s->bad, e) < 0) {
        unlinkat(s->dir_fd, from, 0);
        unlinkat(s->dir_fd, to, 0);
        return;
    }
    s->used += e.bytes;
    while (s->bad.n > SPY_SPOOL_BAD_MAX)
        delete_at(s, &s->bad, 0);
    show_counts(s);
}

int spy_spool_next(struct spy_spool *s, uint64_t *ret_seq, struct spy_buf *body,
                   struct spy_err *err)
{
    while (s->windows.n) {
        _cleanup_buf_ struct spy_buf data = SPY_BUF_INIT(SPY_SPOOL_FILE_MAX);
        _cleanup_(spy_spool_view_free) struct spy_spool_view v = {0};
        struct spy_err why = {0};
        char buf[NAME_MAX_LEN];
        uint64_t seq = s->windows.rows[0].seq;
        const char *name = name_of(seq, WINDOW, buf);
        int r = load(s, name, &data, &v, &why);
        if (r == 0)
            r = spy_buf_append(body, v.body, v.body_len) < 0 ? SPY_ERR_NOMEM : 0;
        if (r == 0) {
            s->in_flight = *ret_seq = seq;
            return 0;
        }
        if (r == SPY_ERR_AGAIN || r == SPY_ERR_NOMEM)
            return spy_err_set(err, SPY_ERR_AGAIN, 0, "cannot read the spool now: %s", why.msg);
        spy_log(SPY_LOG_ERROR, "a spool file is damaged and set aside", SPY_S("file", name),
                SPY_S("why", why.msg), SPY_S("folder", s->dir),
                SPY_S("samples", r == SPY_ERR_TORN ? "counted as lost" : "not known"));
        lose_rows(s, seq, &v);
        set_aside(s, 0);
    }
    return SPY_ERR_NOTFOUND;
}

void spy_spool_settle(struct spy_spool *s, uint64_t seq, enum spy_spool_outcome outcome)
{
    size_t i = find_spooled(&s->windows, seq);
    s->in_flight = 0;
    if (i == s->windows.n)
        return;
    if (outcome == SPY_SPOOL_SENT)
        delete_at(s, &s->windows, i);
    else if (outcome == SPY_SPOOL_LOST)
        drop_at(s, i);
}

// --- opening ---

static int open_folder(struct spy_spool *s, const char *dir, struct spy_err *err)
{
    struct stat st;
    if (snprintf(s->dir, sizeof s->dir, "%s", dir) >= (int)sizeof s->dir)
        return spy_err_set(err, SPY_ERR_INVALID, ENAMETOOLONG, "cannot use the spool folder");
    int r = spy_file_mkdirs(dir, 0700, err);
    if (r < 0)
        return r;
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0 || fstat(s->dir_fd, &st) < 0)
        return spy_err_set(err, spy_code_of_errno(errno), errno, "cannot open spool folder %s",
                           dir);
    if (st.st_uid != geteuid())
        return spy_err_set(err, SPY_ERR_DENIED, 0,
                           "spool folder %s belongs to user %u: give push.spool_dir one of its own",
                           dir, (unsigned)st.st_uid);
    if ((st.st_mode & 077) && fchmod(s->dir_fd, 0700) < 0)
        return spy_err_set(err, SPY_ERR_DENIED, errno, "cannot close spool folder %s to others",
                           dir);
    s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return spy_err_set(err, spy_code_of_errno(errno), errno, "cannot lock spool folder %s",
                           dir);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return spy_err_set(err, SPY_ERR_AGAIN, 0,
                           "spool folder %s is used by another agent: stop it, or set "
                           "push.spool_dir to another folder",
                           dir);
    return 0;
}

static bool starts_with(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

static int adopt_file(struct spy_spool *s, const char *name)
{
    struct stat st;
    unsigned long long seq = 0;
    size_t digits = strspn(name, "0123456789");
    const char *suffix = name + digits;
    if ((digits == DIGITS && starts_with(suffix, WINDOW TEMPORARY)) ||
        starts_with(name, LOSSES TEMPORARY)) { // of a write that did not come to its rename
        unlinkat(s->dir_fd, name, 0);
        return 0;
    }
    bool window = !strcmp(suffix, WINDOW);
    if (digits != DIGITS || (!window && strcmp(suffix, BAD) != 0))
        return 0; // not ours: left alone
    errno = 0;
    seq = strtoull(name, NULL, 10);
    if (errno || !seq || seq == UINT64_MAX ||
        fstatat(s->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return 0;
    struct entry e = {seq, round_to_block((uint64_t)st.st_size)};
    s->used += e.bytes;
    s->next_seq = seq >= s->next_seq ? seq + 1 : s->next_seq;
    return push_entry(window ? &s->windows : &s->bad, e);
}

static int by_seq(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int scan_folder(struct spy_spool *s, struct spy_err *err)
{
    _cleanup_closedir_ DIR *d = opendir(s->dir);
    if (!d)
        return spy_err_set(err, spy_code_of_errno(errno), errno, "cannot list spool folder %s",
                           s->dir);
    for (struct dirent *e; (e = readdir(d));)
        if (adopt_file(s, e->d_name) < 0)
            return spy_err_set(err, SPY_ERR_NOMEM, 0, "spool folder %s holds too many files",
                               s->dir);
    if (s->windows.n)
        qsort(s->windows.rows, s->windows.n, sizeof(struct entry), by_seq);
    if (s->bad.n)
        qsort(s->bad.rows, s->bad.n, sizeof(struct entry), by_seq);
    return 0;
}

// A window that reports losses of this generation: they are no longer to be reported.
static void take_off(struct spy_spool *s, uint64_t seq)
{
    uint8_t head[SPY_SPOOL_HEADER + 1];
    char buf[NAME_MAX_LEN];
    const char *name = name_of(seq, WINDOW, buf);
    ssize_t n = spy_file_read_small(s->dir_fd, name, (char *)head, sizeof head);
    if (n <= 0 || spy_spool_took(head, (size_t)n) != s->generation)
        return;
    _cleanup_buf_ struct spy_buf data = SPY_BUF_INIT(SPY_SPOOL_FILE_MAX);
    _cleanup_(spy_spool_view_free) struct spy_spool_view v = {0};
    load(s, name, &data, &v, NULL);
    for (size_t i = 0; i < v.n_rows; i++)
        spy_losses_sub(&s->losses, v.rows[i].labels, v.rows[i].labels_len, v.rows[i].lost);
}

static int load_losses(struct spy_spool *s, struct spy_err *err)
{
    _cleanup_buf_ struct spy_buf data = SPY_BUF_INIT(SPY_SPOOL_FILE_MAX);
    _cleanup_(spy_spool_view_free) struct spy_spool_view v = {0};
    int r = load(s, LOSSES, &data, &v, err);
    if (r == SPY_ERR_GONE)
        return 0;
    if (r == SPY_ERR_AGAIN || r == SPY_ERR_NOMEM)
        return err ? err->code : r;
    if (r < 0 || v.body_len != sizeof s->last_dropped) {
        spy_log(SPY_LOG_ERROR, "the spool's record of losses is damaged and set aside",
                SPY_S("folder", s->dir));
        spy_count(&spy_spool_counts.damaged, 1);
        renameat(s->dir_fd, LOSSES, s->dir_fd, LOSSES ".bad");
        return 0;
    }
    memcpy(&s->last_dropped, v.body, sizeof s->last_dropped);
    s->generation = v.took;
    for (size_t i = 0; r == 0 && i < v.n_rows; i++)
        r = spy_losses_add(&s->losses, v.rows[i].labels, v.rows[i].labels_len, v.rows[i].samples);
    return r < 0 ? spy_err_set(err, r, 0, "out of memory") : 0;
}

// Completes the step in which an earlier run was killed.
static void reconcile(struct spy_spool *s)
{
    if (!s->generation)
        return;
    size_t i = find_spooled(&s->windows, s->last_dropped);
    if (i < s->windows.n)
        delete_at(s, &s->windows, i);
    if (s->last_dropped < UINT64_MAX && s->last_dropped >= s->next_seq)
        s->next_seq = s->last_dropped + 1;
    for (i = 0; i < s->windows.n; i++)
        take_off(s, s->windows.rows[i].seq);
    spy_spool_save(s);
}

int spy_spool_open(const char *dir, uint64_t max_bytes, struct spy_spool **ret, struct spy_err *err)
{
    struct spy_spool *s = calloc(1, sizeof *s);
    if (!s)
        return spy_err_nomem(err);
    s->dir_fd = s->lock_fd = -1;
    s->max = max_bytes;
    s->next_seq = 1;
    int r = open_folder(s, dir, err);
    if (r == 0)
        r = scan_folder(s, err);
    if (r == 0)
        r = load_losses(s, err);
    if (r < 0) {
        spy_spool_close(s);
        return r;
    }
    reconcile(s);
    while (s->used > s->max && drop_oldest_batch(s))
        ; // the bound may have been lowered
    show_counts(s);
    *ret = s;
    return 0;
}

void spy_spool_close(struct spy_spool *s)
{
    if (!s)
        return;
    if (s->unsaved)
        spy_spool_save(s);
    spy_cleanup_close(&s->dir_fd);
    spy_cleanup_close(&s->lock_fd);
    free(s->windows.rows);
    free(s->bad.rows);
    spy_losses_free(&s->losses);
    free(s);
}

size_t spy_spool_n(const struct spy_spool *s)
{
    return s->windows.n;
}

const struct spy_losses *spy_spool_losses(const struct spy_spool *s)
{
    return &s->losses;
}
