#include "shared/base/arena.h"
#include "shared/base/buf.h"
#include "shared/base/clock.h"
#include "shared/base/err.h"
#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/base/metrics.h"
#include "tests/unit/test.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// --- err ---

static void err_is_optional_and_returns_its_code(void **state)
{
    (void)state;
    assert_int_equal(spy_err_set(NULL, SPY_ERR_GONE, 0, "x"), SPY_ERR_GONE);
    assert_int_equal(spy_err_context(NULL, SPY_ERR_TORN, "x"), SPY_ERR_TORN);
}

static void err_appends_errno_and_context(void **state)
{
    (void)state;
    struct spy_err e = {0};
    spy_err_set(&e, SPY_ERR_IO, EIO, "cannot read %d", 7);
    assert_string_equal(e.msg, "cannot read 7: Input/output error");
    assert_int_equal(spy_err_context(&e, SPY_ERR_GONE, "pid %d", 9), SPY_ERR_IO);
    assert_string_equal(e.msg, "pid 9: cannot read 7: Input/output error");
    assert_int_equal(e.sys, EIO);
}

static void err_context_of_an_unset_error_stays_a_failure(void **state)
{
    (void)state;
    struct spy_err e = {0};
    assert_int_equal(spy_err_context(&e, SPY_ERR_TORN, "frame"), SPY_ERR_TORN);
    assert_string_equal(e.msg, "frame: torn");
}

static void err_message_can_quote_itself(void **state)
{
    (void)state;
    struct spy_err e = {0};
    spy_err_set(&e, SPY_ERR_IO, 0, "inner");
    spy_err_set(&e, SPY_ERR_GONE, 0, "outer (%s)", e.msg);
    assert_string_equal(e.msg, "outer (inner)");
}

static void err_message_is_one_line_of_whole_characters(void **state)
{
    (void)state;
    struct spy_err e = {0};
    spy_err_set(&e, SPY_ERR_INVALID, 0, "a\nb\rc\x1b[31m");
    assert_string_equal(e.msg, "a\\nb\\rc\\x1b[31m");
    for (size_t pad = 0; pad < 4; pad++) {
        char text[1000] = "xxx";
        for (size_t at = pad; at < 900; at += 4)
            memcpy(text + at, "\xf0\x9f\x90\x8d", 5);
        spy_err_set(&e, SPY_ERR_INVALID, 0, "%s", text);
        spy_err_context(&e, SPY_ERR_INVALID, "x");
        size_t len = strlen(e.msg);
        assert_in_range(len, 232, 239);
        for (size_t i = 0, n; i < len; i += n) {
            n = spy_utf8_len(e.msg + i, len - i);
            assert_int_not_equal(n, 0);
        }
    }
}

static void every_code_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(spy_code_name(0), "ok");
    assert_string_equal(spy_code_name(SPY_ERR_GONE), "gone");
    assert_string_equal(spy_code_name(SPY_ERR_USAGE), "usage");
    assert_string_equal(spy_code_name(-12), "unknown");
    assert_string_equal(spy_code_name(1), "unknown");
    assert_string_equal(spy_code_name(-2147483647 - 1), "unknown");
    assert_int_equal(spy_code_of_errno(ESRCH), SPY_ERR_GONE);
    assert_int_equal(spy_code_of_errno(EPERM), SPY_ERR_DENIED);
    assert_int_equal(spy_code_of_errno(EINTR), SPY_ERR_AGAIN);
    assert_int_equal(spy_code_of_errno(ENOMEM), SPY_ERR_NOMEM);
    assert_int_equal(spy_code_of_errno(EFAULT), SPY_ERR_IO);
}

// --- buf ---

static void buf_never_passes_its_cap(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(4);
    assert_int_equal(spy_buf_puts(&b, "abcd"), 0);
    assert_int_equal(spy_buf_putc(&b, 'e'), SPY_ERR_LIMIT);
    assert_string_equal(spy_buf_str(&b), "abcd");
    assert_int_equal(b.cap, 4 + 1); // nor does the memory it holds
    assert_int_equal(b.failed, SPY_ERR_LIMIT);
    assert_int_equal(spy_buf_append(&b, "", 0), SPY_ERR_LIMIT); // stays failed
    spy_buf_reset(&b);
    assert_string_equal(spy_buf_str(&b), "");
    assert_int_equal(spy_buf_printf(&b, "%04d", 7), 0);
    assert_string_equal(spy_buf_str(&b), "0007");
    assert_int_equal(spy_buf_printf(&b, "%d", 7), SPY_ERR_LIMIT);
    assert_string_equal(spy_buf_str(&b), "0007");
}

