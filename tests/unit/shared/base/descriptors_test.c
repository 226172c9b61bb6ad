// The limit of open files, and what a child gets of it.
#include "shared/base/descriptors.h"
#include "tests/unit/test.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void set(rlim_t soft, rlim_t hard)
{
    struct rlimit l = {soft, hard};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
}

static void the_soft_limit_becomes_the_hard_one_and_a_child_gets_it_back(void **state)
{
    (void)state;
    set(100, 400);
    assert_int_equal(spy_descriptors_limit(), 100);
    assert_int_equal(spy_descriptors_spare(), 50);
    spy_descriptors_raise();
    assert_int_equal(spy_descriptors_limit(), 400);
    assert_int_equal(spy_descriptors_spare(), 400 - SPY_DESCRIPTORS_RESERVE);
    spy_descriptors_raise(); // nothing is left to raise: what it was started with stays known
    pid_t pid = fork();
    if (pid == 0) {
        spy_descriptors_restore();
        struct rlimit l;
        _exit(getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur == 100 && l.rlim_max == 400 ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(spy_descriptors_limit(), 400);
}

// Runs in a child with 0 to 2 closed as said; its exit status tells what was wrong, 0: nothing.
static int try_closed(unsigned closed)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (int fd = 0; fd < 3; fd++)
            if (closed >> fd & 1)
                close(fd);
        spy_descriptors_open_std();
        for (int fd = 0; fd < 3; fd++)
            if (fcntl(fd, F_GETFD) < 0)
                _exit(1);
        int next = open("/dev/null", O_RDWR);
        if (next <= STDERR_FILENO)
            _exit(2);
        for (int fd = 0; fd < 3;
             fd++) { // what was closed neither gives nor takes, nor is inherited
            char c = 'x';
            if (!(closed >> fd & 1))
                continue;
            if ((fd ? write(fd, &c, 1) : read(fd, &c, 1)) >= 0 || errno != EBADF)
                _exit(3);
            if (!(fcntl(fd, F_GETFD) & FD_CLOEXEC))
                _exit(4);
        }
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status;
}

static void closed_standard_descriptors_are_filled(void **state)
{
    (void)state;
    for (unsigned closed = 0; closed < 8; closed++)
        assert_int_equal(try_closed(closed), 0);
}

RUN(T(the_soft_limit_becomes_the_hard_one_and_a_child_gets_it_back),
    T(closed_standard_descriptors_are_filled))
