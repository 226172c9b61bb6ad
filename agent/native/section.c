#include "agent/native/section.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#ifndef ELFCOMPRESS_ZSTD
#define ELFCOMPRESS_ZSTD 2
#endif

enum { BLOCK = 4096, BITS = 64, PACKED_PIECE = 64 << 10 };

struct spy_unpacker {
    bool is_zlib; // else zstd
    z_stream zlib;
    uint64_t at, left; // in the file: what was not taken yet
    size_t taken, len; // of `packed`
    uint8_t packed[PACKED_PIECE];
};

// --- compressed ---

static void free_unpacker(struct spy_unpacker *u)
{
    if (u && u->is_zlib)
        inflateEnd(&u->zlib);
    free(u);
}

static int make_unpacker(uint32_t type, uint64_t at, uint64_t len, struct spy_unpacker **ret)
{
    if (type != ELFCOMPRESS_ZLIB && type != ELFCOMPRESS_ZSTD)
        return SPY_ERR_INVALID;
    struct spy_unpacker *u = malloc(sizeof *u);
    if (!u)
        return SPY_ERR_NOMEM;
    u->is_zlib = type == ELFCOMPRESS_ZLIB;
    u->zlib = (z_stream){0};
    u->at = at;
    u->left = len;
    u->taken = u->len = 0;
    if (u->is_zlib && inflateInit(&u->zlib) != Z_OK) {
        free(u);
        return SPY_ERR_NOMEM;
    }
    *ret = u;
    return 0;
}

static bool take_packed_piece(struct spy_unpacker *u, const struct spy_elf *e)
{
    size_t len = spy_min(u->left, sizeof u->packed);
    if (!len || spy_elf_get(e, u->at, u->packed, len) < 0)
        return false;
    u->at += len;
    u->left -= len;
    u->taken = 0;
    u->len = len;
    return true;
}

// As far as the packed piece and the place go. False: the stream makes no sense.
static bool unpack_piece(struct spy_unpacker *u, uint8_t *to, size_t len, size_t *ret_done)
{
    uInt room = (uInt)spy_min(len, UINT32_MAX);
    u->zlib.next_in = u->packed + u->taken;
    u->zlib.avail_in = (uInt)(u->len - u->taken);
    u->zlib.next_out = to;
    u->zlib.avail_out = room;
    int r = inflate(&u->zlib, Z_NO_FLUSH);
    u->taken = u->len - u->zlib.avail_in;
    *ret_done = room - u->zlib.avail_out;
    return r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR;
}

static bool unpack_until(struct spy_section *s, const struct spy_elf *e, size_t end)
{
    struct spy_unpacker *u = s->unpacker;
    while (s->n_ready < end) {
        size_t done = 0, before = u->taken;
        bool good = unpack_piece(u, s->bytes + s->n_ready, end - s->n_ready, &done);
        s->n_ready += done;
        s->n_read += done;
        if (!good || (!done && u->taken == before && !take_packed_piece(u, e)))
            return false;
    }
    return true;
}

// Whole: it takes a third of zlib's time, and a part of it a window of memory that the file chooses.
static bool unpack_zstd(struct spy_section *s, const struct spy_elf *e)
{
    const struct spy_unpacker *u = s->unpacker;
    _cleanup_free_ uint8_t *packed = NULL;
    if (spy_elf_load(e, u->at, u->left, e->size, &packed) < 0 ||
        ZSTD_decompress(s->bytes, s->len, packed, u->left) != s->len)
        return false;
    s->n_ready = s->n_read = s->len;
    return true;
}

static bool unpack_section(struct spy_section *s, const struct spy_elf *e, size_t end)
{
    bool good = s->unpacker->is_zlib ? unpack_until(s, e, end) : unpack_zstd(s, e);
    if (good && s->n_ready == s->len)
        free_unpacker(spy_steal(&s->unpacker));
    return good;
}

