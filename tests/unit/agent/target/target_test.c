// One foreign process: its maps, its symbols, its threads, its memory, and the pause that it must
// not notice.
#include "agent/target/maps_load.h"
#include "agent/target/pause.h"
#include "agent/target/symbols.h"
#include "agent/target/threads.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

// What a child shares with its test.
struct shared {
    atomic_ulong beats, usr1, alarms, sent;
    atomic_int stop, ready, tid;
};

static struct shared *shared;

static pid_t start(void (*body)(void))
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        body();
        _exit(0);
    }
    while (body && !shared->ready)
        usleep(1000);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
    munmap(shared, sizeof *shared);
}

static struct spy_target *open_target(pid_t pid)
{
    struct spy_target *t = NULL;
    assert_int_equal(spy_target_open(pid, &t, NULL), 0);
    return t;
}

static void beat(void)
{
    shared->ready = 1;
    for (;;)
        shared->beats++;
}

static void nap(void)
{
    shared->ready = 1;
    for (;;)
        pause();
}

static void wait_for_beat(void)
{
    unsigned long before = shared->beats;
    for (int i = 0; i < 60000 && shared->beats == before; i++)
        usleep(1000);
    assert_true(shared->beats > before);
}

// --- maps ---

// As the C library has it, not as a sanitizer in front of it.
static uint64_t libc_address(const char *name)
{
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    assert_non_null(libc);
    uint64_t addr = (uintptr_t)dlsym(libc, name);
    dlclose(libc);
    assert_int_not_equal(addr, 0);
    return addr;
}

static void maps_equal_what_the_linker_knows(void **state)
{
    (void)state;
    pid_t pid = start(nap);
    struct spy_target *t = open_target(pid);
    struct spy_maps m = {0};
    assert_int_equal(spy_maps_load(t, &m, NULL), 0);
    const struct spy_mapping *e = spy_maps_find(&m, libc_address("puts"));
    assert_non_null(e);
    assert_true(e->executable && !e->writable);
    assert_non_null(strstr(spy_maps_path(&m, e), "libc.so"));
    e = spy_maps_find(&m, (uint64_t)(uintptr_t)shared);
    assert_non_null(e);
    assert_true(e->readable && e->writable);
    assert_null(spy_maps_find(&m, 1));
    assert_null(spy_maps_find(&m, UINT64_MAX));
    for (size_t i = 1; i < m.n; i++)
        assert_true(m.list[i].start >= m.list[i - 1].end);
    spy_maps_free(&m);
    spy_target_free(t);
    end(pid);
}

static void malformed_lines_of_maps_are_skipped(void **state)
{
    (void)state;
    char text[] = "7f00-7f10 r-xp 00000000 08:01 42   /a b (deleted)\n"
                  "nonsense\n\n"
                  "10-20 rw-p 0 0:0 0\n"
                  "99999999999999999999999-1 r--p 0 0:0 0 /x\n"
                  "20-30 ---p 0 0:0 0    [heap]";
    struct spy_maps m = {0};
    assert_int_equal(spy_maps_parse(text, &m), 0);
    assert_true(m.n >= 3);
    assert_string_equal(spy_maps_path(&m, &m.list[0]), "/a b (deleted)");
    assert_int_equal(m.list[0].inode, 42);
    assert_string_equal(spy_maps_path(&m, &m.list[1]), "");
    assert_true(m.list[1].writable && !m.list[1].executable);
    assert_string_equal(spy_maps_path(&m, &m.list[m.n - 1]), "[heap]");
    spy_maps_free(&m);
}

// --- memory ---

