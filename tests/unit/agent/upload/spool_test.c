// The spool: order, bound, adoption, damage, crashes between its steps, the lock, the losses.
#include "agent/upload/spool.h"
#include "folder.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"

enum { ROOMY = 1 << 20 };

static struct spy_spool *open_spool(const struct folder *f, uint64_t bytes)
{
    struct spy_err err = {0};
    struct spy_spool *s = NULL;
    if (spy_spool_open(f->path, bytes, &s, &err) < 0)
        fail_msg("%s", err.msg);
    return s;
}

// A row whose labels are a word: the spool does not look inside of them.
static struct spy_spool_row row(const char *labels, uint64_t samples, uint64_t lost)
{
    return (struct spy_spool_row){.samples = samples,
                                  .lost = lost,
                                  .labels = (const uint8_t *)labels,
                                  .labels_len = (uint32_t)strlen(labels)};
}

static int append_rows(struct spy_spool *s, const char *body, struct spy_spool_row r)
{
    return spy_spool_append(s, &r, 1, body, strlen(body), NULL);
}

static void append(struct spy_spool *s, const char *body, const char *labels, uint64_t samples)
{
    assert_int_equal(append_rows(s, body, row(labels, samples, 0)), 0);
}

static uint64_t lost(const struct spy_spool *s, const char *labels)
{
    return spy_losses_get(spy_spool_losses(s), (const uint8_t *)labels, (uint32_t)strlen(labels));
}

// Takes the oldest and compares its body; NULL: there is none.
static void expect_next(struct spy_spool *s, const char *body, enum spy_spool_outcome outcome)
{
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(ROOMY);
    uint64_t seq;
    int r = spy_spool_next(s, &seq, &b, NULL);
    if (!body) {
        assert_int_equal(r, SPY_ERR_NOTFOUND);
        return;
    }
    assert_int_equal(r, 0);
    assert_string_equal(spy_buf_str(&b), body);
    spy_spool_settle(s, seq, outcome);
}

static void windows_leave_in_order_of_arrival(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY);
    append(s, "one", "a", 1);
    append(s, "two", "a", 1);
    expect_next(s, "one", SPY_SPOOL_KEEP);
    expect_next(s, "one", SPY_SPOOL_SENT);
    append(s, "three", "a", 1);
    expect_next(s, "two", SPY_SPOOL_SENT);
    expect_next(s, "three", SPY_SPOOL_SENT);
    expect_next(s, NULL, 0);
    assert_int_equal(spy_spool_counts.bytes, 0);
    spy_spool_close(s);
}

