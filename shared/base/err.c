#include "shared/base/err.h"
#include "shared/base/buf.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// One line, and no half of a character where it was cut: messages quote names that others chose.
static void put_line(char *to, size_t size, char *from)
{
    size_t left = strlen(from), n = 0;
    for (size_t i = 0; i < left; i++)
        if ((unsigned char)from[i] < 0x20 || from[i] == 0x7f)
            from[i] = ' ';
    for (size_t step; n < left; n += step) {
        step = spy_utf8_len(from + n, left - n);
        if (n + step >= size || (!step && left >= size - 1 && left - n < 4))
            break;
        step += !step;
    }
    memcpy(to, from, n);
    to[n] = 0;
}

int spy_err_set(struct spy_err *err, int code, int sys, const char *fmt, ...)
{
    if (!err)
        return code;
    char msg[sizeof err->msg]; // an argument may be err->msg itself
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (sys && n >= 0 && (size_t)n < sizeof msg) {
        char text[80];
        snprintf(msg + n, sizeof msg - (size_t)n, ": %s", strerror_r(sys, text, sizeof text));
    }
    err->code = code;
    err->sys = sys;
    put_line(err->msg, sizeof err->msg, msg);
    return code;
}

int spy_err_context(struct spy_err *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    if (err->code == SPY_OK) // what failed said nothing
        spy_err_set(err, code, 0, "%s", spy_code_name(code));
    char msg[2 * sizeof err->msg + 2];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->msg)
        snprintf(msg + n, sizeof msg - (size_t)n, ": %s", err->msg);
    put_line(err->msg, sizeof err->msg, msg);
    return err->code;
}

const char *spy_code_name(int code)
{
    static const char *const names[] = {
        "ok",          "gone",  "torn",  "denied", "again",    "invalid",
        "unsupported", "limit", "nomem", "io",     "notfound", "usage",
    };
    size_t i = code <= 0 ? 0u - (unsigned)code : sizeof names;
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