static void failed_reads_return_their_cause(void **state)
{
    (void)state;
    pid_t pid = start(nap);
    struct spy_target *t = open_target(pid);
    char here[64];
    uint64_t value,
        page = (uint64_t)(uintptr_t)mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap((void *)(uintptr_t)page, 8192); // NOLINT: made after the fork, so never there
    atomic_store(&shared->beats, 77);
    assert_int_equal(spy_target_read_u64(t, (uint64_t)(uintptr_t)&shared->beats, &value), 0);
    assert_int_equal(value, 77);
    assert_int_equal(spy_target_read(t, page, here, sizeof here), SPY_ERR_TORN);
    assert_int_equal(spy_target_read(t, 0, here, sizeof here), SPY_ERR_TORN);
    assert_int_equal(spy_target_read(t, UINT64_MAX - 8, here, sizeof here), SPY_ERR_TORN);
    size_t done = 99;
    uint64_t good = (uint64_t)(uintptr_t)shared;
    struct spy_span spans[3] = {{good, here, 8}, {page, here + 8, 8}, {good, here + 16, 8}};
    assert_int_equal(spy_target_read_spans(t, spans, 3, &done), SPY_ERR_TORN);
    assert_int_equal(done, 1);
    assert_int_equal(spy_target_read_spans(t, spans, SPY_SPANS_MAX + 1, NULL), SPY_ERR_LIMIT);
    assert_true(spy_target_alive(t));
    kill(pid, SIGKILL);
    siginfo_t info;
    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    assert_int_equal(spy_target_read(t, good, here, 8), SPY_ERR_GONE); // a zombie
    assert_false(spy_target_alive(t));
    struct spy_maps m = {0};
    assert_int_equal(spy_maps_load(t, &m, NULL), SPY_ERR_GONE);
    spy_target_free(t);
    end(pid);
    struct spy_err err;
    assert_int_equal(spy_target_open(pid, &t, &err), SPY_ERR_GONE);
    assert_int_equal(spy_target_open(-5, &t, &err), SPY_ERR_INVALID);
}

int main(void);

// --- symbols ---

static struct spy_module *load_modules(const struct spy_target *t, struct spy_maps *m, size_t *n)
{
    struct spy_module *mods = NULL;
    assert_int_equal(spy_maps_load(t, m, NULL), 0);
    assert_int_equal(spy_modules(m, &mods, n), 0);
    return mods;
}

static void symbols_equal_what_the_linker_knows(void **state)
{
    (void)state;
    static const char *const names[] = {"puts", "malloc", "pthread_create", "qsort"};
    pid_t pid = start(nap);
    struct spy_target *t = open_target(pid);
    struct spy_maps m = {0};
    size_t n;
    struct spy_module *mods = load_modules(t, &m, &n);
    size_t libc = n, own = n; // a sanitizer maps a file before them
    assert_true(n > 2);
    for (size_t i = 0; i < n; i++) {
        if (strstr(mods[i].path, "/libc.so"))
            libc = i;
        if (strstr(mods[i].path, "/target_test"))
            own = i;
    }
    assert_true(libc < n && own < n);
    for (size_t i = 0; i < SPY_COUNT(names); i++) {
        uint64_t addr = 0;
        assert_int_equal(spy_module_symbol(t, &mods[libc], names[i], &addr), 0);
        assert_int_equal(addr, libc_address(names[i]));
    }
    uint64_t addr = 5;
    assert_int_equal(spy_module_symbol(t, &mods[libc], "no_such_symbol", &addr), SPY_ERR_NOTFOUND);
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[299] = 0;
    assert_int_equal(spy_module_symbol(t, &mods[libc], longest, &addr), SPY_ERR_INVALID);
    assert_int_equal(addr, 5);
    // The executable's own: only .symtab has it.
    assert_int_equal(spy_module_file_symbol(t, &m, &mods[own], "main", &addr), 0);
    assert_int_equal(addr, (uintptr_t)main);
    free(mods);
    spy_maps_free(&m);
    spy_target_free(t);
    end(pid);
}

static int static_output;

static void run_static(void)
{
    dup2(static_output, STDOUT_FILENO);
    shared->ready = 1;
    execl(STATIC_TARGET, STATIC_TARGET, (char *)NULL);
}