static void spool_files_are_readable_by_their_owner_only(void **state)
{
    struct stat st;
    chmod(((struct folder *)*state)->path, 0755);
    struct spy_spool *s = open_spool(*state, ROOMY);
    append(s, "one", "a", 1);
    assert_int_equal(stat(((struct folder *)*state)->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(folder_path(*state, "00000000000000000001.window"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    spy_spool_close(s);
}

static void the_next_run_adopts_the_spool_and_appends_to_it(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY);
    append(s, "one", "a", 1);
    append(s, "two", "a", 1);
    spy_spool_close(s);
    s = open_spool(*state, ROOMY);
    assert_int_equal(spy_spool_n(s), 2);
    append(s, "three", "a", 1);
    expect_next(s, "one", SPY_SPOOL_SENT);
    expect_next(s, "two", SPY_SPOOL_SENT);
    expect_next(s, "three", SPY_SPOOL_SENT);
    spy_spool_close(s);
}

static void a_full_spool_drops_the_oldest_windows(void **state)
{
    enum { BOUND = 4 * 4096 };
    struct spy_spool *s = open_spool(*state, BOUND);
    char body[8];
    for (int i = 0; i < 10; i++) {
        snprintf(body, sizeof body, "%d", i);
        append(s, body, i % 2 ? "odd" : "even", 10);
        assert_true(spy_spool_counts.bytes <= BOUND);
        assert_true(folder_count(*state, ".window") <= 4);
    }
    assert_int_equal(lost(s, "even"), 30); // 0, 2, 4
    assert_int_equal(lost(s, "odd"), 30);  // 1, 3, 5
    for (int i = 6; i < 10; i++) {
        snprintf(body, sizeof body, "%d", i);
        expect_next(s, body, SPY_SPOOL_SENT);
    }
    expect_next(s, NULL, 0);
    spy_spool_close(s);
}

static void a_lowered_bound_holds_at_once(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY);
    for (int i = 0; i < 6; i++)
        append(s, "body", "a", 10);
    spy_spool_close(s);
    s = open_spool(*state, 2 * 4096);
    assert_int_equal(spy_spool_n(s), 2);
    assert_int_equal(lost(s, "a"), 40);
    spy_spool_close(s);
}

static void a_window_in_flight_is_not_dropped(void **state)
{
    struct spy_spool *s = open_spool(*state, 2 * 4096);
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(ROOMY);
    uint64_t seq;
    append(s, "flying", "a", 1);
    append(s, "second", "b", 1);
    assert_int_equal(spy_spool_next(s, &seq, &b, NULL), 0);
    append(s, "third", "c", 1);
    assert_int_equal(lost(s, "a"), 0);
    assert_int_equal(lost(s, "b"), 1);
    spy_spool_settle(s, seq, SPY_SPOOL_SENT);
    expect_next(s, "third", SPY_SPOOL_SENT);
    spy_spool_close(s);
}

static void a_window_larger_than_the_spool_is_refused_and_counted(void **state)
{
    struct spy_spool *s = open_spool(*state, 4096);
    struct spy_err err = {0};
    static const char large[8192] = {1};
    struct spy_spool_row r = row("a", 9, 0);
    append(s, "small", "b", 1);
    assert_int_equal(spy_spool_append(s, &r, 1, large, sizeof large, &err), SPY_ERR_LIMIT);
    assert_non_null(strstr(err.msg, "spool_mib"));
    spy_spool_lose(s, &r);
    spy_spool_save(s);
    assert_int_equal(lost(s, "a"), 9);
    assert_int_equal(lost(s, "b"), 0);
    expect_next(s, "small", SPY_SPOOL_SENT);
    spy_spool_close(s);
}

static void losses_are_kept_over_runs_until_a_window_reports_them(void **state)
{
    struct spy_spool *s = open_spool(*state, 4096);
    append(s, "one", "a", 10);
    append(s, "two", "a", 20);
    assert_int_equal(lost(s, "a"), 10);
    spy_spool_close(s);
    s = open_spool(*state, 2 * 4096);
    assert_int_equal(lost(s, "a"), 10);
    assert_int_equal(append_rows(s, "three", row("a", 5, 10)), 0);
    assert_int_equal(lost(s, "a"), 0);
    assert_int_equal(access(folder_path(*state, "losses"), F_OK), -1);
    // The report is lost with its window, and is a loss again.
    append(s, "four", "b", 1);
    append(s, "five", "b", 1);
    assert_int_equal(lost(s, "a"), 20 + 5 + 10);
    spy_spool_close(s);
}

static void a_rejected_window_is_a_loss(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY);
    append(s, "one", "a", 10);
    expect_next(s, "one", SPY_SPOOL_LOST);
    assert_int_equal(lost(s, "a"), 10);
    assert_int_equal(folder_count(*state, ".window"), 0);
    spy_spool_close(s);
}

// --- a run that was killed between two steps ---

static void copy(const struct folder *f, const char *from, const char *to)
{
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(ROOMY);
    char target[PATH_MAX];
    snprintf(target, sizeof target, "%s", folder_path(f, to));
    assert_int_equal(spy_file_read(AT_FDCWD, folder_path(f, from), &b, NULL), 0);
    assert_int_equal(spy_file_write_atomic(target, b.data, b.len, 0600, NULL), 0);
}

static void after_a_kill_before_the_rename_the_part_is_deleted(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY);
    append(s, "one", "a", 1);
    spy_spool_close(s);
    copy(*state, "00000000000000000001.window", "00000000000000000002.window.tmp.x1y2z3");
    s = open_spool(*state, ROOMY);
    assert_int_equal(spy_spool_n(s), 1);
    assert_int_equal(folder_count(*state, ".tmp.x1y2z3"), 0);
    spy_spool_close(s);
}

static void a_kill_between_count_and_drop_counts_no_loss_twice(void **state)
{
    struct spy_spool *s = open_spool(*state, 4096);
    append(s, "one", "a", 10);
    copy(*state, "00000000000000000001.window", "saved");
    append(s, "two", "a", 20); // counts "one" as lost, then deletes it
    spy_spool_close(s);
    copy(*state, "saved", "00000000000000000001.window"); // as if it had not been deleted
    s = open_spool(*state, ROOMY);
    assert_int_equal(lost(s, "a"), 10);
    expect_next(s, "two", SPY_SPOOL_SENT);
    expect_next(s, NULL, 0);
    spy_spool_close(s);
}

