#include "shared/base/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

int spy_err_set(struct spy_err *err, int code, int sys, const char *fmt, ...)
{
    if (!err)
        return code;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    err->sys = sys;
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (sys && n >= 0 && (size_t)n < sizeof err->msg) {
        char text[80];
        snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %s",
                 strerror_r(sys, text, sizeof text));
    }
    return code;
}

int spy_err_context(struct spy_err *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    char old[sizeof err->msg];
    memcpy(old, err->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->msg)
        snprintf(err->msg + n, sizeof err->msg - (size_t)n, ": %s", old);
    return err->code;
}

const char *spy_code_name(int code)
{
    static const char *const names[] = {
        "ok",          "gone",  "torn",  "denied", "again",    "invalid",
        "unsupported", "limit", "nomem", "io",     "notfound", "usage",
    };
    size_t i = code <= 0 ? (size_t)-code : sizeof names;
    return i < sizeof names / sizeof *names ? names[i] : "unknown";
}

int spy_code_of_errno(int sys)
{
    switch (sys) {
    case ESRCH:
    case ENOENT:
        return SPY_ERR_GONE;
    case EPERM:
    case EACCES:
        return SPY_ERR_DENIED;
    case ENOMEM:
        return SPY_ERR_NOMEM;
    case EAGAIN:
    case EINTR:
        return SPY_ERR_AGAIN;
    default:
        return SPY_ERR_IO;
    }
}
