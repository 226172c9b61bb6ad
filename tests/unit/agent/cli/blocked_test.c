// Which processes an agent leaves alone, as one that starts anew hands it on.
#include "agent/cli/blocked.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void load(struct spy_blocked *b, const char *text)
{
    if (text)
        setenv("PODSPY_BLOCKED", text, 1);
    else
        unsetenv("PODSPY_BLOCKED");
    spy_blocked_load(b);
}

static void the_environment_is_read(void **state)
{
    (void)state;
    struct spy_blocked b;
    load(&b, NULL);
    assert_int_equal(b.n, 0);
    load(&b, "");
    assert_int_equal(b.n, 0);
    char text[100];
    pid_t self = getpid(), other = getppid();
    snprintf(text, sizeof text, "%d:345 %d:18446744073709551615 ", (int)self, (int)other);
    load(&b, text);
    assert_int_equal(b.n, 2);
    assert_true(spy_blocked_has(&b, self, 345) && spy_blocked_has(&b, other, UINT64_MAX));
    assert_false(spy_blocked_has(&b, self, 346));
    assert_false(spy_blocked_has(&b, 345, 12));
    load(&b, "2000000000:1"); // there is none
    assert_int_equal(b.n, 0);
}

static void nonsense_is_left_out(void **state)
{
    (void)state;
    static const char *const texts[] = {"x", ":", "12", "12:", "12:x", "-5:1", "0:1", " ", "12 34"};
    struct spy_blocked b;
    for (size_t i = 0; i < SPY_COUNT(texts); i++) {
        load(&b, texts[i]);
        assert_int_equal(b.n, 0);
    }
}

static void the_oldest_is_forgotten(void **state)
{
    (void)state;
    struct spy_blocked b;
    load(&b, NULL);
    for (pid_t pid = 1; pid <= SPY_BLOCKED_MAX + 2; pid++)
        spy_blocked_add(&b, pid, 7);
    assert_int_equal(b.n, SPY_BLOCKED_MAX);
    assert_false(spy_blocked_has(&b, 2, 7));
    assert_true(spy_blocked_has(&b, 3, 7) && spy_blocked_has(&b, SPY_BLOCKED_MAX + 2, 7));
}

RUN(T(the_environment_is_read), T(nonsense_is_left_out), T(the_oldest_is_forgotten))
