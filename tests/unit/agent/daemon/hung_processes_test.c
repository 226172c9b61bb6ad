// Which processes an agent does not read, as it passes them on to itself when it restarts.
#include "agent/daemon/hung_processes.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void load(struct spy_hung_processes *h, const char *text)
{
    if (text)
        setenv("PODSPY_BLOCKED", text, 1);
    else
        unsetenv("PODSPY_BLOCKED");
    spy_hung_processes_load(h);
}

static void the_environment_variable_is_read(void **state)
{
    (void)state;
    struct spy_hung_processes h;
    load(&h, NULL);
    assert_int_equal(h.n, 0);
    load(&h, "");
    assert_int_equal(h.n, 0);
    char text[100];
    pid_t self = getpid(), other = getppid();
    snprintf(text, sizeof text, "%d:345 %d:18446744073709551615 ", (int)self, (int)other);
    load(&h, text);
    assert_int_equal(h.n, 2);
    assert_true(spy_hung_processes_has(&h, self, 345) &&
                spy_hung_processes_has(&h, other, UINT64_MAX));
    assert_false(spy_hung_processes_has(&h, self, 346));
    assert_false(spy_hung_processes_has(&h, 345, 12));
    load(&h, "2000000000:1"); // there is none
    assert_int_equal(h.n, 0);
}

static void malformed_entries_are_ignored(void **state)
{
    (void)state;
    static const char *const texts[] = {"x", ":", "12", "12:", "12:x", "-5:1", "0:1", " ", "12 34"};
    struct spy_hung_processes h;
    for (size_t i = 0; i < SPY_COUNT(texts); i++) {
        load(&h, texts[i]);
        assert_int_equal(h.n, 0);
    }
}

static void a_full_list_drops_its_oldest_entry(void **state)
{
    (void)state;
    struct spy_hung_processes h;
    load(&h, NULL);
    for (pid_t pid = 1; pid <= SPY_HUNG_PROCESSES_MAX + 2; pid++)
        spy_hung_processes_add(&h, pid, 7);
    assert_int_equal(h.n, SPY_HUNG_PROCESSES_MAX);
    assert_false(spy_hung_processes_has(&h, 2, 7));
    assert_true(spy_hung_processes_has(&h, 3, 7) &&
                spy_hung_processes_has(&h, SPY_HUNG_PROCESSES_MAX + 2, 7));
}

RUN(T(the_environment_variable_is_read), T(malformed_entries_are_ignored),
    T(a_full_list_drops_its_oldest_entry))
