// What append returned 0 for is there after SIGKILL, once. A child appends with several threads and
// tells the ids it got an acknowledgement for; it is killed at a random moment, again and again, on
// the same store. Also where a small bound makes expiry run all the while: only the oldest windows
// may be missing then, and database and WAL stay within the bound.
#include "kit.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLS = 20, THREADS = 3, BATCH = 3, IDS_MAX = 1 << 20 };
#define BOUND (UINT64_C(3) << 20)

struct appender {
    struct spy_store *store;
    int to;
    uint64_t next, last_batch[BATCH]; // of ids; threads of all children use different ones
};

struct bounded {
    struct spy_store *store;
    int to;
    uint64_t *next; // atomic; also the time: a later id ends later
};

// Windows with stacks that no other has, so that the bound is met soon.
static void *append_unlike_all(void *arg)
{
    struct bounded *a = arg;
    for (;;) {
        struct spy_profile *batch[BATCH];
        uint64_t ids[BATCH];
        size_t known;
        for (size_t i = 0; i < BATCH; i++) {
            ids[i] = __atomic_fetch_add(a->next, 1, __ATOMIC_RELAXED);
            batch[i] =
                kit_window(ids[i], T0 + 60 * ids[i], 10, 1, (const char *[]){SPY_LABEL_POD, "a"});
            for (int k = 0; k < 20; k++) {
                char stack[96];
                snprintf(stack, sizeof stack, "main;a_handler_with_a_long_name;leaf_%lu_%d", ids[i],
                         k);
                kit_sample(batch[i], stack, 3);
            }
        }
        if (spy_store_append(a->store, batch, BATCH, &known, NULL, NULL) < 0)
            _exit(2);
        for (size_t i = 0; i < BATCH; i++)
            spy_profile_free(batch[i]);
        if (write(a->to, ids, sizeof ids) != sizeof ids)
            _exit(3);
    }
    return NULL;
}

static _Noreturn void bounded_child(const char *dir, int to, uint64_t first)
{
    uint64_t next = first;
    pthread_t thread;
    struct spy_store *s = kit_open(dir, 10);
    struct bounded a = {.store = s, .to = to, .next = &next};
    if (spy_store_expire(s, T0, SEC_NS, BOUND, NULL) < 0)
        _exit(1);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, append_unlike_all, &a))
            _exit(1);
    for (;;)
        if (spy_store_expire(s, T0, SEC_NS, BOUND, NULL) < 0)
            _exit(1);
}

// Every third batch is the one before, sent again, as an agent does that missed the answer.
static void *append_for_ever(void *arg)
{
    struct appender *a = arg;
    for (uint64_t round = 0;; round++) {
        struct spy_profile *batch[BATCH];
        size_t known;
        bool again = round % 3 == 2;
        for (size_t i = 0; i < BATCH; i++) {
            uint64_t id = again ? a->last_batch[i] : a->next++;
            a->last_batch[i] = id;
            batch[i] = kit_window(id, T0 + id % 1000, 10, 1,
                                  (const char *[]){SPY_LABEL_POD, id % 2 ? "a" : "b"});
            kit_sample(batch[i], "main;work", 1);
            kit_sample(batch[i], id % 7 ? "main;idle" : "main;work;deep", 2);
        }
        if (spy_store_append(a->store, batch, BATCH, &known, NULL, NULL) < 0)
            _exit(2);
        for (size_t i = 0; i < BATCH; i++)
            spy_profile_free(batch[i]);
        // At most PIPE_BUF, so it is one piece however many write.
        if (write(a->to, a->last_batch, sizeof a->last_batch) != sizeof a->last_batch)
            _exit(3);
    }
    return NULL;
}

