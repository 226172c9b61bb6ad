#include "agent/discover/docker.h"
#include "shared/base/clock.h"
#include "tests/unit/agent/discover/engine.h"
#include "tests/unit/test.h"

#define ID1 "1111111111111111111111111111111111111111111111111111111111111111"

static struct engine engine;

// The next answer, waited for at most 8 seconds.
static struct spy_docker_answer next(struct spy_docker *d)
{
    struct spy_docker_answer a = {0};
    for (int i = 0; i < 800; i++) {
        if (spy_docker_take(d, &a))
            return a;
        usleep(10000);
    }
    fail_msg("no answer");
    return a;
}

static struct spy_docker *start(void)
{
    struct spy_docker *d = NULL;
    struct spy_err err = {0};
    if (spy_docker_new(engine.path, "podspy.dev", &d, &err) < 0)
        fail_msg("%s", err.msg);
    return d;
}

static void the_containers_are_listed(void **state)
{
    (void)state;
    engine_set(&engine, ENGINE_OK, "[{\"Id\":\"" ID1 "\",\"Names\":[\"/web\"]}]");
    struct spy_docker *d = start();
    struct spy_docker_answer a = next(d);
    assert_true(a.reached);
    assert_int_equal(a.list.n, 1);
    assert_string_equal(a.list.all[0].name, "web");
    assert_non_null(strstr(engine.request, "GET /containers/json?all=1&filters="));
    spy_containers_free(&a.list);
    assert_false(spy_docker_take(d, &a)); // once only
    spy_docker_free(d);
}

static void a_request_gets_a_new_list_soon_but_not_too_often(void **state)
{
    (void)state;
    engine_set(&engine, ENGINE_OK, "[]");
    struct spy_docker *d = start();
    struct spy_docker_answer a = next(d);
    spy_containers_free(&a.list);
    int before = engine_asked(&engine);
    uint64_t asked_ns = spy_clock_mono_ns();
    for (int i = 0; i < 100; i++)
        spy_docker_ask(d);
    a = next(d);
    spy_containers_free(&a.list);
    assert_true(a.asked_ns > asked_ns - 250 * SPY_NS_PER_MS);
    assert_true(spy_clock_mono_ns() - asked_ns < 5 * SPY_NS_PER_SEC);
    usleep(600000);
    assert_true(engine_asked(&engine) - before <= 2);
    spy_docker_free(d);
}

static void bad_answers_are_errors_that_name_the_socket(void **state)
{
    (void)state;
    static const enum engine_mode modes[] = {ENGINE_ERROR, ENGINE_GARBAGE, ENGINE_HUGE,
                                             ENGINE_CLOSE, ENGINE_CUT};
    for (size_t i = 0; i < SPY_COUNT(modes); i++) {
        engine_set(&engine, modes[i], "");
        struct spy_docker *d = start();
        struct spy_docker_answer a = next(d);
        assert_false(a.reached);
        assert_false(a.absent);
        if (!strstr(a.err.msg, engine.path))
            fail_msg("mode %d: %s", (int)modes[i], a.err.msg);
        spy_docker_free(d);
    }
    engine_set(&engine, ENGINE_OK, "{\"message\":\"no\"}");
    struct spy_docker *d = start();
    struct spy_docker_answer a = next(d);
    assert_false(a.reached);
    spy_docker_free(d);
}

static void a_hung_daemon_is_given_up(void **state)
{
    (void)state;
    engine_set(&engine, ENGINE_HANG, "");
    struct spy_docker *d = start();
    struct spy_docker_answer a = next(d);
    assert_false(a.reached);
    // and it does not hold up the end either
    int before = engine_asked(&engine);
    for (int i = 0; i < 500 && engine_asked(&engine) == before; i++)
        usleep(10000);
    assert_true(engine_asked(&engine) > before);
    uint64_t t = spy_clock_mono_ns();
    spy_docker_free(d);
    assert_true(spy_clock_mono_ns() - t < 4 * SPY_NS_PER_SEC);
    engine_set(&engine, ENGINE_OK, "[]");
}

static void a_recreated_socket_is_found_again(void **state)
{
    (void)state;
    engine_set(&engine, ENGINE_OK, "[]");
    struct spy_docker *d = start();
    struct spy_docker_answer a = next(d);
    assert_true(a.reached);
    spy_containers_free(&a.list);
    engine_stop(&engine);
    spy_docker_ask(d);
    a = next(d);
    assert_false(a.reached);
    assert_true(a.absent);
    assert_true(engine_start(&engine));
    a = next(d); // unasked
    assert_true(a.reached);
    spy_containers_free(&a.list);
    spy_docker_free(d);
}

static void a_socket_without_a_listener_is_not_an_absent_socket(void **state)
{
    (void)state;
    struct engine dead;
    assert_true(engine_new(&dead));
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", dead.path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    close(fd);
    struct spy_docker *d = NULL;
    assert_int_equal(spy_docker_new(dead.path, "podspy.dev", &d, NULL), 0);
    struct spy_docker_answer a = next(d);
    assert_false(a.reached);
    assert_false(a.absent);
    spy_docker_free(d);
    unlink(dead.path);
    engine_free(&dead);
}

static int group_start(void **state)
{
    (void)state;
    return engine_new(&engine) && engine_start(&engine) ? 0 : -1;
}

static int group_end(void **state)
{
    (void)state;
    engine_stop(&engine);
    engine_free(&engine);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_containers_are_listed),
        T(a_request_gets_a_new_list_soon_but_not_too_often),
        T(bad_answers_are_errors_that_name_the_socket),
        T(a_hung_daemon_is_given_up),
        T(a_recreated_socket_is_found_again),
        T(a_socket_without_a_listener_is_not_an_absent_socket),
    };
    return cmocka_run_group_tests(tests, group_start, group_end);
}
