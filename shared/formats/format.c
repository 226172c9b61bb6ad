#include "shared/formats/format.h"
#include "shared/base/mem.h"
#include "shared/formats/print.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ROW(name) &spy_format_##name,
static const struct spy_format *const formats[] = {SPY_FORMATS(ROW)};

const struct spy_format *const *spy_format_list(size_t *ret_n)
{
    *ret_n = SPY_COUNT(formats);
    return formats;
}

const struct spy_format *spy_format_find(const char *name)
{
    for (size_t i = 0; i < SPY_COUNT(formats); i++)
        if (!strcasecmp(formats[i]->name, name) ||
            (formats[i]->alias && !strcasecmp(formats[i]->alias, name)))
            return formats[i];
    return NULL;
}

const char *spy_format_names(char *out, size_t size, const char *between)
{
    size_t len = 0;
    out[0] = 0;
    for (size_t i = 0; i < 2 * SPY_COUNT(formats); i++) {
        const struct spy_format *f = formats[i / 2];
        const char *name = i % 2 ? f->name : f->alias; // py-spy's users look for its names first
        if (name && len < size)
            len += (size_t)snprintf(out + len, size - len, "%s%s", len ? between : "", name);
    }
    return out;
}

static const char *find_after_last(const char *text, const char *what)
{
    const char *found = NULL;
    for (const char *at = text; (at = strstr(at, what)); at++)
        found = at + strlen(what);
    return found && *found ? found : NULL;
}

// What follows ".../lib/pythonX.Y/".
static const char *find_after_stdlib(const char *filename)
{
    const char *at = find_after_last(filename, "/lib/python");
    const char *slash = at ? strchr(at, '/') : NULL;
    if (!slash || !slash[1] || strspn(at, "0123456789.t") != (size_t)(slash - at))
        return NULL;
    return slash + 1;
}

const char *spy_short_filename(const char *filename)
{
    const char *tail = find_after_last(filename, "/site-packages/");
    if (!tail)
        tail = find_after_last(filename, "/dist-packages/");
    if (!tail)
        tail = find_after_stdlib(filename);
    if (tail)
        return tail;
    const char *slash = strrchr(filename, '/');
    if (!slash || slash == filename || !slash[1])
        return slash && slash[1] ? slash + 1 : filename;
    const char *before = memrchr(filename, '/', (size_t)(slash - filename));
    return before ? before + 1 : filename;
}
