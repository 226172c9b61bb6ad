#include "shared/base/log.h"
#include "shared/base/buf.h"
#include "shared/base/clock.h"
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static enum spy_log_level max_level = SPY_LOG_INFO;
static bool as_json;
static const char *const level_names[] = {"error", "warn", "info", "debug"};

int spy_log_set_level(const char *name, struct spy_err *err)
{
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, level_names[i])) {
            max_level = (enum spy_log_level)i;
            return 0;
        }
    return spy_err_set(err, SPY_ERR_USAGE, 0,
                       "--log-level takes error, warn, info or debug, not '%s'", name);
}

int spy_log_set_format(const char *name, struct spy_err *err)
{
    if (strcmp(name, "logfmt") != 0 && strcmp(name, "json") != 0)
        return spy_err_set(err, SPY_ERR_USAGE, 0, "--log-format takes logfmt or json, not '%s'",
                           name);
    as_json = !strcmp(name, "json");
    return 0;
}

static void put_value(struct spy_buf *b, const char *s)
{
    size_t len = strlen(s);
    int bare = !as_json && len > 0 && strcspn(s, " =\"\\") == len;
    for (size_t i = 0; bare && i < len; i++)
        bare = (unsigned char)s[i] > 0x20 && (unsigned char)s[i] < 0x7f;
    if (bare) {
        spy_buf_append(b, s, len);
        return;
    }
    spy_buf_putc(b, '"');
    spy_buf_json(b, s, len);
    spy_buf_putc(b, '"');
}

// Prints as much of the message as leaves room for the end of the line and some fields.
static void put_message(struct spy_buf *b, const char *msg)
{
    enum { MESSAGE_MAX = SPY_LOG_MAX / 8 }; // a byte becomes at most six
    char cut[MESSAGE_MAX];
    size_t n = 0, len = strlen(msg);
    for (size_t step; n < len; n += step) {
        step = spy_utf8_len(msg + n, len - n);
        step += !step;
        if (n + step >= sizeof cut)
            break;
    }
    memcpy(cut, msg, n);
    cut[n] = 0;
    put_value(b, cut);
}

static void put_field(struct spy_buf *b, const struct spy_field *f)
{
    const char *pattern = as_json ? ",\"%s\":" : " %s=";
    spy_buf_printf(b, pattern, f->key);
    if (f->str)
        put_value(b, f->str);
    else
        spy_buf_printf(b, "%lld", (long long)f->num);
}

void spy_log_fields(enum spy_log_level level, const char *msg, const struct spy_field *fields,
                    size_t n)
{
    if (level > max_level)
        return;
    char when[40];
    uint64_t now = spy_clock_real_ns();
    time_t sec = (time_t)(now / SPY_NS_PER_SEC);
    struct tm tm;
    gmtime_r(&sec, &tm);
    size_t at = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when + at, sizeof when - at, ".%03uZ", (unsigned)(now / SPY_NS_PER_MS % 1000));

    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(SPY_LOG_MAX);
    if (as_json)
        spy_buf_printf(&b, "{\"time\":\"%s\",\"level\":\"%s\",\"msg\":", when, level_names[level]);
    else
        spy_buf_printf(&b, "time=%s level=%s msg=", when, level_names[level]);
    put_message(&b, msg);
    for (size_t i = 0; i < n && !b.failed; i++) {
        struct spy_buf before = b;
        put_field(&b, &fields[i]);
        if (b.failed)
            b.len = before.len; // leaves out a field that does not fit, and all that follow
    }
    b.failed = 0;
    b.max += 2;
    spy_buf_puts(&b, as_json ? "}\n" : "\n");
    if (b.data && write(STDERR_FILENO, b.data, b.len) < 0)
        return; // there is no place left to report it
}

int spy_log_due(uint64_t *state, uint64_t interval_ns)
{
    uint64_t now = spy_clock_mono_ns();
    uint64_t last = __atomic_load_n(state, __ATOMIC_RELAXED);
    if (last && now - last < interval_ns)
        return 0;
    return __atomic_compare_exchange_n(state, &last, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}
