#include "agent/native/debug_file.h"
#include "agent/target/files.h"
#include "shared/base/mem.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { LINK_MAX_LEN = 4096, CHECKED_MAX = 256 << 20 };

struct wanted {
    uint8_t id[SPY_ELF_ID_MAX];
    size_t id_len;
    char name[NAME_MAX + 1]; // "": the file has no .gnu_debuglink
    uint32_t checksum;
};

// A name, zeros up to a multiple of four, a CRC-32.
static void read_link(const struct spy_elf *e, struct wanted *ret)
{
    _cleanup_free_ uint8_t *bytes = NULL;
    const Elf64_Shdr *s = spy_elf_section(e, ".gnu_debuglink");
    if (!s || spy_elf_load(e, s->sh_offset, s->sh_size, LINK_MAX_LEN, &bytes) < 0)
        return;
    size_t len = strlen((char *)bytes), at = (len + 4) & ~(size_t)3;
    if (len >= sizeof ret->name || strchr((char *)bytes, '/') || at + 4 > s->sh_size)
        return;
    memcpy(ret->name, bytes, len + 1);
    memcpy(&ret->checksum, bytes + at, sizeof ret->checksum);
}

static bool has_checksum(int fd, uint32_t wanted)
{
    uint8_t block[16384];
    uLong sum = crc32(0, NULL, 0);
    ssize_t n;
    for (off_t at = 0; at < CHECKED_MAX && (n = pread(fd, block, sizeof block, at)) > 0; at += n)
        sum = crc32(sum, block, (uInt)n);
    return sum == wanted;
}

static bool belongs_to(int fd, const struct wanted *w)
{
    uint8_t id[SPY_ELF_ID_MAX];
    struct spy_elf e;
    if (spy_elf_open_fd(fd, &e) < 0)
        return false;
    size_t len = spy_elf_build_id(&e, id);
    spy_elf_done(&e);
    if (w->id_len && len)
        return len == w->id_len && !memcmp(id, w->id, len);
    return w->name[0] && has_checksum(fd, w->checksum);
}

static int open_if_right(const struct spy_target *t, const char *path, const struct wanted *w)
{
    int fd = spy_target_open_file(t, path);
    if (fd >= 0 && !belongs_to(fd, w)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int open_by_id(const struct spy_target *t, const struct wanted *w)
{
    char path[64 + 2 * SPY_ELF_ID_MAX];
    if (w->id_len < 2)
        return -1;
    int at = snprintf(path, sizeof path, "/usr/lib/debug/.build-id/%02x/", w->id[0]);
    for (size_t i = 1; i < w->id_len; i++)
        at += snprintf(path + at, sizeof path - (size_t)at, "%02x", w->id[i]);
    snprintf(path + at, sizeof path - (size_t)at, ".debug");
    return open_if_right(t, path, w);
}

int spy_debug_file_open(const struct spy_target *t, const struct spy_elf *stripped,
                        const char *path)
{
    static const char *const places[] = {"%.*s/%s", "%.*s/.debug/%s", "/usr/lib/debug%.*s/%s"};
    struct wanted w = {0};
    char candidate[2 * PATH_MAX];
    const char *slash = strrchr(path, '/');
    w.id_len = spy_elf_build_id(stripped, w.id);
    read_link(stripped, &w);
    int fd = open_by_id(t, &w);
    for (size_t i = 0; fd < 0 && slash && w.name[0] && i < SPY_COUNT(places); i++) {
        int n = snprintf(candidate, sizeof candidate, places[i], (int)(slash - path), path, w.name);
        if (n > 0 && (size_t)n < sizeof candidate)
            fd = open_if_right(t, candidate, &w);
    }
    return fd;
}