static _Noreturn void child(const char *dir, int to, uint64_t first)
{
    struct appender a[THREADS] = {0};
    pthread_t thread;
    struct spy_store *s = NULL;
    struct spy_err err = {0};
    if (spy_store_open("sqlite", dir, 10, SPY_STORE_MEMORY_MAX, &s, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        _exit(1);
    }
    for (uint64_t i = 0; i < THREADS; i++) {
        a[i] = (struct appender){.store = s, .to = to, .next = first + i * 10000};
        if (pthread_create(&thread, NULL, append_for_ever, &a[i]))
            _exit(1);
    }
    for (;;)
        pause();
}

typedef void (*child_fn)(const char *dir, int to, uint64_t first);

// Runs one child until it is killed; marks what it got acknowledged.
static size_t run_and_kill(child_fn run, const char *dir, uint64_t first, uint64_t *seed,
                           uint8_t *acked)
{
    int fds[2];
    uint64_t ids[BATCH];
    size_t n = 0;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        run(dir, fds[1], first);
    }
    close(fds[1]);
    uint64_t kill_after = kit_random(seed) % 40; // acknowledgements, and then some microseconds
    while (n <= kill_after && read(fds[0], ids, sizeof ids) == sizeof ids) {
        for (size_t i = 0; i < BATCH; i++)
            acked[ids[i]] = 1;
        n++;
    }
    usleep((unsigned)(kit_random(seed) % 5000));
    kill(pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    for (; read(fds[0], ids, sizeof ids) == sizeof ids; n++) // what was on its way
        for (size_t i = 0; i < BATCH; i++)
            acked[ids[i]] = 1;
    close(fds[0]);
    return n;
}

// How often each id is in the file, read past the store.
static void count_ids(const char *dir, uint8_t *found)
{
    char path[4096];
    sqlite3 *db = NULL;
    sqlite3_stmt *q = NULL;
    snprintf(path, sizeof path, "%s/podspy.db", dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_string_equal((const char *)sqlite3_column_text(q, 0), "ok");
    sqlite3_finalize(q);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT profile_id FROM windows", -1, &q, NULL),
                     SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW) {
        uint64_t word;
        memcpy(&word, sqlite3_column_blob(q, 0), sizeof word);
        assert_true(word - 1 < IDS_MAX);
        found[word - 1]++;
    }
    sqlite3_finalize(q);
    sqlite3_close(db);
}

static void check_store(const char *dir, const uint8_t *acked)
{
    _cleanup_free_ uint8_t *found = calloc(IDS_MAX, 1);
    size_t n = 0;
    assert_non_null(found);
    count_ids(dir, found);
    for (uint64_t id = 0; id < IDS_MAX; id++) {
        if (acked[id] && !found[id])
            fail_msg("window %lu was acknowledged and is lost", id);
        if (found[id] > 1)
            fail_msg("window %lu is there %u times", id, found[id]);
        n += found[id];
    }
    // Whole windows only, and all of them can be read.
    struct spy_store *s = kit_open(dir, 10);
    struct spy_select all = kit_everything();
    struct spy_profile *p = kit_query(s, &all);
    assert_int_equal(kit_total(p), n * 3);
    spy_profile_free(p);
    kit_close(s);
}

static void acknowledged_windows_survive_sigkill_once(void **state)
{
    (void)state;
    char *dir = kit_folder();
    uint8_t *acked = calloc(IDS_MAX, 1);
    uint64_t seed = spy_clock_real_ns();
    size_t acks = 0;
    printf("seed %lu\n", seed);
    assert_non_null(acked);
    for (uint64_t i = 0; i < KILLS; i++) {
        acks += run_and_kill(child, dir, i * 40000, &seed, acked);
        if (i % 5 == 4)
            check_store(dir, acked);
    }
    printf("%zu acknowledged batches, %d kills\n", acks, KILLS);
    assert_true(acks > KILLS);
    free(acked);
    kit_remove(dir);
}

static uint64_t size_of_files(const char *dir)
{
    static const char *const names[] = {"podspy.db", "podspy.db-wal"};
    uint64_t size = 0;
    for (size_t i = 0; i < SPY_COUNT(names); i++) {
        char path[4096];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        size += stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    }
    return size;
}

// Only what is older than all that is there may be missing; but for what the other appenders had
// under way when room was made.
static void check_bounded(const char *dir, const uint8_t *acked)
{
    _cleanup_free_ uint8_t *found = calloc(IDS_MAX, 1);
    uint64_t newest_missing = 0, below = 0, above = 0, last = 0;
    assert_non_null(found);
    count_ids(dir, found);
    for (uint64_t id = 0; id < IDS_MAX; id++) {
        assert_true(found[id] <= 1);
        newest_missing = acked[id] && !found[id] ? id : newest_missing;
        last = acked[id] ? id : last;
    }
    for (uint64_t id = 0; id < IDS_MAX; id++)
        *(id < newest_missing ? &below : &above) += found[id];
    if (below > (uint64_t)THREADS * BATCH || above < 100)
        fail_msg("%lu of %lu is missing, with %lu before it and %lu after it", newest_missing, last,
                 below, above);
}

static void a_small_bound_holds_and_only_the_oldest_windows_go(void **state)
{
    (void)state;
    char *dir = kit_folder();
    uint8_t *acked = calloc(IDS_MAX, 1);
    uint64_t seed = spy_clock_real_ns(), largest = 0, first = 0;
    size_t acks = 0;
    printf("seed %lu\n", seed);
    assert_non_null(acked);
    for (uint64_t i = 0; i < KILLS / 2; i++) {
        for (int k = 0; k < 3; k++)
            acks += run_and_kill(bounded_child, dir, first + (uint64_t)k * 5000, &seed, acked);
        uint64_t size = size_of_files(dir);
        largest = size > largest ? size : largest;
        first += 20000;
        if (i > 4)
            check_bounded(dir, acked);
    }
    printf("%zu acknowledged batches, %d kills, largest %lu of %lu\n", acks, KILLS / 2 * 3, largest,
           BOUND);
    assert_true(largest <= BOUND && largest > BOUND / 2);
    free(acked);
    kit_remove(dir);
}

RUN(T(acknowledged_windows_survive_sigkill_once),
    T(a_small_bound_holds_and_only_the_oldest_windows_go))
