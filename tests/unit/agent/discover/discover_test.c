// Real processes below the real /proc, and a made-up /proc where the content matters.
#include "agent/discover/discover.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "tests/unit/agent/discover/engine.h"
#include "tests/unit/agent/discover/fakeproc.h"
#include "tests/unit/agent/discover/problems.h"
#include "tests/unit/test.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ID1 "1111111111111111111111111111111111111111111111111111111111111111"
#define ID2 "2222222222222222222222222222222222222222222222222222222222222222"
#define ID3 "3333333333333333333333333333333333333333333333333333333333333333"

// --- what was told ---

struct told {
    enum spy_discover_event event;
    struct spy_process p; // its pointers lead to the texts below
    char text[6][1100];
};

static struct told told[256];
static size_t n_told;

static void record(void *arg, enum spy_discover_event event, const struct spy_process *p)
{
    (void)arg;
    assert_true(n_told < SPY_COUNT(told));
    struct told *t = &told[n_told++];
    t->event = event;
    t->p = *p;
    const char **all[] = {&t->p.command,   &t->p.cmdline,       &t->p.place.container_id,
                          &t->p.place.pod, &t->p.place.service, &t->p.reason};
    for (size_t i = 0; i < SPY_COUNT(all); i++) {
        snprintf(t->text[i], sizeof t->text[i], "%s", *all[i]);
        *all[i] = t->text[i];
    }
}

static const struct told *last_told(pid_t pid, enum spy_discover_event event)
{
    for (size_t i = n_told; i-- > 0;)
        if (told[i].p.pid == pid && told[i].event == event)
            return &told[i];
    return NULL;
}

static size_t count_told(pid_t pid, enum spy_discover_event event)
{
    size_t n = 0;
    for (size_t i = 0; i < n_told; i++)
        n += told[i].p.pid == pid && told[i].event == event;
    return n;
}

// --- a discover with its configuration ---

struct room {
    struct spy_agent_config config;
    struct spy_discover *d;
};

static void room_open(struct room *r, const char *proc_root, const char *yaml)
{
    struct spy_err err = {0};
    n_told = 0;
    if (spy_agent_config_parse("test", yaml, strlen(yaml), &r->config, &err) < 0 ||
        spy_discover_new(&r->config, proc_root, &r->d, &err) < 0)
        fail_msg("%s", err.msg);
}

static void room_close(struct room *r)
{
    spy_discover_free(r->d);
    spy_agent_config_free(&r->config);
}

static void poll_once(struct room *r)
{
    struct spy_err err = {0};
    if (spy_discover_poll(r->d, record, NULL, &err) < 0)
        fail_msg("%s", err.msg);
}

// Polls as the agent's loop does, for at most so many milliseconds.
static const struct told *poll_until(struct room *r, pid_t pid, enum spy_discover_event event,
                                     int ms)
{
    unsigned long long end = spy_clock_mono_ns() + (unsigned long long)ms * SPY_NS_PER_MS;
    for (;;) {
        poll_once(r);
        const struct told *t = last_told(pid, event);
        if (t || spy_clock_mono_ns() >= end)
            return t;
        usleep(100000);
    }
}

static const char *problems(struct room *r)
{
    static struct spy_buf b = {.max = 65536};
    spy_buf_reset(&b);
    put_problems(&b, r->d);
    assert_int_equal(b.failed, 0);
    return spy_buf_str(&b);
}

// --- real processes ---

struct child {
    pid_t pid;
    int in, out; // its stdin and stdout
};

static struct child spawn(const char *const argv[])
{
    int in[2], out[2];
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    return (struct child){pid, in[1], out[0]};
}

static pid_t read_pid(const struct child *c)
{
    char line[32];
    size_t n = 0;
    while (n < sizeof line - 1 && read(c->out, line + n, 1) == 1 && line[n] != '\n')
        n++;
    line[n] = 0;
    return (pid_t)strtol(line, NULL, 10);
}

static void end(struct child *c)
{
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    close(c->in);
    close(c->out);
}

