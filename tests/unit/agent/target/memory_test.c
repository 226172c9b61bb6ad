// Memory is read the same where process_vm_readv is forbidden: each test runs as it is, and under a
// seccomp filter.
#include "agent/target/target.h"
#include "tests/unit/test.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char here[3][16] = {"one", "two", "three"}; // the child has them at the same addresses

static uint64_t address(const void *at)
{
    return (uint64_t)(uintptr_t)at;
}

static struct spy_span span(const void *at, char *to)
{
    return (struct spy_span){.addr = address(at), .to = to, .len = sizeof here[0]};
}

static void execute_sleep(int number)
{
    (void)number;
    execl("/bin/sleep", "sleep", "600", (char *)NULL);
    _exit(1);
}

static pid_t start(void)
{
    signal(SIGUSR1, execute_sleep);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

// Where the file of the program begins in the memory of the process, once that executes it.
static uint64_t find_program(pid_t pid, const char *name)
{
    char path[32], line[512] = "", end[32];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    snprintf(end, sizeof end, "/%s\n", name);
    for (int i = 0; i < 5000 && !strstr(line, end); i++) {
        usleep(1000);
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        do // a sanitizer has memory before that of the program
            if (!fgets(line, sizeof line, f))
                line[0] = 0; // just between two programs
        while (*line && !strstr(line, end));
        fclose(f);
    }
    assert_non_null(strstr(line, end));
    return strtoull(line, NULL, 16);
}

static void mapped_memory_is_read_and_unmapped_memory_is_an_error(void **state)
{
    (void)state;
    pid_t pid = start();
    struct spy_target *t = NULL;
    assert_int_equal(spy_target_open(pid, &t, NULL), 0);
    char a[16] = "", b[16] = "", c[16] = "";
    size_t done = 99;
    struct spy_span spans[] = {span(here[2], a), span(here[0], b), span(here[1], c)};
    assert_int_equal(spy_target_read_spans(t, spans, 3, &done), 0);
    assert_int_equal(done, 3);
    assert_string_equal(a, "three");
    assert_string_equal(b, "one");
    assert_string_equal(c, "two");
    spans[1].addr = 8; // never mapped
    assert_int_equal(spy_target_read_spans(t, spans, 3, &done), SPY_ERR_TORN);
    assert_int_equal(done, 1);
    assert_int_equal(spy_target_read(t, 8, a, sizeof a), SPY_ERR_TORN);
    assert_int_equal(spy_target_read(t, UINT64_MAX - 64, a, sizeof a), SPY_ERR_TORN);
    assert_int_equal(spy_target_read(t, address(here[1]), a, sizeof a), 0);
    assert_string_equal(a, "two");
    end(pid);
    assert_int_equal(spy_target_read(t, address(here[1]), a, sizeof a), SPY_ERR_GONE);
    spy_target_free(t);
}

static void reads_follow_a_process_through_exec(void **state)
{
    (void)state;
    pid_t pid = start();
    struct spy_target *t = NULL;
    char before[4], after[4];
    assert_int_equal(spy_target_open(pid, &t, NULL), 0);
    assert_int_equal(spy_target_read(t, find_program(pid, "memory_test"), before, sizeof before),
                     0);
    assert_int_equal(kill(pid, SIGUSR1), 0);
    assert_int_equal(spy_target_read(t, find_program(pid, "sleep"), after, sizeof after), 0);
    assert_memory_equal(after, "\177ELF", 4);
    assert_int_equal(spy_target_read(t, address(here[0]), after, sizeof after), SPY_ERR_TORN);
    end(pid);
    spy_target_free(t);
}

static void *wait_for_ever(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void reads_go_through_a_thread_once_the_main_thread_has_ended(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t thread;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pthread_create(&thread, NULL, wait_for_ever, NULL);
        syscall(SYS_exit, 0); // of this thread alone
    }
    struct spy_target *t = NULL;
    assert_int_equal(spy_target_open(pid, &t, NULL), 0);
    char letter = 0;
    for (int i = 0; i < 5000 && letter != 'Z'; i++) {
        char path[32], line[256] = "";
        usleep(1000);
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        if (fgets(line, sizeof line, f))
            letter = strrchr(line, ')')[2];
        fclose(f);
    }
    assert_int_equal(letter, 'Z');
    char text[16];
    assert_int_equal(spy_target_read(t, address(here[2]), text, sizeof text), 0);
    assert_string_equal(text, "three");
    end(pid);
    spy_target_free(t);
}

// From here on, and for good, process_vm_readv fails with EPERM.
static int forbid_the_call(void **state)
{
    (void)state;
    struct sock_filter rows[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), // the call's number
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {.len = sizeof rows / sizeof *rows, .filter = rows};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(mapped_memory_is_read_and_unmapped_memory_is_an_error),
        T(reads_follow_a_process_through_exec),
        T(reads_go_through_a_thread_once_the_main_thread_has_ended),
    };
    int failed = cmocka_run_group_tests_name("as it is", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("forbidden", tests, forbid_the_call, NULL);
}
