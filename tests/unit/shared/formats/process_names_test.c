#include "shared/base/mem.h"
#include "shared/formats/process_names.h"
#include "tests/unit/test.h"
#include <stdlib.h>
#include <string.h>

#define GUNICORN "/usr/bin/python3 /usr/bin/gunicorn shop:app --workers 3"
#define SPAWN                                                                                      \
    "/usr/bin/python3 -c from multiprocessing.spawn import spawn_main; spawn_main() "              \
    "--multiprocessing-fork"

struct row {
    const char *pid, *parent, *command, *pod, *name;
};

static void add_series(struct spy_profile *p, const struct row *row)
{
    const char *const pairs[][2] = {{SPY_LABEL_PID, row->pid},
                                    {SPY_LABEL_PARENT_PID, row->parent},
                                    {SPY_LABEL_COMMAND, row->command},
                                    {SPY_LABEL_POD, row->pod}};
    struct spy_label labels[4];
    uint32_t n = 0, series;
    for (size_t i = 0; i < SPY_COUNT(pairs); i++)
        if (pairs[i][1]) {
            assert_int_equal(spy_profile_cstr(p, pairs[i][0], &labels[n].key), 0);
            assert_int_equal(spy_profile_cstr(p, pairs[i][1], &labels[n++].value), 0);
        }
    assert_int_equal(spy_profile_series(p, labels, n, &series), 0);
}

static void assert_names(const struct row *rows, size_t n)
{
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    struct spy_process_names *names;
    for (size_t i = 0; i < n; i++)
        add_series(p, &rows[i]);
    assert_int_equal(spy_process_names_new(p, &names), 0);
    for (size_t i = 0; i < n; i++) {
        _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(4096);
        assert_int_equal(spy_process_names_put(names, (uint32_t)i, &b), 0);
        assert_string_equal(spy_buf_str(&b), rows[i].name);
    }
    spy_process_names_free(names);
}
#define NAMES(...)                                                                                 \
    do {                                                                                           \
        const struct row named[] = {__VA_ARGS__};                                                  \
        assert_names(named, SPY_COUNT(named));                                                     \
    } while (0)

static void a_program_is_named_without_its_interpreter_and_folder(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"/usr/bin/python3.11 /srv/app.py --port 80", "app.py (7)"},
        {"python3 -u -X dev -W ignore /srv/app.py", "app.py (7)"},
        {"/opt/pypy3 -m celery worker", "celery (7)"},
        {"python3 -c while 1: pass", "-c (7)"},
        {"/usr/bin/python3", "python3 (7)"},
        {"python3.13t -i", "python3.13t (7)"},
        {"/usr/bin/uwsgi --ini x.ini", "uwsgi (7)"},
        {"pythonic run", "pythonic (7)"},
        {"gunicorn: worker [shop]", "gunicorn: worker [shop] (7)"},
        {"", "process (7)"},
        {"  ", "process (7)"},
        {"/", "/ (7)"},
        {"python3 -m", "python3 (7)"},
        {"python3 -W", "python3 (7)"},
        {"a\nb\x1b[31m", "a b [31m (7)"},
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        NAMES({"7", "1", rows[i][0], NULL, rows[i][1]});
}

static void workers_are_numbered_by_pid_below_their_parent(void **state)
{
    (void)state;
    NAMES({"27813", "27800", GUNICORN, "a", "gunicorn worker 3 (27813)"},
          {"27800", "1", GUNICORN, "a", "gunicorn (27800)"},
          {"27811", "27800", GUNICORN, "a", "gunicorn worker 1 (27811)"},
          {"27812", "27800", GUNICORN, "a", "gunicorn worker 2 (27812)"});
    NAMES({"5", "1", "gunicorn: master [shop]", NULL, "gunicorn: master [shop] (5)"},
          {"6", "5", "gunicorn: worker [shop]", NULL, "gunicorn: worker [shop] 1 (6)"},
          {"7", "5", "gunicorn: worker [shop]", NULL, "gunicorn: worker [shop] 2 (7)"});
    NAMES({"5", "1", "python3 train.py", NULL, "train.py (5)"},
          {"6", "5", SPAWN, NULL, "train.py worker 1 (6)"},
          {"7", "5", "python3 other.py", NULL, "other.py (7)"});
}

static void without_their_parent_children_are_not_numbered(void **state)
{
    (void)state;
    NAMES({"6", "5", "python3 a.py", NULL, "a.py (6)"},
          {"7", "5", "python3 a.py", NULL, "a.py (7)"});
    NAMES({"5", "1", "python3 a.py", "x", "a.py (5) of x"}, // another pod's 5
          {"6", "5", "python3 a.py", "y", "a.py (6) of y"});
}

static void arguments_tell_apart_what_has_the_same_program(void **state)
{
    (void)state;
    NAMES({"6", "1", "python3 train.py --rank 0", NULL, "train.py --rank 0 (6)"},
          {"7", "1", "python3 train.py --rank 1", NULL, "train.py --rank 1 (7)"},
          {"8", "1", "python3 serve.py --port 80", NULL, "serve.py (8)"});
    NAMES({"6", "1", "python3 train.py --config some/long/path --rank 0", NULL,
           "train.py \u2026 --rank 0 (6)"},
          {"7", "1", "python3 train.py --config some/long/path --rank 10", NULL,
           "train.py \u2026 --rank 10 (7)"},
          {"9", "1", "python3 train.py --config some/long/path --rank", NULL,
           "train.py \u2026 --rank (9)"});
}

static void one_process_counts_once(void **state)
{
    (void)state;
    NAMES({"5", "1", "python3 a.py", "x", "a.py (5)"},
          {"6", "5", "python3 a.py", "x", "a.py worker 1 (6)"},
          {"6", "5", "python3 a.py ", "x", "a.py worker 1 (6)"},
          {"9", "5", "python3 a.py", "x", "a.py worker 2 (9)"});
}

static void circles_and_odd_pids_are_harmless(void **state)
{
    (void)state;
    NAMES({"5", "5", "a", NULL, "a (5)"}, {"x", "5", "a", NULL, "a worker 1 (x)"},
          {NULL, "0", NULL, NULL, "process"});
    NAMES({"1", "2", SPAWN, NULL, "-c worker 1 (1)"}, {"2", "1", SPAWN, NULL, "-c worker 1 (2)"});
}

static void names_are_bounded(void **state)
{
    (void)state;
    char *command = calloc(1, 20001);
    memset(command, 'x', 20000);
    command[10000] = ' ';
    struct row rows[] = {{"1", "0", command, command, ""}, {"2", "0", "x", "y", ""}};
    _cleanup_profile_ struct spy_profile *p = spy_profile_new();
    struct spy_process_names *names;
    for (size_t i = 0; i < SPY_COUNT(rows); i++)
        add_series(p, &rows[i]);
    assert_int_equal(spy_process_names_new(p, &names), 0);
    struct spy_buf b = SPY_BUF_INIT(1024);
    assert_int_equal(spy_process_names_put(names, 0, &b), 0);
    assert_in_range(b.len, 400, 1024);
    spy_buf_free(&b);
    spy_process_names_free(names);
    free(command);
}

RUN(T(a_program_is_named_without_its_interpreter_and_folder),
    T(workers_are_numbered_by_pid_below_their_parent),
    T(without_their_parent_children_are_not_numbered),
    T(arguments_tell_apart_what_has_the_same_program), T(one_process_counts_once),
    T(circles_and_odd_pids_are_harmless), T(names_are_bounded))