// Prints a line when it runs; then for each line it is sent does what the line says.
static const char server[] =
    "import os, sys, time\n"
    "print(os.getpid(), flush=True)\n"
    "for line in sys.stdin:\n"
    "    word = line.strip()\n"
    "    if word == 'fork':\n"
    "        pid = os.fork()\n"
    "        if pid == 0:\n"
    "            time.sleep(60)\n"
    "            os._exit(0)\n"
    "        print(pid, flush=True)\n"
    "    elif word == 'tree':\n"
    "        r, w = os.pipe()\n"
    "        if os.fork() == 0:\n"
    "            pid = os.fork()\n"
    "            if pid: os.write(w, str(pid).encode())\n"
    "            time.sleep(60)\n"
    "            os._exit(0)\n"
    "        print(int(os.read(r, 32)), flush=True)\n"
    "    elif word == 'reap':\n"
    "        import signal\n"
    "        os.kill(pid, signal.SIGKILL)\n"
    "        os.waitpid(pid, 0)\n"
    "        print(0, flush=True)\n"
    "    elif word == 'thread':\n"
    "        import threading\n"
    "        t = threading.Thread(target=time.sleep, args=(60,), daemon=True)\n"
    "        t.start()\n"
    "        print(t.native_id, flush=True)\n"
    "    elif word == 'name':\n"
    "        open('/proc/self/comm', 'w').write('x) R 1\\n1')\n"
    "        print(0, flush=True)\n"
    "    elif word == 'exec':\n"
    "        os.execvp(sys.executable, [sys.executable, '-c',\n"
    "            'import os,time; print(os.getpid(), flush=True); time.sleep(60)', "
    "'second-life'])\n";

static struct child spawn_server(const char *mark)
{
    struct child c = spawn((const char *const[]){"python3", "-c", server, mark, NULL});
    assert_int_equal(read_pid(&c), c.pid);
    return c;
}

static pid_t tell(struct child *c, const char *word)
{
    assert_int_equal(dprintf(c->in, "%s\n", word), (int)strlen(word) + 1);
    return read_pid(c);
}

static char rule_yaml[256];
static char mark[64];

// A rule that no other process of the machine matches.
static const char *rule(void)
{
    snprintf(mark, sizeof mark, "podspy-test-%d-%llx", (int)getpid(),
             (unsigned long long)spy_clock_mono_ns());
    snprintf(rule_yaml, sizeof rule_yaml,
             "discovery: {docker: off, processes: [{name: web, exe: 'python3*', cmdline: '%s$', "
             "rate: 42}]}\n",
             mark);
    return rule_yaml;
}

static void kill_pid(pid_t pid)
{
    if (pid > 0)
        kill(pid, SIGKILL);
}

static void a_rule_opts_in_and_nothing_else_is_reported(void **state)
{
    (void)state;
    struct room r;
    room_open(&r, "/proc", rule());
    struct child in = spawn_server(mark), other = spawn_server("other");
    const struct told *t = poll_until(&r, in.pid, SPY_DISCOVER_ADDED, 2000);
    assert_non_null(t);
    assert_string_equal(t->p.reason, "rule web");
    assert_string_equal(t->p.place.pod, "web");
    assert_string_equal(t->p.place.service, "web");
    assert_int_equal(t->p.rate, 42);
    assert_int_equal(t->p.blocking, SPY_PAUSE_AUTO);
    assert_int_equal(t->p.ppid, getpid());
    assert_int_equal(t->p.ns_pid, in.pid);
    assert_true(t->p.start_time > 0);
    assert_non_null(strstr(t->p.cmdline, "python3 -c import os, sys"));
    assert_int_equal(n_told, 1);
    end(&in);
    end(&other);
    room_close(&r);
}

static void a_child_is_found_by_the_poll_after_250_ms(void **state)
{
    (void)state;
    struct room r;
    room_open(&r, "/proc", rule());
    struct child in = spawn_server(mark);
    assert_non_null(poll_until(&r, in.pid, SPY_DISCOVER_ADDED, 2000));
    for (int i = 0; i < 5; i++) {
        pid_t pid = tell(&in, "fork");
        for (int k = 0; k < 2; k++) { // the agent's loop
            usleep(100000);
            poll_once(&r);
        }
        const struct told *t = last_told(pid, SPY_DISCOVER_ADDED);
        assert_non_null(t);
        assert_int_equal(t->p.ppid, in.pid);
        assert_int_equal(t->p.rate, 42);
        assert_string_equal(t->p.place.pod, "web");
        kill_pid(pid);
    }
    end(&in);
    room_close(&r);
}

