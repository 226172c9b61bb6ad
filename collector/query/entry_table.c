#include "collector/query/entry_table.h"
#include <stdio.h>
#include <string.h>

const char *const spy_entry_kind_names[SPY_ENTRY_KINDS] = {"app", "endpoint", "task", "job", "own"};

#define APP      SPY_ENTRY_APP
#define ENDPOINT SPY_ENTRY_ENDPOINT
#define TASK     SPY_ENTRY_TASK
#define JOB      SPY_ENTRY_JOB
const struct spy_dispatcher spy_dispatchers[] = {
    {"django", ENDPOINT, "django.core.handlers.base", "_get_response"},
    {"django", ENDPOINT, "django.core.handlers.base", "_get_response_async"},
    {"django", ENDPOINT, "django.views.generic.base", "view"},
    {"django", ENDPOINT, "django.views.generic.base", "dispatch"},
    {"django", ENDPOINT, "django.views.decorators.*", "_view_wrapper"},
    {"django", ENDPOINT, "django.views.decorators.*", "_wrapper_view"},
    {"django", ENDPOINT, "django.views.decorators.*", "_wrapped_view"},
    {"django", ENDPOINT, "django.views.decorators.*", "wrapper_view"},
    {"django", ENDPOINT, "django.views.decorators.*", "wrapped_view"},
    {"django", ENDPOINT, "django.views.decorators.*", "inner"},
    {"django", ENDPOINT, "django.utils.decorators", "_view_wrapper"},
    {"django", ENDPOINT, "django.utils.decorators", "_wrapper_view"},
    {"django", ENDPOINT, "django.utils.decorators", "_wrapped_view"},
    {"django", ENDPOINT, "django.utils.decorators", "_wrapper"},
    {"django", ENDPOINT, "django.contrib.auth.decorators", "_view_wrapper"},
    {"django", ENDPOINT, "django.contrib.auth.decorators", "_wrapper_view"},
    {"django", ENDPOINT, "django.contrib.auth.decorators", "_wrapped_view"},
    {"django", ENDPOINT, "django.contrib.auth.mixins", "dispatch"},
    {"django", ENDPOINT, "asgiref.sync", "thread_handler"},
    {"djangorestframework", ENDPOINT, "rest_framework.views", "dispatch"},
    {"djangorestframework", ENDPOINT, "rest_framework.viewsets", "view"},
    {"djangorestframework", ENDPOINT, "rest_framework.decorators", "handler"},
    {"flask", ENDPOINT, "flask.app", "dispatch_request"},
    {"flask", ENDPOINT, "flask.views", "view"},
    {"flask", ENDPOINT, "flask.views", "dispatch_request"},
    {"flask", ENDPOINT, "flask_login.utils", "decorated_view"},
    {"fastapi", ENDPOINT, "fastapi.routing", "run_endpoint_function"},
    {"starlette", ENDPOINT, "starlette.routing", "app"},
    {"starlette", ENDPOINT, "starlette.routing", "websocket_session"},
    {"starlette", ENDPOINT, "starlette.endpoints", "dispatch"},
    {"starlette", ENDPOINT, "anyio._backends._asyncio", "run"}, // a thread for functions that block
    {"aiohttp", ENDPOINT, "aiohttp.web_app", "_handle"},
    {"aiohttp", ENDPOINT, "aiohttp.web_middlewares", "impl"},
    {"aiohttp", ENDPOINT, "aiohttp.web_urldispatcher", "_iter"},
    {"tornado", ENDPOINT, "tornado.web", "_execute"},
    {"tornado", ENDPOINT, "tornado.web", "wrapper"},
    {"sanic", ENDPOINT, "sanic.app", "handle_request"},
    {"sanic", ENDPOINT, "handle_request", "handle_request"}, // it compiles it again at its start
    {"sanic", ENDPOINT, "sanic.views", "dispatch_request"},
    {"sanic", ENDPOINT, "sanic.views", "view"},
    {"grpc", ENDPOINT, "grpc._server", "_call_behavior"},
    {"grpc", ENDPOINT, "grpc._server", "_take_response_from_response_iterator"},
    {"celery", TASK, "celery.app.trace", "trace_task"},
    {"celery", TASK, "celery.app.trace", "__protected_call__"},
    {"celery", TASK, "celery.app.task", "__call__"},
    {"celery", TASK, "celery.app.autoretry", "run"},
    {"rq", JOB, "rq.job", "_execute"},
    {"dramatiq", TASK, "dramatiq.actor", "__call__"},
    {"airflow", TASK, "airflow.models.taskinstance", "_execute_callable"},
    {"airflow", TASK, "airflow.models.taskinstance", "_execute_task"},
    {"airflow", TASK, "airflow.models.baseoperator", "wrapper"},
    {"airflow", TASK, "airflow.sdk.execution_time.task_runner", "_execute_task"},
    {"airflow", TASK, "airflow.sdk.execution_time.callback_runner", "run"},
    {"airflow", TASK, "airflow.sdk.bases.operator", "wrapper"},
    {"airflow", TASK, "airflow.utils.operator_helpers", "run"},
    {"airflow", TASK, "airflow.operators.python", "execute_callable"},
    {"airflow", TASK, "airflow.providers.standard.operators.python", "execute_callable"},
    {"wsgi", APP, "gunicorn.workers.*", "handle_request"},
    {"wsgi", APP, "wsgiref.handlers", "run"},
    {"wsgi", APP, "waitress.task", "execute"},
    {"wsgi", APP, "cheroot.wsgi", "respond"},
    {"wsgi", APP, "werkzeug.serving", "execute"},
    {"wsgi", APP, "gevent.pywsgi", "run_application"},
    {"wsgi", APP, "eventlet.wsgi", "handle_one_response"},
    {"asgi", APP, "uvicorn.protocols.*", "run_asgi"},
    {"asgi", APP, "uvicorn.middleware.*", "__call__"},
    {"asgi", APP, "hypercorn.app_wrappers", "__call__"},
    {NULL, APP, NULL, NULL},
};