static void a_kill_between_report_and_note_reports_no_loss_twice(void **state)
{
    struct spy_spool *s = open_spool(*state, 4096);
    append(s, "one", "a", 10);
    append(s, "two", "b", 20);
    expect_next(s, "two", SPY_SPOOL_LOST); // a: 10, b: 20
    copy(*state, "losses", "saved");
    assert_int_equal(append_rows(s, "three", row("a", 1, 10)), 0); // reports a alone
    assert_int_equal(lost(s, "b"), 20);
    spy_spool_close(s);
    copy(*state, "saved", "losses"); // as if the losses had not been written anew
    s = open_spool(*state, ROOMY);
    assert_int_equal(lost(s, "a"), 0);
    assert_int_equal(lost(s, "b"), 20);
    spy_spool_close(s);
    s = open_spool(*state, ROOMY); // and again, after another start
    assert_int_equal(lost(s, "a"), 0);
    assert_int_equal(lost(s, "b"), 20);
    expect_next(s, "three", SPY_SPOOL_SENT);
    spy_spool_close(s);
}

static void a_dropped_name_is_not_reused_while_it_is_noted(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY);
    append(s, "one", "a", 10);
    expect_next(s, "one", SPY_SPOOL_LOST); // noted as dropped last, and the spool is empty
    spy_spool_close(s);
    s = open_spool(*state, ROOMY);
    append(s, "two", "b", 20);
    spy_spool_close(s);
    s = open_spool(*state, ROOMY);
    expect_next(s, "two", SPY_SPOOL_SENT);
    assert_int_equal(lost(s, "a"), 10);
    spy_spool_close(s);
}

// --- damage ---

static void flip(const struct folder *f, const char *name, off_t at, int whence)
{
    int fd = open(folder_path(f, name), O_RDWR);
    uint8_t byte;
    off_t pos = lseek(fd, at, whence);
    assert_true(pos >= 0);
    assert_int_equal(pread(fd, &byte, 1, pos), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, pos), 1);
    close(fd);
}

static void a_damaged_body_is_set_aside_and_its_samples_are_lost(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY);
    append(s, "one", "a", 10);
    append(s, "two", "a", 20);
    flip(*state, "00000000000000000001.window", -1, SEEK_END);
    expect_next(s, "two", SPY_SPOOL_SENT);
    assert_int_equal(lost(s, "a"), 10);
    assert_int_equal(folder_count(*state, "01.window.bad"), 1);
    spy_spool_close(s);
    s = open_spool(*state, ROOMY); // and it is not taken for a window again
    expect_next(s, NULL, 0);
    spy_spool_close(s);
}

static void every_changed_byte_and_every_cut_is_detected(void **state)
{
    _cleanup_buf_ struct spy_buf good = SPY_BUF_INIT(ROOMY);
    struct spy_spool_row rows[] = {row("labels of a", 10, 1), row("labels of b", 20, 2)};
    assert_int_equal(spy_spool_pack(rows, 2, 7, "the body", 8, &good, NULL), 0);
    (void)state;
    for (size_t i = 0; i < good.len * 2; i++) {
        uint8_t bytes[512];
        size_t len = i < good.len ? good.len : i - good.len;
        assert_true(good.len <= sizeof bytes);
        memcpy(bytes, good.data, good.len);
        if (i < good.len)
            bytes[i] ^= 0x10;
        // A copy of exactly this length, so that reading past its end is noticed by asan.
        uint8_t *exact = malloc(len + 1);
        memcpy(exact, bytes, len);
        struct spy_spool_view v = {0};
        int r = spy_spool_unpack(exact, len, &v, NULL);
        assert_true(r < 0);
        assert_int_equal(v.n_rows, r == SPY_ERR_TORN ? 2 : 0);
        spy_spool_view_free(&v);
        free(exact);
    }
    struct spy_spool_view v = {0};
    assert_int_equal(spy_spool_unpack(good.data, good.len, &v, NULL), 0);
    assert_int_equal(v.took, 7);
    assert_int_equal(v.rows[1].samples, 20);
    assert_int_equal(v.rows[1].lost, 2);
    assert_memory_equal(v.body, "the body", 8);
    spy_spool_view_free(&v);
}

static void damaged_files_are_bounded_and_go_before_windows(void **state)
{
    enum { DAMAGED = SPY_SPOOL_BAD_MAX + 5 };
    struct spy_spool *s = open_spool(*state, ROOMY);
    for (int i = 1; i <= DAMAGED; i++) {
        char name[64];
        append(s, "body", "a", 1);
        snprintf(name, sizeof name, "%020d.window", i);
        flip(*state, name, 20, SEEK_SET);
    }
    append(s, "good", "b", 1);
    expect_next(s, "good", SPY_SPOOL_KEEP);
    assert_int_equal(folder_count(*state, ".bad"), SPY_SPOOL_BAD_MAX);
    assert_int_equal(spy_spool_counts.bytes, (SPY_SPOOL_BAD_MAX + 1) * 4096);
    spy_spool_close(s);
    s = open_spool(*state, 2 * 4096);
    assert_int_equal(folder_count(*state, ".bad"), 1);
    append(s, "more", "b", 1);
    assert_int_equal(folder_count(*state, ".bad"), 0);
    assert_int_equal(lost(s, "b"), 0);
    spy_spool_close(s);
}