static void descendants_older_than_discover_are_opted_in(void **state)
{
    (void)state;
    struct room r;
    room_open(&r, "/proc", rule());
    // neither middle nor grandchild matches by itself: they are of an exe that no rule names
    char script[256];
    snprintf(script, sizeof script, "sh -c 'sleep 60 & echo $!; wait' & wait # %s", mark);
    snprintf(rule_yaml, sizeof rule_yaml,
             "discovery: {docker: off, processes: [{name: web, exe: bash, cmdline: '%s$'}]}\n",
             mark);
    room_close(&r);
    struct child top = spawn((const char *const[]){"bash", "-c", script, NULL});
    pid_t grandchild = read_pid(&top);
    room_open(&r, "/proc", rule_yaml);
    poll_once(&r); // the first one is enough
    assert_non_null(last_told(top.pid, SPY_DISCOVER_ADDED));
    const struct told *t = last_told(grandchild, SPY_DISCOVER_ADDED);
    assert_non_null(t);
    pid_t middle = t->p.ppid;
    char reason[64];
    snprintf(reason, sizeof reason, "child of %d", (int)middle);
    assert_string_equal(t->p.reason, reason);
    assert_non_null(last_told(middle, SPY_DISCOVER_ADDED));

    // the middle goes: the grandchild stays in, though another is its parent now
    kill_pid(middle);
    assert_non_null(poll_until(&r, middle, SPY_DISCOVER_REMOVED, 2000));
    poll_once(&r);
    assert_null(last_told(grandchild, SPY_DISCOVER_REMOVED));
    kill_pid(grandchild);
    assert_non_null(poll_until(&r, grandchild, SPY_DISCOVER_REMOVED, 2000));
    end(&top);
    room_close(&r);
}

static void a_thread_is_not_a_child(void **state)
{
    (void)state;
    struct room r;
    room_open(&r, "/proc", rule());
    struct child in = spawn_server(mark);
    assert_non_null(poll_until(&r, in.pid, SPY_DISCOVER_ADDED, 2000));
    pid_t grandchild = tell(&in, "tree");
    assert_non_null(poll_until(&r, grandchild, SPY_DISCOVER_ADDED, 2000));
    pid_t tid = tell(&in, "thread");
    for (int i = 0; i < 3; i++) {
        usleep(50000);
        poll_once(&r);
    }
    assert_null(last_told(tid, SPY_DISCOVER_ADDED));
    kill_pid(last_told(grandchild, SPY_DISCOVER_ADDED)->p.ppid);
    kill_pid(grandchild);
    end(&in);
    room_close(&r);
}

static void an_exec_raises_the_generation(void **state)
{
    (void)state;
    struct room r;
    room_open(&r, "/proc", rule());
    struct child in = spawn_server(mark);
    const struct told *t = poll_until(&r, in.pid, SPY_DISCOVER_ADDED, 2000);
    assert_non_null(t);
    uint32_t before = t->p.generation;
    uint64_t start = t->p.start_time;
    poll_once(&r);
    assert_null(last_told(in.pid, SPY_DISCOVER_EXEC)); // nothing happened yet
    assert_int_equal(tell(&in, "exec"), in.pid);
    t = poll_until(&r, in.pid, SPY_DISCOVER_EXEC, 1000);
    assert_non_null(t);
    assert_true(t->p.generation > before);
    assert_int_equal(t->p.start_time, start);
    assert_non_null(strstr(t->p.cmdline, "second-life"));
    assert_int_equal(count_told(in.pid, SPY_DISCOVER_ADDED), 1);
    assert_null(last_told(in.pid, SPY_DISCOVER_REMOVED)); // it stays in
    end(&in);
    room_close(&r);
}

static void a_shell_that_execs_a_matching_program_is_found(void **state)
{
    (void)state;
    struct room r;
    room_open(&r, "/proc", rule());
    char script[128];
    snprintf(script, sizeof script, "read x; exec python3 -c 'import time; time.sleep(60)' %s",
             mark);
    struct child sh = spawn((const char *const[]){"sh", "-c", script, NULL});
    poll_once(&r);
    assert_null(last_told(sh.pid, SPY_DISCOVER_ADDED)); // exe is not python3*
    dprintf(sh.in, "go\n");
    assert_non_null(poll_until(&r, sh.pid, SPY_DISCOVER_ADDED, 2500));
    end(&sh);
    room_close(&r);
}

