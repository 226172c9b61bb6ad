#include "collector/query/entry_find.h"
#include "tests/unit/test.h"
#include <string.h>

#define SITE "/usr/lib/python3.11/site-packages/"

static void modules_are_named_from_where_packages_are_installed(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {SITE "django/core/handlers/base.py", "django.core.handlers.base"},
        {"/opt/x/lib/python3/dist-packages/rq/__init__.py", "rq"},
        {"/opt/pyenv/versions/3.9.1/lib/python3.9/threading.py", "threading"},
        {"/srv/shop/views.py", "srv.shop.views"},
        {"shop/views.pyc", "shop.views"},
        {"<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>"},
        {"", ""},
        {"/", ""},
        {"/lib/python", "lib.python"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char module[SPY_ENTRY_MODULE_MAX];
        spy_entry_module(rows[i][0], module, sizeof module);
        assert_string_equal(module, rows[i][1]);
    }
}

static void a_long_path_is_cut(void **state)
{
    (void)state;
    char path[4000], module[SPY_ENTRY_MODULE_MAX];
    memset(path, 'a', sizeof path);
    path[sizeof path - 1] = 0;
    spy_entry_module(path, module, sizeof module);
    assert_int_equal(strlen(module), sizeof module - 1);
}

static void dispatchers_are_found_by_the_ends_of_modules_and_names(void **state)
{
    (void)state;
    assert_non_null(spy_entry_dispatcher("flask.app", "Flask.dispatch_request"));
    assert_non_null(spy_entry_dispatcher("flask.app", "dispatch_request"));
    assert_non_null(spy_entry_dispatcher("opt.vendored.flask.app", "dispatch_request"));
    assert_non_null(
        spy_entry_dispatcher("gunicorn.workers.gthread", "ThreadWorker.handle_request"));
    assert_null(spy_entry_dispatcher("xflask.app", "dispatch_request"));
    assert_null(spy_entry_dispatcher("flask.apps", "dispatch_request"));
    assert_null(spy_entry_dispatcher("flask.app", "dispatch_requests"));
    assert_null(spy_entry_dispatcher("shop.handle_request", "handle_request"));
}

static void a_service_may_have_a_module_named_as_a_framework(void **state)
{
    (void)state;
    assert_int_equal(spy_entry_way("celery.app.trace", SITE "celery/app/trace.py"),
                     SPY_ENTRY_WAY_FRAMEWORK);
    assert_int_equal(spy_entry_way("srv.shop.celery", "/srv/shop/celery.py"), SPY_ENTRY_WAY_OWN);
    assert_int_equal(spy_entry_way("celeryx.app", SITE "celeryx/app.py"), SPY_ENTRY_WAY_OWN);
    assert_int_equal(spy_entry_way("threading", "/usr/lib/python3.11/threading.py"),
                     SPY_ENTRY_WAY_LIBRARY);
    assert_int_equal(spy_entry_way("uvicorn.main", SITE "uvicorn/main.py"), SPY_ENTRY_WAY_SERVER);
}

// --- stacks: "file function", the outermost first ---

static uint32_t push(struct spy_profile *p, uint32_t parent, const char *file, const char *name,
                     uint32_t kind)
{
    struct spy_function f = {.kind = kind};
    uint32_t function, frame, stack;
    assert_int_equal(spy_profile_cstr(p, name, &f.name), 0);
    assert_int_equal(spy_profile_cstr(p, file, &f.filename), 0);
    assert_int_equal(spy_profile_function(p, &f, &function), 0);
    assert_int_equal(spy_profile_frame(p, (struct spy_frame){function, 1}, &frame), 0);
    assert_int_equal(spy_profile_stack(p, parent, frame, &stack), 0);
    return stack;
}

// The name of the entry of a stack, "" for none.
static const char *entry_of(const struct spy_profile *p, uint32_t stack, const char *module,
                            const char *function)
{
    struct spy_entry_pattern own = {module, function};
    struct spy_question q = {.entry_patterns = &own, .n_entry_patterns = module ? 1 : 0};
    struct spy_entries e;
    assert_int_equal(spy_entries_find(&q, p, &e, NULL), 0);
    uint32_t i = e.of_stack[stack];
    uint32_t name = i ? spy_profile_function_at(p, e.list[i - 1].function)->name : 0;
    spy_entries_done(&e);
    return spy_profile_text(p, name);
}