static void buf_refuses_lengths_that_wrap(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(SIZE_MAX);
    spy_buf_puts(&b, "x");
    assert_null(spy_buf_reserve(&b, SIZE_MAX));
    spy_buf_reset(&b);
    assert_null(spy_buf_reserve(&b, SIZE_MAX - 1));
    assert_int_equal(b.failed, SPY_ERR_LIMIT);
}

static void buf_str_of_an_empty_buffer_is_empty(void **state)
{
    (void)state;
    struct spy_buf b = SPY_BUF_INIT(10);
    assert_string_equal(spy_buf_str(&b), "");
    spy_buf_free(&b);
}

static void buf_commit_ends_the_text(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(100);
    uint8_t *p = spy_buf_reserve(&b, 50);
    memset(p, 'z', 50);
    spy_buf_commit(&b, 3);
    assert_string_equal(spy_buf_str(&b), "zzz");
}

static void utf8_takes_exactly_rfc_3629(void **state)
{
    (void)state;
    const struct {
        const char *s;
        size_t left, want;
    } rows[] = {
        {"a", 1, 1},
        {"\0", 1, 1},
        {"\x7f", 1, 1},
        {"\x80", 1, 0},
        {"\xc0\x80", 2, 0},
        {"\xc1\xbf", 2, 0},
        {"\xc2\x80", 2, 2},
        {"\xdf\xbf", 2, 2},
        {"\xc2", 1, 0},
        {"\xe0\x9f\xbf", 3, 0},
        {"\xe0\xa0\x80", 3, 3},
        {"\xed\x9f\xbf", 3, 3},
        {"\xed\xa0\x80", 3, 0},
        {"\xef\xbf\xbf", 3, 3},
        {"\xf0\x8f\xbf\xbf", 4, 0},
        {"\xf0\x90\x80\x80", 4, 4},
        {"\xf4\x8f\xbf\xbf", 4, 4},
        {"\xf4\x90\x80\x80", 4, 0},
        {"\xf5\x80\x80\x80", 4, 0},
        {"\xf0\x9f\x90\x8d", 3, 0},
        {"\xe2\x82\x20", 3, 0},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        assert_int_equal(spy_utf8_len(rows[i].s, rows[i].left), rows[i].want);
}

static void json_escapes_quotes_and_control_characters(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(200);
    spy_buf_json(&b, "a\"\\\n\0\x7f\xff\xf0\x9f\x90\x8d</script>", 20);
    assert_string_equal(spy_buf_str(&b),
                        "a\\\"\\\\\\u000a\\u0000\\u007f\xef\xbf\xbd\xf0\x9f\x90\x8d</script>");
}

// Plain text is taken eight bytes at a time: each byte is tried at each place of such a word.
static void json_escapes_each_byte_wherever_it_stands(void **state)
{
    (void)state;
    for (unsigned c = 1; c < 0x80; c++)
        for (size_t at = 0; at < 17; at++) {
            char text[] = "abcdefghijklmnopq", own[8] = {(char)c}, want[32];
            _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(200);
            text[at] = (char)c;
            if (c < 0x20 || c == 0x7f)
                snprintf(own, sizeof own, "\\u%04x", c);
            else if (c == '"' || c == '\\')
                snprintf(own, sizeof own, "\\%c", (char)c);
            snprintf(want, sizeof want, "%.*s%s%s", (int)at, text, own, text + at + 1);
            spy_buf_json(&b, text, 17);
            assert_string_equal(spy_buf_str(&b), want);
        }
}

static void numbers_are_decimal(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {0, 9, 10, 99, 1000000007, UINT64_MAX};
    for (size_t i = 0; i < SPY_COUNT(numbers); i++) {
        char want[32];
        _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(20);
        snprintf(want, sizeof want, "%llu", (unsigned long long)numbers[i]);
        assert_int_equal(spy_buf_number(&b, numbers[i]), 0);
        assert_string_equal(spy_buf_str(&b), want);
    }
}

static void text_is_cut_between_characters(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(200);
    spy_buf_text(&b,
                 "ab\n\xe2\x82\xac\xff"
                 "c",
                 8, 100);
    assert_string_equal(spy_buf_str(&b), "ab \xe2\x82\xac\xef\xbf\xbd"
                                         "c");
    spy_buf_reset(&b);
    spy_buf_text(&b,
                 "ab\xe2\x82\xac"
                 "c",
                 6, 4);
    assert_string_equal(spy_buf_str(&b), "ab\xe2\x80\xa6");
    spy_buf_reset(&b);
    spy_buf_text(&b, "a\xff\xff", 3, 2); // found by fuzzing: a bad byte has a length, too
    assert_string_equal(spy_buf_str(&b), "a\xef\xbf\xbd\xe2\x80\xa6");
}

// --- mem, arena ---

static void grow_fails_at_max_and_changes_nothing(void **state)
{
    (void)state;
    int *a = NULL;
    size_t cap = 0;
    assert_int_equal(spy_grow(&a, &cap, 1, sizeof *a, 20), 0);
    assert_int_equal(cap, 16);
    assert_int_equal(spy_grow(&a, &cap, 17, sizeof *a, 20), 0);
    assert_int_equal(cap, 20);
    int *before = a;
    assert_int_equal(spy_grow(&a, &cap, 21, sizeof *a, 20), SPY_ERR_LIMIT);
    assert_int_equal(spy_grow(&a, &cap, SIZE_MAX, sizeof *a, SIZE_MAX), SPY_ERR_LIMIT);
    assert_ptr_equal(a, before);
    assert_int_equal(cap, 20);
    free(a);
}

static void arena_zeroes_aligns_and_keeps_its_cap(void **state)
{
    (void)state;
    _cleanup_arena_ struct spy_arena a = SPY_ARENA_INIT(200000);
    for (size_t i = 1; i < 300; i++) {
        uint8_t *p = spy_arena_alloc(&a, i);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignof(max_align_t), 0);
        for (size_t k = 0; k < i; k++)
            assert_int_equal(p[k], 0);
        memset(p, 0xee, i);
    }
    assert_null(spy_arena_alloc(&a, 200000));
    assert_null(spy_arena_alloc(&a, SIZE_MAX));
    assert_non_null(spy_arena_alloc(&a, 100000)); // a block of its own
    while (spy_arena_alloc(&a, 1000))
        ;
    assert_true(a.used <= a.max);
    spy_arena_free(&a);
    assert_non_null(spy_arena_alloc(&a, 100000)); // and again from nothing
}