static void an_exit_is_reported_also_for_a_zombie(void **state)
{
    (void)state;
    struct room r;
    room_open(&r, "/proc", rule());
    struct child in = spawn_server(mark);
    assert_non_null(poll_until(&r, in.pid, SPY_DISCOVER_ADDED, 2000));
    pid_t reaped = tell(&in, "fork");
    assert_non_null(poll_until(&r, reaped, SPY_DISCOVER_ADDED, 1000));
    tell(&in, "reap");
    poll_once(&r);
    assert_int_equal(count_told(reaped, SPY_DISCOVER_REMOVED), 1);
    kill(in.pid, SIGKILL); // nobody reaps it yet
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)in.pid, &info, WEXITED | WNOWAIT), 0);
    poll_once(&r);
    assert_int_equal(count_told(in.pid, SPY_DISCOVER_REMOVED), 1);
    usleep(1000000);
    poll_once(&r); // neither again nor back
    assert_int_equal(count_told(in.pid, SPY_DISCOVER_REMOVED), 1);
    assert_int_equal(count_told(in.pid, SPY_DISCOVER_ADDED), 1);
    end(&in);
    room_close(&r);
}

static void a_hostile_process_name_hides_nothing(void **state)
{
    (void)state;
    struct room r;
    room_open(&r, "/proc", rule());
    struct child in = spawn_server(mark);
    tell(&in, "name");
    const struct told *t = poll_until(&r, in.pid, SPY_DISCOVER_ADDED, 2000);
    assert_non_null(t);
    assert_string_equal(t->p.command, "x) R 1?1");
    assert_int_equal(t->p.ppid, getpid());
    end(&in);
    room_close(&r);
}

// --- in namespaces of their own ---

// Runs fn as the first process of new PID and mount namespaces. 77: not allowed here.
static int in_namespaces(int (*fn)(void), bool own_proc)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
            _exit(77);
        pid_t init = fork();
        if (init == 0) {
            if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                (own_proc && mount("proc", "/proc", "proc", 0, NULL) < 0))
                _exit(77);
            _exit(fn());
        }
        int status;
        waitpid(init, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

// A process whose number is `pid`.
static struct child spawn_as(pid_t pid, const char *const argv[])
{
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || dprintf(fd, "%d", pid - 1) < 0)
        _exit(77);
    close(fd);
    return spawn(argv);
}

static int reuse(void)
{
    struct room r;
    room_open(&r, "/proc", rule());
    const char *const python[] = {"python3", "-c", server, mark, NULL};
    struct child c = spawn_as(500, python);
    CHECK(c.pid == 500 && read_pid(&c) == 500);
    const struct told *t = poll_until(&r, 500, SPY_DISCOVER_ADDED, 20000);
    CHECK(t);
    uint64_t start = t->p.start_time;
    end(&c);
    usleep(50000); // the clock of start times ticks every 10 ms

    // the same number, the same arguments, another process: gone and new in one poll
    n_told = 0;
    c = spawn_as(500, python);
    CHECK(c.pid == 500 && read_pid(&c) == 500);
    poll_once(&r);
    CHECK(n_told == 2 && told[0].event == SPY_DISCOVER_REMOVED &&
          told[1].event == SPY_DISCOVER_ADDED);
    CHECK(told[0].p.start_time == start && told[1].p.start_time > start);
    end(&c);
    usleep(50000);

    // the same number for one that is not opted in
    n_told = 0;
    const char *const sleeper[] = {"sleep", "60", NULL};
    c = spawn_as(500, sleeper);
    usleep(20000);
    poll_once(&r);
    CHECK(n_told == 1 && told[0].event == SPY_DISCOVER_REMOVED);
    end(&c);
    usleep(50000);

    // and from one that is not to one that is
    n_told = 0;
    c = spawn_as(500, python);
    CHECK(c.pid == 500 && read_pid(&c) == 500);
    CHECK(poll_until(&r, 500, SPY_DISCOVER_ADDED, 20000));
    end(&c);
    room_close(&r);
    return 0;
}

static void a_reused_pid_is_another_process(void **state)
{
    (void)state;
    int r = in_namespaces(reuse, true);
    if (r == 77) {
        print_message("left out: no namespaces can be made here\n");
        skip();
    }
    assert_int_equal(r, 0);
}