// No dynamic symbols tell where it lies, and its file still has those of the linker.
static void symbols_of_a_static_program_are_found(void **state)
{
    (void)state;
    int out[2];
    char text[32] = "";
    assert_int_equal(pipe(out), 0);
    static_output = out[1];
    pid_t pid = start(run_static);
    assert_true(read(out[0], text, sizeof text - 1) > 0);
    struct spy_target *t = open_target(pid);
    struct spy_maps m = {0};
    size_t n;
    struct spy_module *mods = load_modules(t, &m, &n);
    assert_true(n > 0);
    uint64_t addr = 0;
    assert_int_equal(spy_module_symbol(t, &mods[0], "spy_static_variable", &addr),
                     SPY_ERR_NOTFOUND);
    assert_int_equal(spy_module_file_symbol(t, &m, &mods[0], "spy_static_variable", &addr), 0);
    assert_int_equal(addr, strtoull(text, NULL, 16));
    addr = 5;
    assert_int_equal(spy_module_file_symbol(t, &m, &mods[0], "no_such_symbol", &addr),
                     SPY_ERR_NOTFOUND);
    assert_int_equal(addr, 5);
    free(mods);
    spy_maps_free(&m);
    spy_target_free(t);
    close(out[0]);
    close(out[1]);
    end(pid);
}

// --- threads ---

static void *second(void *arg)
{
    (void)arg;
    shared->tid = gettid();
    prctl(PR_SET_NAME, "a) R (b");
    shared->ready = 1;
    for (;;)
        pause();
    return NULL;
}

static void two_threads(void)
{
    pthread_t th;
    pthread_create(&th, NULL, second, NULL);
    for (;;)
        shared->beats++;
}

static void busy_and_idle_threads_are_told_apart(void **state)
{
    (void)state;
    pid_t pid = start(two_threads);
    struct spy_target *t = open_target(pid);
    _cleanup_free_ struct spy_tid *list = NULL;
    size_t n = 0;
    assert_int_equal(spy_threads_list(t, &list, &n), 0);
    size_t at[2] = {n, n}; // a sanitizer may have threads of its own
    for (size_t i = 0; i < n; i++) {
        at[0] = list[i].tid == pid ? i : at[0];
        at[1] = list[i].tid == shared->tid ? i : at[1];
    }
    assert_true(at[0] < n && at[1] < n && n < 5);
    assert_int_equal(list[at[1]].ns_tid, shared->tid);
    struct spy_thread_probe busy, idle;
    struct spy_thread_state s;
    struct spy_thread_sched before, after;
    spy_thread_probe_init(&busy, t, pid);
    spy_thread_probe_init(&idle, t, list[at[1]].tid);
    assert_int_equal(spy_thread_probe_sched(&busy, &before), 0);
    for (s.running = true; s.running; usleep(1000)) // it was ready before it slept
        assert_int_equal(spy_thread_probe_state(&idle, &s), 0);
    int running = 0;
    for (int i = 0; i < 50; i++) {
        assert_int_equal(spy_thread_probe_state(&busy, &s), 0);
        running += s.running;
        assert_int_equal(spy_thread_probe_state(&idle, &s), 0);
        assert_false(s.running);
        usleep(500);
    }
    assert_true(running > 40);
    assert_int_equal(spy_thread_probe_sched(&busy, &after), 0);
    assert_true(after.on_cpu_ns > before.on_cpu_ns && after.slices >= before.slices);
    struct spy_thread_probe none;
    spy_thread_probe_init(&none, t, 1 << 22);
    assert_int_equal(spy_thread_probe_state(&none, &s), SPY_ERR_GONE);
    end(pid);
    assert_int_equal(spy_thread_probe_state(&busy, &s), SPY_ERR_GONE);
    assert_int_equal(spy_threads_list(t, &list, &n), SPY_ERR_GONE);
    spy_thread_probe_done(&busy);
    spy_thread_probe_done(&idle);
    spy_target_free(t);
}

// --- the pause ---

static char state_of(pid_t pid)
{
    char path[40], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    const char *at = strrchr(text, ')');
    return at ? at[2] : '?';
}