static int open_packed_section(const struct spy_elf *e, const Elf64_Shdr *sh,
                               struct spy_section *ret)
{
    Elf64_Chdr h;
    if (sh->sh_size < sizeof h)
        return SPY_ERR_INVALID;
    int r = spy_elf_get(e, sh->sh_offset, &h, sizeof h);
    if (r == 0)
        r = make_unpacker(h.ch_type, sh->sh_offset + sizeof h, sh->sh_size - sizeof h,
                          &ret->unpacker);
    ret->len = h.ch_size;
    return r;
}

// --- blocks ---

static bool is_block_read(const struct spy_section *s, size_t block)
{
    return s->blocks[block / BITS] >> block % BITS & 1;
}

static bool read_blocks(struct spy_section *s, const struct spy_elf *e, size_t from, size_t to)
{
    size_t at = from * BLOCK, len = spy_min(to * BLOCK, s->len) - at;
    if (spy_elf_get(e, s->at + at, s->bytes + at, len) < 0)
        return false;
    for (size_t i = from; i < to; i++)
        s->blocks[i / BITS] |= (uint64_t)1 << i % BITS;
    s->n_read += len;
    return true;
}

// Neighbours that were not read yet in one call.
static bool read_missing_blocks(struct spy_section *s, const struct spy_elf *e, size_t from,
                                size_t to)
{
    for (size_t i = from, end; i < to; i = end) {
        bool was_read = is_block_read(s, i);
        for (end = i + 1; end < to && is_block_read(s, end) == was_read;)
            end++;
        if (!was_read && !read_blocks(s, e, i, end))
            return false;
    }
    return true;
}

// --- both ---

int spy_section_open(const struct spy_elf *e, const char *name, uint64_t max,
                     struct spy_section *ret)
{
    const Elf64_Shdr *sh = spy_elf_section(e, name);
    struct spy_section s = {0};
    int r = sh ? 0 : SPY_ERR_NOTFOUND;
    if (r < 0)
        return r;
    s.at = sh->sh_offset;
    s.len = sh->sh_size;
    bool is_packed = sh->sh_flags & SHF_COMPRESSED;
    if (is_packed)
        r = open_packed_section(e, sh, &s);
    else if (s.at > e->size || e->size - s.at < s.len)
        r = SPY_ERR_INVALID;
    if (r == 0 && s.len > max)
        r = SPY_ERR_LIMIT;
    if (r == 0 &&
        (!(s.bytes = calloc(s.len + 1, 1)) ||
         (!is_packed && !(s.blocks = calloc(s.len / BLOCK / BITS + 1, sizeof *s.blocks)))))
        r = SPY_ERR_NOMEM;
    if (r < 0)
        spy_section_done(&s);
    else
        *ret = s;
    return r;
}

void spy_section_done(struct spy_section *s)
{
    free_unpacker(s->unpacker);
    free(s->blocks);
    free(s->bytes);
    *s = (struct spy_section){0};
}

bool spy_section_need(struct spy_section *s, const struct spy_elf *e, uint64_t at, uint64_t len)
{
    if (at >= s->len)
        return true;
    size_t end = at + spy_min(len, s->len - at);
    if (end <= s->n_ready)
        return true;
    if (s->unpacker)
        return unpack_section(s, e, end);
    if (!s->blocks || !read_missing_blocks(s, e, at / BLOCK, (end + BLOCK - 1) / BLOCK))
        return false;
    if (!at)
        s->n_ready = end;
    return true;
}

int spy_section_load(const struct spy_elf *e, const char *name, uint64_t max, uint8_t **ret,
                     size_t *ret_len)
{
    struct spy_section s;
    int r = spy_section_open(e, name, max, &s);
    if (r < 0)
        return r;
    if (spy_section_need(&s, e, 0, s.len)) {
        *ret_len = s.len;
        *ret = spy_steal(&s.bytes);
    } else {
        r = SPY_ERR_INVALID;
    }
    spy_section_done(&s);
    return r;
}