// Our /proc is the outer one, so the kernel's last number is that of other processes.
static int from_inside(void)
{
    struct room r;
    room_open(&r, "/proc", rule());
    struct child in = spawn((const char *const[]){"python3", "-c", server, mark, NULL});
    read_pid(&in);
    uint64_t give_up = spy_clock_mono_ns() + 2 * SPY_NS_PER_SEC;
    while (!n_told && spy_clock_mono_ns() < give_up) {
        poll_once(&r);
        usleep(100000);
    }
    CHECK(n_told == 1 && told[0].event == SPY_DISCOVER_ADDED);
    CHECK(told[0].p.pid != in.pid && told[0].p.ns_pid == in.pid); // the outer and its own
    pid_t child = tell(&in, "fork");
    usleep(100000);
    poll_once(&r);
    usleep(110000);
    poll_once(&r);
    CHECK(n_told == 2 && told[1].p.ns_pid == child && told[1].p.ppid == told[0].p.pid);
    tell(&in, "reap");
    poll_once(&r);
    CHECK(n_told == 3 && told[2].event == SPY_DISCOVER_REMOVED);
    end(&in);
    room_close(&r);
    return 0;
}

static void another_mount_of_procfs_is_read(void **state)
{
    (void)state;
    int r = in_namespaces(from_inside, false);
    if (r == 77) {
        print_message("left out: no namespaces can be made here\n");
        skip();
    }
    assert_int_equal(r, 0);
}

// --- a made-up /proc ---

#define SCOPE(id) "0::/system.slice/docker-" id ".scope\n"

static void malformed_proc_files_do_no_harm(void **state)
{
    (void)state;
    struct room r;
    size_t big = 1 << 20;
    _cleanup_free_ char *text = malloc(big);
    assert_non_null(text);
    fake_process(10, 1, 5, "python3 web", "0::/\n");
    memset(text, 'x', big);
    fake_file(11, "cmdline", text, big);
    fake_stat(12, text, big);
    fake_process(13, 1, 5, "python3 web", "");
    for (size_t i = 0; i + 4 <= big; i += 4)
        memcpy(text + i, "1:a\n", 4);
    fake_file(13, "cgroup", text, big);
    fake_stat(14, "", 0);
    fake_process(15, 15, 5, "python3 web", "0::/\n"); // its own parent
    fake_process(16, 17, 5, "x", "0::/\n");           // a ring
    fake_process(17, 16, 5, "x", "0::/\n");
    fake_process(18, 19, 5, "x", "0::/\n"); // a parent that is younger than its child
    fake_process(19, 1, 50, "python3 web", "0::/\n");
    room_open(&r, fake, "discovery: {docker: off, processes: [{name: w, cmdline: web}]}");
    poll_once(&r);
    poll_once(&r);
    assert_non_null(last_told(10, SPY_DISCOVER_ADDED));
    assert_non_null(last_told(13, SPY_DISCOVER_ADDED));
    assert_non_null(last_told(15, SPY_DISCOVER_ADDED));
    assert_non_null(last_told(19, SPY_DISCOVER_ADDED));
    assert_int_equal(n_told, 4);
    assert_int_equal(last_told(10, SPY_DISCOVER_ADDED)->p.ns_pid, 7);
    fake_end(10);
    assert_non_null(poll_until(&r, 10, SPY_DISCOVER_REMOVED, 1000));
    room_close(&r);
}

static void the_end_of_the_main_thread_is_neither_exit_nor_exec(void **state)
{
    (void)state;
    struct room r;
    fake_process(50, 1, 5, "python3 web", "0::/\n");
    room_open(&r, fake, "discovery: {docker: off, processes: [{name: w, cmdline: web}]}");
    poll_once(&r);
    static const char others_run[] =
        "50 (python3) Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 5 0 0 0 0 0 0\n";
    fake_stat(50, others_run, sizeof others_run - 1);
    poll_once(&r);
    assert_int_equal(n_told, 1);
    static const char new_image[] =
        "50 (python3) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0 1 2 4\n";
    fake_stat(50, new_image, sizeof new_image - 1);
    poll_once(&r);
    assert_int_equal(n_told, 2);
    assert_int_equal(told[1].event, SPY_DISCOVER_EXEC);
    room_close(&r);
}

static struct engine engine;

static void docker_room(struct room *r, const char *more)
{
    char yaml[512];
    snprintf(yaml, sizeof yaml, "discovery: {docker_socket: '%s'%s}\n", engine.path, more);
    room_open(r, fake, yaml);
}

