#include "agent/native/elf_file.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#ifndef ELFCOMPRESS_ZSTD
#define ELFCOMPRESS_ZSTD 2
#endif

static bool unpack_section(const Elf64_Chdr *h, const uint8_t *packed, size_t len, uint8_t *to)
{
    uLongf done = h->ch_size;
    if (h->ch_type == ELFCOMPRESS_ZLIB)
        return uncompress(to, &done, packed, len) == Z_OK && done == h->ch_size;
    return h->ch_type == ELFCOMPRESS_ZSTD &&
           ZSTD_decompress(to, h->ch_size, packed, len) == h->ch_size;
}

static int load_packed(const struct spy_elf *e, const Elf64_Shdr *s, uint64_t max, uint8_t **ret,
                       size_t *ret_len)
{
    _cleanup_free_ uint8_t *packed = NULL;
    Elf64_Chdr h;
    if (s->sh_size < sizeof h)
        return SPY_ERR_INVALID;
    int r = spy_elf_get(e, s->sh_offset, &h, sizeof h);
    if (r == 0 && h.ch_size > max)
        r = SPY_ERR_LIMIT;
    if (r == 0)
        r = spy_elf_load(e, s->sh_offset + sizeof h, s->sh_size - sizeof h, max, &packed);
    if (r < 0)
        return r;
    uint8_t *bytes = malloc(h.ch_size + 1);
    if (!bytes)
        return SPY_ERR_NOMEM;
    if (!unpack_section(&h, packed, s->sh_size - sizeof h, bytes)) {
        free(bytes);
        return SPY_ERR_INVALID;
    }
    bytes[h.ch_size] = 0;
    *ret = bytes;
    *ret_len = h.ch_size;
    return 0;
}

int spy_elf_load_debug(const struct spy_elf *e, const char *name, uint64_t max, uint8_t **ret,
                       size_t *ret_len)
{
    const Elf64_Shdr *s = spy_elf_section(e, name);
    if (!s)
        return SPY_ERR_NOTFOUND;
    if (s->sh_flags & SHF_COMPRESSED)
        return load_packed(e, s, max, ret, ret_len);
    *ret_len = s->sh_size;
    return spy_elf_load(e, s->sh_offset, s->sh_size, max, ret);
}