// --- map ---

static uint32_t find(const struct spy_map *m, uint64_t hash, uint32_t want)
{
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(m, hash, &at)) != SPY_MAP_NONE;)
        if (i == want)
            return i;
    return SPY_MAP_NONE;
}

static void map_finds_all_keys_after_growing_and_with_equal_hashes(void **state)
{
    (void)state;
    struct spy_map m = {0};
    uint32_t at = SPY_MAP_FIRST;
    enum { N = 10000 };
    assert_int_equal(spy_map_next(&m, 1, &at), SPY_MAP_NONE);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(spy_map_add(&m, spy_hash_mix(i / 3, 7), i), 0);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(find(&m, spy_hash_mix(i / 3, 7), i), i);
    assert_int_equal(find(&m, spy_hash_mix(N, 7), 0), SPY_MAP_NONE);
    assert_int_equal(spy_map_add(&m, 1, 1u << 29), SPY_ERR_LIMIT);
    spy_map_clear(&m);
    assert_int_equal(find(&m, spy_hash_mix(0, 7), 0), SPY_MAP_NONE);
    assert_int_equal(spy_map_add(&m, 5, 0), 0);
    assert_int_equal(find(&m, 5, 0), 0);
    spy_map_free(&m);
}

// Hashes that differ only where a plain table would not look: one chain of 100000 would take
// minutes here.
static void map_is_not_slowed_by_chosen_hashes(void **state)
{
    (void)state;
    struct spy_map m = {0};
    uint64_t start = spy_clock_cpu_ns();
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(spy_map_add(&m, (uint64_t)i << 40, i), 0);
    for (uint32_t i = 0; i < 100000; i++)
        assert_int_equal(find(&m, (uint64_t)i << 40, i), i);
    assert_true(spy_clock_cpu_ns() - start < 5 * SPY_NS_PER_SEC);
    spy_map_free(&m);
}