static void a_paused_thread_stops_and_resumes(void **state)
{
    (void)state;
    pid_t pid = start(beat);
    struct spy_pause p = {0};
    for (int i = 0; i < 500; i++) {
        int signal = 0, r = spy_pause_begin(&p, pid, &signal);
        if (r == SPY_ERR_AGAIN) { // a busy machine: it stops later, and is let go then
            spy_pause_reap(&p);
            continue;
        }
        assert_int_equal(r, 0);
        unsigned long before = shared->beats;
        assert_int_equal(state_of(pid), 't');
        assert_int_equal(shared->beats, before);
        spy_pause_end(&p, pid, signal);
    }
    while (p.n_strays)
        spy_pause_reap(&p);
    wait_for_beat();
    assert_true(state_of(pid) == 'R');
    end(pid);
}

static void on_usr1(int s)
{
    (void)s;
    shared->usr1++;
}

static void on_alarm(int s)
{
    (void)s;
    shared->alarms++;
}

static void count_signals(void)
{
    signal(SIGALRM, on_alarm);
    signal(SIGRTMIN, on_usr1);
    struct itimerval every = {{0, 700}, {0, 700}};
    setitimer(ITIMER_REAL, &every, NULL);
    shared->ready = 1;
    for (;;)
        shared->beats++;
}

// Real-time signals are queued, so that each one sent is one received.
static void no_signal_is_lost_or_doubled(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("left out: that sanitizer itself holds signals back, and merges them\n");
    skip();
#endif
    pid_t pid = start(count_signals);
    struct spy_pause p = {0};
    unsigned long paused = 0;
    uint64_t until = spy_clock_mono_ns() + 100 * SPY_NS_PER_SEC;
    while ((paused < 1000 || shared->alarms < 200) && spy_clock_mono_ns() < until) {
        int signal = 0;
        for (int i = 0; i < 3; i++)
            shared->sent += sigqueue(pid, SIGRTMIN, (union sigval){0}) == 0;
        if (spy_pause_begin(&p, pid, &signal) == 0) {
            shared->sent += sigqueue(pid, SIGRTMIN, (union sigval){0}) == 0;
            spy_pause_end(&p, pid, signal);
            paused++;
        }
        spy_pause_reap(&p);
        usleep(300);
    }
    while (p.n_strays)
        spy_pause_reap(&p);
    for (int i = 0; i < 60000 && shared->usr1 != shared->sent; i++)
        usleep(1000);
    assert_true(paused >= 1000 && shared->alarms >= 200);
    assert_int_equal(shared->usr1, shared->sent);
    unsigned long alarms = shared->alarms;
    for (int i = 0; i < 60000 && shared->alarms == alarms; i++)
        usleep(1000);
    assert_true(shared->alarms > alarms);
    end(pid);
}

static void a_stopped_process_stays_stopped(void **state)
{
    (void)state;
    pid_t pid = start(beat);
    struct spy_pause p = {0};
    int signal = 0;
    kill(pid, SIGSTOP);
    siginfo_t info;
    waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT);
    int r = spy_pause_begin(&p, pid, &signal);
    if (r == 0)
        spy_pause_end(&p, pid, signal);
    while (p.n_strays)
        spy_pause_reap(&p);
    for (int i = 0; i < 60000 && state_of(pid) != 'T'; i++)
        usleep(1000);
    assert_int_equal(state_of(pid), 'T');
    unsigned long before = shared->beats;
    usleep(20000);
    assert_int_equal(state_of(pid), 'T');
    assert_int_equal(shared->beats, before);
    kill(pid, SIGCONT);
    wait_for_beat();
    end(pid);
}

