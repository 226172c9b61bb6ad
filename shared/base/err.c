#include "shared/base/err.h"
#include "shared/base/buf.h"
#include "shared/base/text.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Makes the message one line, fit for a terminal, without a half character at its end: messages quote
// names from outside. size: that of `from` too.
static void put_line(char *to, size_t to_size, char *from, size_t size)
{
    size_t len = strlen(from), n = 0;
    while (n < len) {
        size_t step = spy_utf8_len(from + n, len - n);
        if (!step && len == size - 1 && len - n < 4) { // vsnprintf cut there
            from[n] = 0;
            break;
        }
        n += step ? step : 1;
    }
    spy_text_show(to, to_size, from);
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
    put_line(err->msg, sizeof err->msg, msg, sizeof msg);
    return code;
}

int spy_err_nomem(struct spy_err *err)
{
    return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory");
}

int spy_err_context(struct spy_err *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    if (err->code == SPY_OK) // no error was set
        spy_err_set(err, code, 0, "%s", spy_code_name(code));
    char msg[2 * sizeof err->msg + 2];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->msg)
        snprintf(msg + n, sizeof msg - (size_t)n, ": %s", err->msg);
    put_line(err->msg, sizeof err->msg, msg, sizeof msg);
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
    case EMFILE:
    case ENFILE:
        return SPY_ERR_LIMIT;
    case EAGAIN:
    case EINTR:
        return SPY_ERR_AGAIN;
    default:
        return SPY_ERR_IO;
    }
}
