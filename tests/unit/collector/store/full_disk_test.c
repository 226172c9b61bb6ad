// A disk that others filled: reads go on, pushes are refused and told why, old data can be dropped,
// and what that frees takes pushes again. Something writes on all the while: what is freed for a
// moment is gone.
#include "kit.h"
#include "shared/base/stop.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MIB = 1 << 20, DISK_MIB = 48, WINDOWS = 2000, BATCH = 50 };
#define MAX_BYTES ((uint64_t)32 * MIB)

struct disk {
    char *dir;
    char ballast[4096];
    bool stop;
    pthread_t filler;
};

static void *fill(void *arg)
{
    static char block[65536];
    struct disk *d = arg;
    int fd = open(d->ballast, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    size_t n = sizeof block;
    while (fd >= 0 && !spy_stop_is_set(&d->stop))
        if (write(fd, block, n) < 0)
            n = n > 512 ? n / 2 : n;
    close(fd);
    return NULL;
}

static bool is_full(const struct disk *d)
{
    char path[4200];
    snprintf(path, sizeof path, "%s.probe", d->ballast);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    bool full = fd >= 0 && write(fd, "x", 1) < 0 && errno == ENOSPC;
    close(fd);
    unlink(path);
    return full;
}

static void wait_until_full(const struct disk *d)
{
    for (int i = 0; i < 1000 && !is_full(d); i++)
        usleep(10000);
    assert_true(is_full(d));
}

static void fill_from_now_on(struct disk *d)
{
    assert_int_equal(pthread_create(&d->filler, NULL, fill, d), 0);
    wait_until_full(d);
}

static void end_filling(struct disk *d)
{
    spy_stop_set(&d->stop);
    pthread_join(d->filler, NULL);
}

static int mount_disk(void **state)
{
    char options[32], *at = kit_folder();
    struct disk *d = calloc(1, sizeof *d);
    assert_non_null(d);
    *state = d;
    snprintf(options, sizeof options, "size=%dm", DISK_MIB);
    if (mount("podspy", at, "tmpfs", 0, options) < 0) {
        kit_remove(at);
        return 0;
    }
    d->dir = at;
    snprintf(d->ballast, sizeof d->ballast, "%s/ballast", at);
    return 0;
}

static int unmount_disk(void **state)
{
    struct disk *d = *state;
    if (d->dir) {
        assert_int_equal(umount(d->dir), 0);
        kit_remove(d->dir);
    }
    free(d);
    return 0;
}

// A window with stacks and names that no other has.
static struct spy_profile *unlike_all(uint64_t id)
{
    const char *pairs[] = {SPY_LABEL_POD, "a"};
    struct spy_profile *p = kit_window(id, T0 + 60 * id, 10, 1, pairs);
    for (int i = 0; i < 20; i++) {
        char stack[160];
        snprintf(stack, sizeof stack, "main;handler_with_a_long_name_%lu;leaf_%lu_%d", id / 10, id,
                 i);
        kit_sample(p, stack, 3);
    }
    return p;
}

// Appends a batch; returns what append did.
static int append(struct spy_store *s, uint64_t first, uint64_t n, struct spy_err *err)
{
    struct spy_profile *batch[BATCH];
    size_t known;
    for (uint64_t i = 0; i < n; i++)
        batch[i] = unlike_all(first + i);
    int r = spy_store_append(s, batch, n, &known, NULL, err);
    for (uint64_t i = 0; i < n; i++)
        spy_profile_free(batch[i]);
    return r;
}

static void expire(struct spy_store *s, uint64_t now_s, uint64_t max_bytes)
{
    struct spy_err err = {0};
    if (spy_store_expire(s, now_s * SEC_NS, 3600 * SEC_NS, max_bytes, &err) < 0)
        fail_msg("%s", err.msg);
}

// How many windows are there; each has 60 counts.
static size_t windows(struct spy_store *s)
{
    struct spy_select all = kit_everything();
    struct spy_profile *out = kit_query(s, &all);
    uint64_t total = kit_total(out);
    spy_profile_free(out);
    assert_int_equal(total, 60 * kit_windows(s, NULL));
    return (size_t)(total / 60);
}

// Fills store and disk; returns the number of windows that were taken.
static uint64_t fill_all(struct spy_store *s, struct disk *d)
{
    struct spy_err err = {0};
    uint64_t n = 0;
    expire(s, T0, MAX_BYTES);
    for (; n < WINDOWS; n += BATCH)
        assert_int_equal(append(s, n, BATCH, &err), 0);
    fill_from_now_on(d);
    int r = 0;
    for (int i = 0; i < 1000 && (r = append(s, n, 1, &err)) == 0; i++)
        n++;
    assert_int_equal(r, SPY_ERR_LIMIT);
    assert_int_equal(err.sys, ENOSPC);
    assert_non_null(strstr(err.msg, "the disk of "));
    assert_int_equal(windows(s), n);
    return n;
}

static void assert_takes_pushes(struct spy_store *s, uint64_t first, uint64_t n)
{
    struct spy_err err = {0};
    for (uint64_t i = 0; i < n; i++)
        if (append(s, first + i, 1, &err) < 0)
            fail_msg("after %lu: %s", i, err.msg);
}

// A store on a full disk; *ret_n: its windows. Skips the test where there is no such disk.
static struct spy_store *open_and_fill(struct disk *d, uint64_t *ret_n)
{
    if (!d->dir) {
        print_message("left out: nothing can be mounted here\n");
        skip();
    }
    struct spy_store *s = kit_open(d->dir, 1000);
    *ret_n = fill_all(s, d);
    return s;
}

static void old_windows_can_be_dropped_from_a_full_disk(void **state)
{
    struct disk *d = *state;
    uint64_t n;
    struct spy_store *s = open_and_fill(d, &n);
    expire(s, T0 + 60 * (n - 1000) + 3600 + 10, MAX_BYTES);
    assert_int_equal(windows(s), 1000);
    wait_until_full(d);
    assert_takes_pushes(s, n, 500);
    assert_int_equal(windows(s), 1500);
    end_filling(d);
    assert_int_equal(spy_store_verify(s, 0, NULL), 0);
    kit_close(s);
}

static void a_lower_bound_works_on_a_full_disk(void **state)
{
    struct disk *d = *state;
    uint64_t n;
    struct spy_store *s = open_and_fill(d, &n);
    expire(s, T0, 6 * MIB);
    size_t left = windows(s);
    assert_true(left > 100 && left < n);
    wait_until_full(d);
    for (int i = 0; i < 4; i++) // the file becomes shorter by 32 MiB a call
        expire(s, T0, 6 * MIB);
    assert_takes_pushes(s, n, 500);
    end_filling(d);
    assert_int_equal(spy_store_verify(s, 0, NULL), 0);
    kit_close(s);
}

static void a_store_opens_and_drops_windows_on_a_full_disk(void **state)
{
    struct disk *d = *state;
    uint64_t n;
    struct spy_store *s = open_and_fill(d, &n);
    for (int i = 0; i < 20; i++) {
        kit_close(s);
        wait_until_full(d); // what it held it holds
        s = kit_open(d->dir, 1000);
        expire(s, T0, MAX_BYTES);
    }
    assert_int_equal(windows(s), n);
    expire(s, T0 + 60 * (n - 1000) + 3600 + 10, MAX_BYTES);
    assert_int_equal(windows(s), 1000);
    assert_takes_pushes(s, n, 100);
    end_filling(d);
    kit_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(old_windows_can_be_dropped_from_a_full_disk, mount_disk,
                                        unmount_disk),
        cmocka_unit_test_setup_teardown(a_lower_bound_works_on_a_full_disk, mount_disk,
                                        unmount_disk),
        cmocka_unit_test_setup_teardown(a_store_opens_and_drops_windows_on_a_full_disk, mount_disk,
                                        unmount_disk),
    };
    // This process alone sees its mounts, and they end with it.
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        perror("mount");
    return cmocka_run_group_tests_name("store: full disk", tests, NULL, NULL);
}