static void vfork_sleep(void)
{
    // A parent waits for its vfork child in the kernel, uninterruptibly: it cannot be stopped now.
    shared->ready = 1;
    pid_t child = vfork();
    if (child == 0) {
        execlp("sleep", "sleep", "0.4", (char *)NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
    for (;;)
        shared->beats++;
}

// Cannot be stopped until `stop`.
static void vfork_until_stop(void)
{
    pid_t child = vfork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        shared->ready = 1;
        while (!shared->stop)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    for (;;)
        shared->beats++;
}

static void reap_strays(struct spy_pause *p)
{
    shared->stop = 1;
    while (p->n_strays) {
        spy_pause_reap(p);
        usleep(1000);
    }
}

// Others would be sampled late for as long as it is waited for.
static bool measure_waits(void *tries_max)
{
    struct spy_pause p = {0};
    pid_t pid = start(vfork_until_stop);
    uint64_t begin = spy_clock_mono_ns(), waited = 0;
    int tries = 0, signal = 0, in_time = 0;
    for (; tries < *(int *)tries_max; tries++) {
        uint64_t wall = spy_clock_mono_ns();
        if (spy_pause_begin(&p, pid, &signal) == 0) {
            spy_pause_end(&p, pid, signal);
            in_time++;
        }
        waited += spy_clock_mono_ns() - wall;
        usleep(1000);
    }
    uint64_t took = spy_clock_mono_ns() - begin;
    assert_int_equal(in_time, 0);
    assert_true(p.vain_ns >= SPY_PAUSE_VAIN_NS && p.vain_ns < waited + SPY_PAUSE_WAIT_NS);
    reap_strays(&p);
    end(pid);
    print_message("waited %llu of %llu ms\n", (unsigned long long)(waited / SPY_NS_PER_MS),
                  (unsigned long long)(took / SPY_NS_PER_MS));
    return waited < 300 * SPY_NS_PER_MS; // about 100 ms, on a machine with other work
}

static void the_wait_for_a_thread_that_does_not_stop_is_bounded(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("left out: that sanitizer makes vfork a fork, so that nobody is held\n");
    skip();
#endif
    int tries = 60;
    assert_measured(measure_waits, &tries, "the wait for a thread that does not stop", 5);
}

// Nobody calls spy_pause_reap any more: what has seized it lives on, and would leave it stopped.
static void a_thread_that_stops_after_the_last_poll_is_released(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("left out: that sanitizer makes vfork a fork, so that nobody is held\n");
    skip();
#endif
    struct spy_pause p = {0};
    int signal = 0;
    pid_t pid = start(vfork_until_stop);
    assert_int_equal(spy_pause_begin(&p, pid, &signal), SPY_ERR_AGAIN);
    spy_pause_reap(&p);
    assert_int_equal(p.n_strays, 1);
    spy_pause_done(&p);
    shared->stop = 1;
    for (int i = 0; i < 60000 && !shared->beats; i++) {
        spy_pause_reap_late();
        usleep(1000);
    }
    assert_true(shared->beats > 0);
    assert_int_equal(state_of(pid), 'R');
    end(pid);
}

static void *beat_in_thread(void *unused)
{
    shared->tid = gettid();
    beat();
    return unused;
}

// Its child, whose number is `sent`, has two threads that run; `stop` when it was told of the
// child's end.
static void wait_for_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        shared->sent = (unsigned long)getpid();
        pthread_create(&thread, NULL, beat_in_thread, NULL);
        for (;;)
            shared->alarms++;
    }
    waitpid(pid, NULL, 0);
    shared->stop = 1;
    nap();
}

// A tracer that does not wait for what it holds keeps the whole process from ending.
static void who_is_killed_while_it_is_held_ends(bool main_thread, bool reap_late)
{
    pid_t parent = start(wait_for_child), pid = (pid_t)shared->sent;
    struct spy_pause p = {0};
    int signal = 0, r = SPY_ERR_AGAIN;
    for (int i = 0; i < 1000 && r == SPY_ERR_AGAIN; i++)
        r = spy_pause_begin(&p, main_thread ? pid : shared->tid, &signal);
    assert_int_equal(r, 0);
    kill(pid, SIGKILL);
    usleep(20000); // it is dead by then
    spy_pause_end(&p, main_thread ? pid : shared->tid, signal);
    for (int i = 0; i < 60000 && !shared->stop; i++) {
        if (reap_late)
            spy_pause_reap_late();
        else
            spy_pause_reap(&p);
        usleep(1000);
    }
    assert_true(shared->stop);
    spy_pause_done(&p);
    assert_true(reap_late || p.n_strays == 0);
    end(parent);
}

static void a_thread_killed_during_a_pause_ends(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        who_is_killed_while_it_is_held_ends(i & 1, i & 2);
}

static size_t size_of_file(const char *path)
{
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    return n > 0 ? (size_t)n : 0;
}