static void docker_labels_opt_containers_in(void **state)
{
    (void)state;
    struct room r;
    assert_true(engine_new(&engine) && engine_start(&engine));
    engine_set(
        &engine, ENGINE_OK,
        "[{\"Id\":\"" ID1 "\",\"Names\":[\"/web\"],\"Labels\":{\"podspy.dev/profile\":\"true\","
        "\"podspy.dev/rate\":\"fast\",\"podspy.dev/blocking\":\"never\"}},"
        "{\"Id\":\"" ID2 "\",\"Names\":[\"/db\"],\"Labels\":{}},"
        "{\"Id\":\"" ID3 "\",\"Names\":[\"/no\"],\"Labels\":{\"podspy.dev/profile\":\"no\"}}]");
    fake_process(20, 1, 5, "python3 web", SCOPE(ID1));
    fake_process(21, 1, 5, "python3 web", SCOPE(ID2));
    fake_process(22, 1, 5, "python3 web", SCOPE(ID3));
    fake_process(23, 20, 9, "python3 other", SCOPE(ID1));
    fake_process(24, 1, 5, "python3 web", "0::/\n");
    docker_room(&r, ", processes: [{name: rule, cmdline: web}]");
    poll_once(&r);
    // before Docker answered nobody in a container is in, whatever the rule says
    const struct told *t = poll_until(&r, 20, SPY_DISCOVER_ADDED, 3000);
    assert_non_null(t);
    assert_string_equal(t->p.place.pod, "web");
    assert_string_equal(t->p.place.service, "web");
    assert_string_equal(t->p.place.container_id, ID1);
    assert_string_equal(t->p.reason, "docker label");
    assert_int_equal(t->p.rate, 100); // the default, as the label makes no sense
    assert_int_equal(t->p.blocking, SPY_PAUSE_NEVER);
    t = poll_until(&r, 21, SPY_DISCOVER_ADDED, 1000); // by the rule, named after the container
    assert_string_equal(t->p.place.pod, "db");
    assert_string_equal(t->p.reason, "rule rule");
    assert_string_equal(last_told(24, SPY_DISCOVER_ADDED)->p.place.pod, "rule");
    assert_non_null(last_told(23, SPY_DISCOVER_ADDED));
    poll_until(&r, 22, SPY_DISCOVER_ADDED, 1500); // its container said no
    assert_null(last_told(22, SPY_DISCOVER_ADDED));
    assert_non_null(strstr(
        problems(&r),
        "{\"pod\":\"web\",\"namespace\":\"\",\"container\":\"web\",\"pid\":20,\"problem\":\""));
    assert_non_null(strstr(problems(&r), "podspy.dev/rate is 'fast'"));
    assert_non_null(strstr(
        problems(&r),
        "{\"pod\":\"no\",\"namespace\":\"\",\"container\":\"no\",\"pid\":22,\"problem\":\""));
    room_close(&r);
    engine_stop(&engine);
    engine_free(&engine);
}

static void a_new_container_is_looked_up_and_a_lost_daemon_removes_no_process(void **state)
{
    (void)state;
    struct room r;
    assert_true(engine_new(&engine) && engine_start(&engine));
    engine_set(&engine, ENGINE_OK, "[]");
    docker_room(&r, "");
    fake_process(1, 0, 1, "init", "0::/\n");
    for (int i = 0; i < 5; i++) {
        poll_once(&r);
        usleep(50000);
    }
    engine_set(&engine, ENGINE_OK,
               "[{\"Id\":\"" ID1
               "\",\"Names\":[\"/a\"],\"Labels\":{\"podspy.dev/profile\":\"true\"}}]");
    fake_process(30, 1, 5, "python3", SCOPE(ID1));
    assert_non_null(poll_until(&r, 30, SPY_DISCOVER_ADDED, 3000)); // not only after 10 s

    engine_stop(&engine);
    fake_process(31, 1, 6, "python3", SCOPE(ID2)); // makes us ask
    uint64_t until = spy_clock_mono_ns() + 5 * SPY_NS_PER_SEC;
    while (!strstr(problems(&r), "Docker") && spy_clock_mono_ns() < until) {
        poll_once(&r);
        usleep(50000);
        if (r.config.discovery.docker == SPY_SWITCH_AUTO)
            r.config.discovery.docker = SPY_SWITCH_ON; // so that absence is a problem
    }
    assert_non_null(strstr(problems(&r), "there is no Docker socket"));
    assert_null(last_told(30, SPY_DISCOVER_REMOVED));
    assert_null(last_told(31, SPY_DISCOVER_ADDED));

    engine_set(&engine, ENGINE_OK,
               "[{\"Id\":\"" ID2
               "\",\"Names\":[\"/b\"],\"Labels\":{\"podspy.dev/profile\":\"true\"}}]");
    assert_true(engine_start(&engine));
    assert_non_null(poll_until(&r, 31, SPY_DISCOVER_ADDED, 6000));
    assert_null(last_told(30, SPY_DISCOVER_REMOVED));
    assert_string_equal(problems(&r), "");
    room_close(&r);
    engine_stop(&engine);
    engine_free(&engine);
}

