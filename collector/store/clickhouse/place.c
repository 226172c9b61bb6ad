#include "collector/store/clickhouse/place.h"
#include "shared/base/mem.h"
#include "shared/http/url.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { REPLICAS_MAX = 16 };

static const struct {
    const char *key;
    size_t at;
} values[] = {
    {"database", offsetof(struct spy_click_place, database)},
    {"user", offsetof(struct spy_click_place, user)},
    {"password_file", offsetof(struct spy_click_place, password_file)},
    {"ca_file", offsetof(struct spy_click_place, ca_file)},
};

static const struct {
    const char *key;
    size_t at;
    uint32_t most;
} numbers[] = {
    {"replicas", offsetof(struct spy_click_place, replicas), REPLICAS_MAX},
    {"grace", offsetof(struct spy_click_place, grace_secs), SPY_CLICK_GRACE_SECS},
};

int spy_click_place_print(const struct spy_click_place *place, struct spy_buf *out)
{
    spy_buf_printf(out, "%s/?replicas=%u", place->url, place->replicas);
    if (place->grace_secs != SPY_CLICK_GRACE_SECS)
        spy_buf_printf(out, "&grace=%u", place->grace_secs);
    for (size_t i = 0; i < SPY_COUNT(values); i++) {
        const char *value = (const char *)place + values[i].at;
        if (!*value)
            continue;
        spy_buf_printf(out, "&%s=", values[i].key);
        spy_url_put_value(out, value);
    }
    return out->failed;
}

// Undoes spy_url_put_value.
static bool unescape_value(const char *text, size_t len, char out[SPY_CLICK_TEXT])
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++, n++) {
        if (n + 1 >= SPY_CLICK_TEXT)
            return false;
        out[n] = text[i];
        if (text[i] != '%')
            continue;
        if (i + 2 >= len || !isxdigit((unsigned char)text[i + 1]) ||
            !isxdigit((unsigned char)text[i + 2]))
            return false;
        out[n] = (char)strtoul((char[]){text[i + 1], text[i + 2], 0}, NULL, 16);
        if (!out[n])
            return false;
        i += 2;
    }
    out[n] = 0;
    return true;
}

static bool take_pair(struct spy_click_place *p, const char *pair, size_t len)
{
    const char *equals = memchr(pair, '=', len);
    size_t key = equals ? (size_t)(equals - pair) : 0;
    char number[SPY_CLICK_TEXT];
    if (!equals)
        return false;
    for (size_t i = 0; i < SPY_COUNT(values); i++)
        if (key == strlen(values[i].key) && !memcmp(pair, values[i].key, key))
            return unescape_value(equals + 1, len - key - 1, (char *)p + values[i].at);
    for (size_t i = 0; i < SPY_COUNT(numbers); i++)
        if (key == strlen(numbers[i].key) && !memcmp(pair, numbers[i].key, key)) {
            if (!unescape_value(equals + 1, len - key - 1, number))
                return false;
            unsigned long n = strtoul(number, NULL, 10);
            *(uint32_t *)((char *)p + numbers[i].at) = (uint32_t)n;
            return n <= numbers[i].most;
        }
    return false;
}

// It stands in statements, where a name cannot be bound.
static bool is_plain_name(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '_')
            return false;
    return *name && !isdigit((unsigned char)*name);
}

static int check_clickhouse_place(const struct spy_click_place *p, struct spy_err *err)
{
    const char *fault = spy_url_server_fault(p->url);
    if (fault)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "store.url cannot be used: %s", fault);
    if (!is_plain_name(p->database))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "store.database must be made of letters, digits and _");
    return 0;
}

int spy_click_place_parse(const char *text, struct spy_click_place *ret, struct spy_err *err)
{
    struct spy_click_place p = {.database = "podspy", .grace_secs = SPY_CLICK_GRACE_SECS};
    const char *query = strstr(text, "/?");
    size_t len = query ? (size_t)(query - text) : strlen(text);
    bool ok = len < sizeof p.url;
    if (ok)
        memcpy(p.url, text, len);
    for (const char *at = query ? query + 2 : ""; ok && *at;) {
        len = strcspn(at, "&");
        ok = take_pair(&p, at, len);
        at += len + (at[len] == '&');
    }
    if (!ok)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "the place of the ClickHouse store is malformed or too long");
    int r = check_clickhouse_place(&p, err);
    if (r == 0)
        *ret = p;
    return r;
}