// A daemon's threads do that: a wait that only a signal can end must end all the same.
static void a_wait_ends_with_all_signals_blocked(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); // it makes vfork a fork, so that nobody is held
#endif
    struct spy_pause p = {0};
    sigset_t all, before;
    sigfillset(&all);
    pid_t pid = start(vfork_until_stop);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &all, &before), 0);
    int signal = 0;
    size_t timers = size_of_file("/proc/self/timers");
    uint64_t wall = spy_clock_mono_ns();
    assert_int_equal(spy_pause_begin(&p, pid, &signal), SPY_ERR_AGAIN);
    assert_true(spy_clock_mono_ns() - wall >= SPY_PAUSE_WAIT_NS);
    assert_int_equal(p.timing, SPY_PAUSE_TIMED);
    assert_true(size_of_file("/proc/self/timers") > timers);
    spy_pause_done(&p);
    assert_int_equal(size_of_file("/proc/self/timers"), timers);
    reap_strays(&p);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    end(pid);
}

static void missing_and_traced_threads_are_not_paused(void **state)
{
    (void)state;
    struct spy_pause p = {0};
    int signal = 0;
    assert_int_equal(spy_pause_begin(&p, 1 << 22, &signal), SPY_ERR_GONE);
    pid_t pid = start(nap);
    // Another tracer holds it.
    pid_t tracer = fork();
    if (tracer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
            _exit(1);
        shared->ready = 2;
        for (;;)
            pause();
    }
    while (shared->ready != 2)
        usleep(1000);
    assert_int_equal(spy_pause_begin(&p, pid, &signal), SPY_ERR_DENIED);
    kill(tracer, SIGKILL);
    waitpid(tracer, NULL, 0);
    end(pid);
    pid = start(vfork_sleep);
    for (int i = 0; i < 20; i++) {
        if (spy_pause_begin(&p, pid, &signal) == 0)
            spy_pause_end(&p, pid, signal);
        spy_pause_reap(&p);
    }
    for (int i = 0; i < 60000 && p.n_strays; i++) {
        spy_pause_reap(&p);
        usleep(1000);
    }
    assert_int_equal(p.n_strays, 0);
    for (int i = 0; i < 60000 && !shared->beats; i++)
        usleep(1000);
    assert_true(shared->beats > 0);
    end(pid);
}

// The thread that paused is killed in between: the kernel lets the target go.
static void a_killed_tracer_leaves_nothing_stopped(void **state)
{
    (void)state;
    pid_t pid = start(beat);
    for (int i = 0; i < 50; i++) {
        pid_t tracer = fork();
        if (tracer == 0) {
            struct spy_pause p = {0};
            for (;;) {
                int signal = 0;
                if (spy_pause_begin(&p, pid, &signal) == 0)
                    spy_pause_end(&p, pid, signal);
                spy_pause_reap(&p);
            }
        }
        usleep((useconds_t)(1000 + random() % 8000));
        kill(tracer, SIGKILL);
        waitpid(tracer, NULL, 0);
        unsigned long before = shared->beats;
        for (int k = 0; k < 60000 && shared->beats == before; k++)
            usleep(1000);
        assert_true(shared->beats > before);
        char s = state_of(pid);
        assert_true(s == 'R' || s == 'S');
    }
    end(pid);
}

RUN(T(maps_equal_what_the_linker_knows), T(malformed_lines_of_maps_are_skipped),
    T(failed_reads_return_their_cause), T(symbols_equal_what_the_linker_knows),
    T(symbols_of_a_static_program_are_found), T(busy_and_idle_threads_are_told_apart),
    T(a_paused_thread_stops_and_resumes), T(no_signal_is_lost_or_doubled),
    T(a_stopped_process_stays_stopped), T(the_wait_for_a_thread_that_does_not_stop_is_bounded),
    T(a_thread_that_stops_after_the_last_poll_is_released), T(a_thread_killed_during_a_pause_ends),
    T(a_wait_ends_with_all_signals_blocked), T(missing_and_traced_threads_are_not_paused),
    T(a_killed_tracer_leaves_nothing_stopped))
