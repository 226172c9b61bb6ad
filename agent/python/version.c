#include "agent/python/version.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 65536, VERSION_MAX = 16, BLOCKS_MAX = 1024 };

// Length of a version at the start of text, which ends in a NUL: "3.10.13", "3.9.0rc1". 0: none.
static size_t version_len(const char *text, size_t left)
{
    size_t len = strnlen(text, left < VERSION_MAX ? left : VERSION_MAX);
    if (len < 5 || len == left || len == VERSION_MAX || (text[0] != '2' && text[0] != '3') ||
        text[1] != '.' || !isdigit((unsigned char)text[2]))
        return 0;
    unsigned minor, micro;
    char level[3] = "";
    unsigned serial = 0;
    int at = 0;
    int n = sscanf(text + 2, "%2u.%2u%n%2[abrc]%2u%n", &minor, &micro, &at, level, &serial, &at);
    return n >= 2 && (size_t)at + 2 == len ? len : 0;
}

// "/usr/lib/libpython3.10.so.1.0" -> "3.10."; "" if the name has no version.
static void make_prefix(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    const char *name = strstr(slash ? slash : path, "python");
    unsigned major, minor;
    out[0] = 0;
    if (name && sscanf(name, "python%1u.%2u", &major, &minor) == 2)
        snprintf(out, size, "%u.%u.", major, minor);
}

// The linker may merge a text into the end of a longer one ("/opt/3.10.13"), so what comes before
// it must only not be part of a number.
static bool search_bytes(const char *bytes, size_t n, const char *prefix, char *out, size_t size)
{
    const char *at = bytes;
    while ((at = memmem(at + 1, n - (size_t)(at + 1 - bytes), prefix, strlen(prefix)))) {
        size_t len = version_len(at, n - (size_t)(at - bytes));
        if (len && len < size && !isdigit((unsigned char)at[-1]) && at[-1] != '.') {
            memcpy(out, at, len + 1);
            return true;
        }
    }
    return false;
}

struct pages {
    const struct spy_target *t;
    const struct spy_maps *maps;
    const struct spy_module *mod;
    const char *prefix;
    char *block;
    int blocks; // read so far
};

static bool search_pages(struct pages *p, bool executable, char *out, size_t size)
{
    for (size_t i = 0; i < p->maps->n; i++) {
        const struct spy_mapping *m = &p->maps->list[i];
        if (!m->readable || m->writable || m->executable != executable ||
            strcmp(spy_maps_path(p->maps, m), p->mod->path) != 0)
            continue;
        for (uint64_t at = m->start; at < m->end && p->blocks++ < BLOCKS_MAX; at += BLOCK) {
            uint64_t left = m->end - at;
            size_t n = left < BLOCK + VERSION_MAX ? (size_t)left : BLOCK + VERSION_MAX;
            if (spy_target_read(p->t, at, p->block, n) == 0 &&
                search_bytes(p->block, n, p->prefix, out, size))
                return true;
        }
    }
    return false;
}

// Linkers separate constants from code, which is most of a file; old linkers do not.
bool spy_py_version_text(const struct spy_target *t, const struct spy_maps *maps,
                         const struct spy_module *mod, char *out, size_t size)
{
    _cleanup_free_ char *block = malloc(BLOCK + VERSION_MAX);
    char prefix[16];
    make_prefix(mod->path, prefix, sizeof prefix);
    struct pages p = {.t = t, .maps = maps, .mod = mod, .prefix = prefix, .block = block};
    return block && prefix[0] &&
           (search_pages(&p, false, out, size) || search_pages(&p, true, out, size));
}