// By their first components.
static const char *const servers[] = {"gunicorn.*", "waitress.*", "cheroot.*", "werkzeug.*",
                                      "gevent.*",   "eventlet.*", "uvicorn.*", "hypercorn.*",
                                      "daphne.*",   "greenlet.*", NULL};
static const char *const frameworks[] = {"starlette.*",
                                         "fastapi.*",
                                         "anyio.*",
                                         "asgiref.*",
                                         "django.template.response",
                                         "django.urls.*",
                                         "django.utils.*",
                                         "rest_framework.compat",
                                         "aiohttp.*",
                                         "tornado.*",
                                         "sanic.*",
                                         "grpc.*",
                                         "celery.*",
                                         "billiard.*",
                                         "kombu.*",
                                         "rq.*",
                                         "dramatiq.*",
                                         "airflow.models.*",
                                         "airflow.sdk.*",
                                         "airflow.utils.*",
                                         "airflow.decorators.*",
                                         "airflow.operators.python",
                                         "airflow.providers.standard.operators.python",
                                         "airflow.providers.standard.decorators.*",
                                         NULL};

// --- names ---

// What follows the last of the folders that packages are installed in.
static const char *skip_installation(const char *filename)
{
    static const char *const folders[] = {"/site-packages/", "/dist-packages/", "/lib/python"};
    const char *from = NULL;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        const char *at = filename, *next;
        while ((next = strstr(at, folders[i])))
            at = next + strlen(folders[i]);
        if (at != filename && i == 2) // the version, and a slash
            at = (at = strchr(at, '/')) ? at + 1 : filename;
        if (at != filename && (!from || at > from))
            from = at;
    }
    return from ? from : filename + (*filename == '/');
}

static void drop_ending(char *text, const char *ending)
{
    size_t n = strlen(text), e = strlen(ending);
    if (n >= e && !strcmp(text + n - e, ending))
        text[n - e] = 0;
}

void spy_entry_module(const char *filename, char *out, size_t size)
{
    snprintf(out, size, "%s", skip_installation(filename));
    drop_ending(out, ".pyc");
    drop_ending(out, ".py");
    for (char *c = out; *c; c++)
        *c = *c == '/' ? '.' : *c;
    drop_ending(out, ".__init__");
}

const char *spy_entry_last_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

// --- rows ---

// Whether `part`, of `n` bytes, stands in the module as whole components, at its end or, with below,
// before its end.
static bool has_components(const char *module, const char *part, size_t n, bool below)
{
    for (const char *at = module; (at = strstr(at, part)); at++) {
        bool begins = at == module || at[-1] == '.';
        if (begins && (!at[n] || (below && at[n] == '.')))
            return true;
    }
    return false;
}

bool spy_entry_is_module(const char *row, const char *module)
{
    char part[128];
    size_t n = strlen(row);
    if (!strchr(row, '.'))
        return !strcmp(row, module);
    bool below = n > 2 && !strcmp(row + n - 2, ".*");
    n -= below ? 2 : 0;
    if (n >= sizeof part)
        return false;
    memcpy(part, row, n);
    part[n] = 0;
    return has_components(module, part, n, below);
}

const struct spy_dispatcher *spy_entry_dispatcher(const char *module, const char *name)
{
    const char *last = spy_entry_last_name(name);
    for (const struct spy_dispatcher *d = spy_dispatchers; d->framework; d++)
        if (!strcmp(d->function, last) && spy_entry_is_module(d->module, module))
            return d;
    return NULL;
}

// A service may have a module of its own named shop.celery, so these are matched from the start.
static bool has_package(const char *const *list, const char *module)
{
    for (const char *const *m = list; *m; m++) {
        size_t n = strlen(*m);
        bool below = (*m)[n - 1] == '*';
        n -= below ? 2 : 0;
        if (!strncmp(module, *m, n) && (!module[n] || (below && module[n] == '.')))
            return true;
    }
    return false;
}

static bool is_standard_library(const char *filename)
{
    return !strncmp(filename, "<frozen ", 8) ||
           (strstr(filename, "/lib/python") && !strstr(filename, "/site-packages/") &&
            !strstr(filename, "/dist-packages/"));
}

enum spy_entry_way spy_entry_way(const char *module, const char *filename)
{
    return is_standard_library(filename)     ? SPY_ENTRY_WAY_LIBRARY
           : has_package(servers, module)    ? SPY_ENTRY_WAY_SERVER
           : has_package(frameworks, module) ? SPY_ENTRY_WAY_FRAMEWORK
                                             : SPY_ENTRY_WAY_OWN;
}