static void a_damaged_record_of_losses_is_set_aside(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY);
    append(s, "one", "a", 10);
    expect_next(s, "one", SPY_SPOOL_LOST);
    append(s, "two", "a", 10);
    spy_spool_close(s);
    flip(*state, "losses", 30, SEEK_SET);
    s = open_spool(*state, ROOMY);
    assert_int_equal(spy_spool_losses(s)->n, 0);
    expect_next(s, "two", SPY_SPOOL_SENT);
    assert_int_equal(folder_count(*state, "losses.bad"), 1);
    spy_spool_close(s);
}

static void unknown_files_of_the_folder_are_left_alone(void **state)
{
    copy(*state, "/../../proc/self/comm", "notes.txt");
    copy(*state, "notes.txt", "123.window");
    assert_int_equal(symlink("notes.txt", folder_path(*state, "00000000000000000009.window")), 0);
    struct spy_spool *s = open_spool(*state, ROOMY);
    assert_int_equal(spy_spool_n(s), 0);
    expect_next(s, NULL, 0);
    assert_int_equal(folder_count(*state, "notes.txt"), 1);
    assert_int_equal(folder_count(*state, "123.window"), 1);
    spy_spool_close(s);
}

static void two_agents_do_not_share_a_folder(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY), *other = NULL;
    struct spy_err err = {0};
    assert_int_equal(spy_spool_open(((struct folder *)*state)->path, ROOMY, &other, &err),
                     SPY_ERR_AGAIN);
    assert_null(other);
    assert_non_null(strstr(err.msg, "another agent"));
    spy_spool_close(s);
    spy_spool_close(open_spool(*state, ROOMY));
}

static void an_unwritable_folder_is_an_error_and_the_loss_is_counted(void **state)
{
    struct spy_spool *s = open_spool(*state, ROOMY);
    struct spy_err err = {0};
    struct spy_spool_row r = row("a", 9, 0);
    struct folder *f = *state;
    char moved[128];
    snprintf(moved, sizeof moved, "%s.moved", f->path);
    assert_int_equal(rename(f->path, moved), 0); // works for root too, as a mode would not
    assert_true(spy_spool_append(s, &r, 1, "body", 4, &err) < 0);
    spy_spool_lose(s, &r);
    spy_spool_save(s);
    assert_int_equal(lost(s, "a"), 9);
    assert_int_equal(spy_spool_n(s), 0);
    assert_int_equal(rename(moved, f->path), 0);
    append(s, "later", "b", 1); // the disk is back: the losses are written too
    spy_spool_close(s);
    s = open_spool(*state, ROOMY);
    assert_int_equal(lost(s, "a"), 9);
    spy_spool_close(s);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, folder_make, folder_remove)

RUN(IN_A_FOLDER(windows_leave_in_order_of_arrival),
    IN_A_FOLDER(spool_files_are_readable_by_their_owner_only),
    IN_A_FOLDER(the_next_run_adopts_the_spool_and_appends_to_it),
    IN_A_FOLDER(a_full_spool_drops_the_oldest_windows), IN_A_FOLDER(a_lowered_bound_holds_at_once),
    IN_A_FOLDER(a_window_in_flight_is_not_dropped),
    IN_A_FOLDER(a_window_larger_than_the_spool_is_refused_and_counted),
    IN_A_FOLDER(losses_are_kept_over_runs_until_a_window_reports_them),
    IN_A_FOLDER(a_rejected_window_is_a_loss),
    IN_A_FOLDER(after_a_kill_before_the_rename_the_part_is_deleted),
    IN_A_FOLDER(a_kill_between_count_and_drop_counts_no_loss_twice),
    IN_A_FOLDER(a_kill_between_report_and_note_reports_no_loss_twice),
    IN_A_FOLDER(a_dropped_name_is_not_reused_while_it_is_noted),
    IN_A_FOLDER(a_damaged_body_is_set_aside_and_its_samples_are_lost),
    IN_A_FOLDER(every_changed_byte_and_every_cut_is_detected),
    IN_A_FOLDER(damaged_files_are_bounded_and_go_before_windows),
    IN_A_FOLDER(a_damaged_record_of_losses_is_set_aside),
    IN_A_FOLDER(unknown_files_of_the_folder_are_left_alone),
    IN_A_FOLDER(two_agents_do_not_share_a_folder),
    IN_A_FOLDER(an_unwritable_folder_is_an_error_and_the_loss_is_counted))