static void the_innermost_dispatcher_decides(void **state)
{
    (void)state;
    struct spy_profile *p = spy_profile_new();
    uint32_t s = push(p, 0, SITE "gunicorn/workers/sync.py", "handle_request", 0);
    assert_string_equal(entry_of(p, s, NULL, NULL), "");
    s = push(p, s, SITE "flask/app.py", "Flask.__call__", 0);
    assert_string_equal(entry_of(p, s, NULL, NULL), "Flask.__call__");
    s = push(p, s, SITE "flask/app.py", "Flask.dispatch_request", 0);
    s = push(p, s, "libc.so.6", "call", SPY_FRAME_NATIVE);
    uint32_t own = push(p, s, SITE "flask/app.py", "Flask.send_static_file", 0);
    assert_string_equal(entry_of(p, own, NULL, NULL), "Flask.__call__");
    s = push(p, s, "/srv/shop.py", "pay", 0);
    assert_string_equal(entry_of(p, s, NULL, NULL), "pay");
    s = push(p, s, "/srv/shop.py", "helper", 0);
    assert_string_equal(entry_of(p, s, NULL, NULL), "pay");
    spy_profile_free(p);
}

static void frames_of_frameworks_and_of_the_library_lead_on(void **state)
{
    (void)state;
    struct spy_profile *p = spy_profile_new();
    uint32_t s = push(p, 0, SITE "celery/app/trace.py", "trace_task", 0);
    s = push(p, s, SITE "celery/app/builtins.py", "wrap", 0);
    s = push(p, s, "/usr/lib/python3.11/contextlib.py", "inner", 0);
    assert_string_equal(entry_of(p, s, NULL, NULL), "");
    uint32_t module = push(p, s, "/srv/shop.py", "<module>", 0); // an import
    assert_string_equal(entry_of(p, push(p, module, "/srv/shop.py", "f", 0), NULL, NULL), "");
    s = push(p, s, "/srv/shop.py", "task", 0);
    assert_string_equal(entry_of(p, s, NULL, NULL), "task");
    spy_profile_free(p);
}

static void own_rules_step_through_wrappers(void **state)
{
    (void)state;
    struct spy_profile *p = spy_profile_new();
    uint32_t s = push(p, 0, SITE "flask/app.py", "Flask.dispatch_request", 0);
    s = push(p, s, "/srv/auth.py", "login.<locals>.wrapper", 0);
    s = push(p, s, "/srv/auth.py", "pay", 0);
    assert_string_equal(entry_of(p, s, NULL, NULL), "login.<locals>.wrapper");
    assert_string_equal(entry_of(p, s, "auth$", "wrapper$"), "pay");
    assert_string_equal(entry_of(p, s, "other$", "wrapper$"), "login.<locals>.wrapper");
    spy_profile_free(p);
}

static void a_recursive_entry_begins_once(void **state)
{
    (void)state;
    struct spy_profile *p = spy_profile_new();
    struct spy_question q = {0};
    struct spy_entries e;
    uint32_t s = push(p, 0, SITE "rq/job.py", "Job._execute", 0);
    uint32_t first = s = push(p, s, "/srv/jobs.py", "job", 0);
    s = push(p, s, "/srv/jobs.py", "job", 0);
    assert_int_equal(spy_entries_find(&q, p, &e, NULL), 0);
    assert_int_equal(e.n, 1);
    assert_true(e.begins[first]);
    assert_false(e.begins[s]);
    assert_int_equal(e.of_stack[s], e.of_stack[first]);
    spy_entries_done(&e);
    spy_profile_free(p);
}

RUN(T(modules_are_named_from_where_packages_are_installed), T(a_long_path_is_cut),
    T(dispatchers_are_found_by_the_ends_of_modules_and_names),
    T(a_service_may_have_a_module_named_as_a_framework), T(the_innermost_dispatcher_decides),
    T(frames_of_frameworks_and_of_the_library_lead_on), T(own_rules_step_through_wrappers),
    T(a_recursive_entry_begins_once))