static void docker_is_asked_once_a_container(void **state)
{
    (void)state;
    struct room r;
    assert_true(engine_new(&engine) && engine_start(&engine));
    docker_room(&r, ", processes: [{name: rule, cmdline: web}]");
    fake_process(60, 1, 5, "python3 web", "0::/mine/" ID1 "\n"); // not Docker's after all
    const struct told *t = poll_until(&r, 60, SPY_DISCOVER_ADDED, 3000);
    assert_non_null(t);
    assert_string_equal(t->p.place.pod, "rule");
    usleep(600000); // for what was asked already
    int before = engine_asked(&engine);
    for (pid_t pid = 61; pid < 66; pid++) {
        fake_process(pid, 60, 9, "python3 web", "0::/mine/" ID1 "\n");
        assert_non_null(poll_until(&r, pid, SPY_DISCOVER_ADDED, 1000));
    }
    assert_int_equal(engine_asked(&engine), before);
    room_close(&r);
    engine_stop(&engine);
    engine_free(&engine);
}

static void without_docker_no_problem_is_reported_and_rules_work(void **state)
{
    (void)state;
    struct room r;
    fake_process(40, 1, 5, "python3 web", SCOPE(ID1));
    room_open(&r, fake,
              "discovery: {docker_socket: /nonexistent/docker.sock, processes: [{name: "
              "rule, cmdline: web}]}");
    const struct told *t = poll_until(&r, 40, SPY_DISCOVER_ADDED, 3000);
    assert_non_null(t);
    assert_string_equal(t->p.place.pod, "rule");
    assert_string_equal(t->p.place.container_id, ID1);
    assert_string_equal(problems(&r), "");
    room_close(&r);
}

static void an_unusable_setting_is_reported_at_the_start(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *proc, *says;
    } rows[] = {
        {"discovery: {kubernetes: on}", "/proc", "discovery.kubernetes_url"},
        {"discovery: {docker: off}", "/nonexistent/proc", "/nonexistent/proc"},
        {"discovery: {docker: off, processes: [{name: a, user: no-such-user}]}", "/proc",
         "no-such-user"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_agent_config c;
        struct spy_discover *d = NULL;
        struct spy_err err = {0};
        assert_int_equal(spy_agent_config_parse("t", rows[i].yaml, strlen(rows[i].yaml), &c, &err),
                         0);
        assert_true(spy_discover_new(&c, rows[i].proc, &d, &err) < 0);
        assert_null(d);
        if (!strstr(err.msg, rows[i].says))
            fail_msg("%s", err.msg);
        spy_agent_config_free(&c);
    }
}

RUN(T(a_rule_opts_in_and_nothing_else_is_reported), T(a_child_is_found_by_the_poll_after_250_ms),
    T(descendants_older_than_discover_are_opted_in), T(a_thread_is_not_a_child),
    T(an_exec_raises_the_generation), T(a_shell_that_execs_a_matching_program_is_found),
    T(an_exit_is_reported_also_for_a_zombie), T(a_hostile_process_name_hides_nothing),
    T(a_reused_pid_is_another_process), T(another_mount_of_procfs_is_read),
    cmocka_unit_test_setup_teardown(malformed_proc_files_do_no_harm, fake_open, fake_close),
    cmocka_unit_test_setup_teardown(the_end_of_the_main_thread_is_neither_exit_nor_exec, fake_open,
                                    fake_close),
    cmocka_unit_test_setup_teardown(docker_is_asked_once_a_container, fake_open, fake_close),
    cmocka_unit_test_setup_teardown(docker_labels_opt_containers_in, fake_open, fake_close),
    cmocka_unit_test_setup_teardown(
        a_new_container_is_looked_up_and_a_lost_daemon_removes_no_process, fake_open, fake_close),
    cmocka_unit_test_setup_teardown(without_docker_no_problem_is_reported_and_rules_work, fake_open,
                                    fake_close),
    T(an_unusable_setting_is_reported_at_the_start))