// --- clock ---

static void clocks_go_forward_and_sleep_until_waits(void **state)
{
    (void)state;
    uint64_t t = spy_clock_mono_ns();
    assert_int_equal(spy_clock_sleep_until(t + 5 * SPY_NS_PER_MS), 0);
    assert_true(spy_clock_mono_ns() >= t + 5 * SPY_NS_PER_MS);
    assert_int_equal(spy_clock_sleep_until(t), 0); // already past
    assert_true(spy_clock_real_ns() > 1600000000ull * SPY_NS_PER_SEC);
}

static void random_seeds_itself(void **state)
{
    (void)state;
    struct spy_rand r = {0}, other = {0};
    uint64_t first = spy_rand_next(&r), second = spy_rand_next(&r);
    assert_true(first != second && first != spy_rand_next(&other));
}

static void random_is_uniform_enough(void **state)
{
    (void)state;
    struct spy_rand r = {{1, 2}};
    unsigned bins[10] = {0};
    for (int i = 0; i < 100000; i++) {
        double u = spy_rand_unit(&r);
        assert_true(u >= 0 && u < 1);
        bins[(int)(u * 10)]++;
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(bins[i], 9000, 11000);
    uint8_t a[16] = {0}, b[16] = {0};
    assert_int_equal(spy_random_bytes(a, sizeof a), 0);
    assert_int_equal(spy_random_bytes(b, sizeof b), 0);
    assert_memory_not_equal(a, b, sizeof a);
}

// --- file ---

static int make_folder(void **state)
{
    char *dir = strdup("/tmp/podspy-test.XXXXXX");
    *state = dir;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static int remove_folder(void **state)
{
    int r = nftw(*state, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return r;
}

static size_t entries_of(const char *path)
{
    _cleanup_closedir_ DIR *d = opendir(path);
    size_t n = 0;
    assert_non_null(d);
    while (readdir(d))
        n++;
    return n - 2; // . and ..
}

static void file_is_read_whole_and_bounded(void **state)
{
    char path[200];
    struct spy_err e = {0};
    snprintf(path, sizeof path, "%s/f", (char *)*state);
    assert_int_equal(spy_file_write_atomic(path, "0123456789", 10, 0600, &e), 0);
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(10);
    assert_int_equal(spy_file_read(AT_FDCWD, path, &b, &e), 0);
    assert_string_equal(spy_buf_str(&b), "0123456789");
    _cleanup_buf_ struct spy_buf small = SPY_BUF_INIT(9);
    assert_int_equal(spy_file_read(AT_FDCWD, path, &small, &e), SPY_ERR_LIMIT);
    assert_string_equal(spy_buf_str(&small), "");
    assert_non_null(strstr(e.msg, "larger than 9 bytes"));
    assert_int_equal(spy_file_read(AT_FDCWD, (char *)*state, &small, &e), SPY_ERR_IO);
    assert_string_equal(spy_buf_str(&small), "");
    snprintf(path, sizeof path, "%s/none", (char *)*state);
    assert_int_equal(spy_file_read(AT_FDCWD, path, &b, &e), SPY_ERR_GONE);
    _cleanup_buf_ struct spy_buf proc = SPY_BUF_INIT(100000);
    assert_int_equal(spy_file_read(AT_FDCWD, "/proc/self/status", &proc, &e), 0);
    assert_non_null(strstr(spy_buf_str(&proc), "VmRSS"));
}

static void file_read_small_cuts(void **state)
{
    char path[200], text[5];
    snprintf(path, sizeof path, "%s/f", (char *)*state);
    assert_int_equal(spy_file_write_atomic(path, "0123456789", 10, 0600, NULL), 0);
    assert_int_equal(spy_file_read_small(AT_FDCWD, path, text, sizeof text), 4);
    assert_string_equal(text, "0123");
    assert_int_equal(spy_file_read_small(AT_FDCWD, "/nowhere/x", text, sizeof text), SPY_ERR_GONE);
}

static void file_is_written_with_its_mode_and_nothing_beside_it(void **state)
{
    char path[200];
    struct stat st;
    struct spy_err e = {0};
    snprintf(path, sizeof path, "%s/secret", (char *)*state);
    assert_int_equal(spy_file_write_atomic(path, "old", 3, 0644, &e), 0);
    assert_int_equal(spy_file_write_atomic(path, "new", 3, 0600, &e), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    snprintf(path, sizeof path, "%s/no/such", (char *)*state);
    assert_int_equal(spy_file_write_atomic(path, "x", 1, 0600, &e), SPY_ERR_GONE);
    assert_int_equal(entries_of(*state), 1);
}

static void mkdirs_makes_all_and_refuses_a_file_in_the_way(void **state)
{
    char path[200];
    struct spy_err e = {0};
    snprintf(path, sizeof path, "%s/a/b/c/", (char *)*state);
    assert_int_equal(spy_file_mkdirs(path, 0700, &e), 0);
    assert_int_equal(spy_file_mkdirs(path, 0700, &e), 0);
    snprintf(path, sizeof path, "%s/a/f", (char *)*state);
    assert_int_equal(spy_file_write_atomic(path, "x", 1, 0600, &e), 0);
    assert_int_equal(spy_file_mkdirs(path, 0700, &e), SPY_ERR_INVALID);
    snprintf(path, sizeof path, "%s/a/f/g", (char *)*state);
    assert_true(spy_file_mkdirs(path, 0700, &e) < 0);
    assert_true(spy_file_mkdirs("", 0700, &e) < 0);
}

// --- log ---

// What the call writes to stderr.
static void captured(char *out, size_t size, const char *format, const char *msg, const char *value)
{
    int fds[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    assert_int_equal(spy_log_set_format(format, NULL), 0);
    spy_log(SPY_LOG_WARN, msg, SPY_S("k", value), SPY_I("n", -3));
    spy_log(SPY_LOG_DEBUG, "too fine to be seen", SPY_I("n", 1));
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = read(fds[0], out, size - 1);
    close(fds[0]);
    assert_true(n >= 0);
    out[n] = 0;
}

static void log_lines_are_escaped(void **state)
{
    (void)state;
    char line[8192];
    captured(line, sizeof line, "logfmt", "a \"b\"\n", "x=y");
    assert_non_null(strstr(line, "level=warn msg=\"a \\\"b\\\"\\u000a\" k=\"x=y\" n=-3\n"));
    captured(line, sizeof line, "logfmt", "plain", "https://h:1/p");
    assert_non_null(strstr(line, " msg=plain k=https://h:1/p n=-3\n"));
    captured(line, sizeof line, "json", "m\n", "\xff");
    assert_non_null(strstr(line, "\"msg\":\"m\\u000a\",\"k\":\"\xef\xbf\xbd\",\"n\":-3}\n"));
}

static void log_lines_stay_whole_when_they_are_cut(void **state)
{
    (void)state;
    static char line[16384], big[8000];
    memset(big, '\n', sizeof big - 1);
    captured(line, sizeof line, "json", big, "v");
    assert_in_range(strlen(line), 1000, SPY_LOG_MAX + 2);
    assert_string_equal(line + strlen(line) - 16, "\"k\":\"v\",\"n\":-3}\n");
    captured(line, sizeof line, "json", "m", big);
    assert_non_null(strstr(line, "\"msg\":\"m\"}\n"));
    captured(line, sizeof line, "logfmt", big, big);
    assert_string_equal(line + strlen(line) - 2, "\"\n");
}

static void log_prints_the_set_level_and_graver_ones(void **state)
{
    (void)state;
    char line[1024];
    struct spy_err e = {0};
    captured(line, sizeof line, "logfmt", "m", "v");
    assert_null(strstr(line, "too fine"));
    assert_int_equal(spy_log_set_level("debug", &e), 0);
    captured(line, sizeof line, "logfmt", "m", "v");
    assert_non_null(strstr(line, "level=debug msg=\"too fine to be seen\""));
    assert_int_equal(spy_log_set_level("error", &e), 0);
    assert_int_equal(spy_log_set_level("loud", &e), SPY_ERR_USAGE);
    assert_string_equal(e.msg, "--log-level takes error, warn, info or debug, not 'loud'");
    assert_int_equal(spy_log_set_format("xml", &e), SPY_ERR_USAGE);
    captured(line, sizeof line, "logfmt", "m", "v");
    assert_string_equal(line, "");
    assert_int_equal(spy_log_set_level("info", &e), 0);
}

static uint64_t due_state;
static int due_count;

static void *ask_often(void *arg)
{
    for (int i = 0; i < 1000; i++)
        if (spy_log_due(&due_state, 3600 * SPY_NS_PER_SEC))
            __atomic_fetch_add(&due_count, 1, __ATOMIC_RELAXED);
    return arg;
}

static void log_due_is_true_once_for_all_threads(void **state)
{
    (void)state;
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, ask_often, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(due_count, 1);
    uint64_t again = 0;
    assert_true(spy_log_due(&again, 1));
    spy_clock_sleep_until(spy_clock_mono_ns() + SPY_NS_PER_MS);
    assert_true(spy_log_due(&again, 1));
}

// --- metrics ---

static void metrics_print_one_help_for_each_name(void **state)
{
    (void)state;
    static int64_t a, b, g;
    const struct spy_metric rows[] = {
        {"x_total", "k=\"1\"", "what it is", SPY_COUNTER, &a},
        {"x_total", "k=\"2\"", NULL, SPY_COUNTER, &b},
        {"y", NULL, "a level", SPY_GAUGE, &g},
    };
    spy_count(&a, 2);
    spy_count(&a, 3);
    spy_gauge_set(&g, -1);
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(1000);
    assert_int_equal(spy_metrics_print(rows, SPY_COUNT(rows), &out), 0);
    assert_string_equal(spy_buf_str(&out), "# HELP x_total what it is\n# TYPE x_total counter\n"
                                           "x_total{k=\"1\"} 5\nx_total{k=\"2\"} 0\n"
                                           "# HELP y a level\n# TYPE y gauge\ny -1\n");
    _cleanup_buf_ struct spy_buf tiny = SPY_BUF_INIT(5);
    assert_int_equal(spy_metrics_print(rows, SPY_COUNT(rows), &tiny), SPY_ERR_LIMIT);
}

#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

RUN(T(err_is_optional_and_returns_its_code), T(err_appends_errno_and_context),
    T(err_context_of_an_unset_error_stays_a_failure), T(err_message_can_quote_itself),
    T(err_message_is_one_line_of_whole_characters), T(every_code_has_its_name),
    T(buf_never_passes_its_cap), T(buf_refuses_lengths_that_wrap),
    T(buf_str_of_an_empty_buffer_is_empty), T(buf_commit_ends_the_text),
    T(utf8_takes_exactly_rfc_3629), T(json_escapes_quotes_and_control_characters),
    T(json_escapes_each_byte_wherever_it_stands), T(numbers_are_decimal),
    T(text_is_cut_between_characters), T(grow_fails_at_max_and_changes_nothing),
    T(arena_zeroes_aligns_and_keeps_its_cap),
    T(map_finds_all_keys_after_growing_and_with_equal_hashes),
    T(map_is_not_slowed_by_chosen_hashes), T(clocks_go_forward_and_sleep_until_waits),
    T(random_is_uniform_enough), T(random_seeds_itself), IN_FOLDER(file_is_read_whole_and_bounded),
    IN_FOLDER(file_read_small_cuts), IN_FOLDER(file_is_written_with_its_mode_and_nothing_beside_it),
    IN_FOLDER(mkdirs_makes_all_and_refuses_a_file_in_the_way), T(log_lines_are_escaped),
    T(log_lines_stay_whole_when_they_are_cut), T(log_prints_the_set_level_and_graver_ones),
    T(log_due_is_true_once_for_all_threads), T(metrics_print_one_help_for_each_name))
