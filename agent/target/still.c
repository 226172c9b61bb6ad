#include "agent/target/still.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };

struct spy_still *spy_still_new(void)
{
    struct spy_still *s = calloc(1, sizeof *s);
    if (s)
        s->fd = s->root = -1;
    return s;
}

void spy_still_free(struct spy_still *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_files; i++)
        if (s->files[i] >= 0)
            close(s->files[i]);
    if (s->fd >= 0)
        close(s->fd);
    if (s->root >= 0)
        close(s->root);
    spy_maps_free(&s->maps);
    free(s->files);
    free(s->pieces);
    free(s->tids);
    free(s);
}

int spy_still_add_piece(struct spy_still *s, const struct spy_still_piece *piece)
{
    int r = spy_grow(&s->pieces, &s->cap_pieces, s->n_pieces + 1, sizeof *s->pieces,
                     SPY_STILL_PIECES_MAX);
    if (r == 0)
        s->pieces[s->n_pieces++] = *piece;
    return r;
}

int spy_still_add_tid(struct spy_still *s, pid_t tid)
{
    int r = spy_grow(&s->tids, &s->cap_tids, s->n_tids + 1, sizeof *s->tids, SPY_STILL_TIDS_MAX);
    if (r == 0)
        s->tids[s->n_tids++] = tid;
    return r;
}

static int by_start(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_pieces(const void *a, const void *b)
{
    return by_start(((const struct spy_still_piece *)a)->start,
                    ((const struct spy_still_piece *)b)->start);
}

static int compare_maps(const void *a, const void *b)
{
    return by_start(((const struct spy_mapping *)a)->start, ((const struct spy_mapping *)b)->start);
}

int spy_still_settle(struct spy_still *s)
{
    if (s->n_pieces)
        qsort(s->pieces, s->n_pieces, sizeof *s->pieces, compare_pieces);
    if (s->maps.n)
        qsort(s->maps.list, s->maps.n, sizeof *s->maps.list, compare_maps);
    uint64_t end = 0;
    for (size_t i = 0; i < s->n_pieces; i++) {
        if (s->pieces[i].end < s->pieces[i].start || s->pieces[i].start < end)
            return SPY_ERR_INVALID;
        end = s->pieces[i].end;
    }
    end = 0;
    for (size_t i = 0; i < s->maps.n; i++) {
        if (s->maps.list[i].end < s->maps.list[i].start || s->maps.list[i].start < end)
            return SPY_ERR_INVALID;
        end = s->maps.list[i].end;
    }
    return 0;
}

// The index of the first piece that ends after addr.
static size_t first_after(const struct spy_still *s, uint64_t addr)
{
    size_t lo = 0, hi = s->n_pieces;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->pieces[mid].end > addr)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static int read_file(int fd, uint64_t at, uint8_t *to, size_t len)
{
    while (len) {
        ssize_t n = at <= INT64_MAX ? pread(fd, to, len, (off_t)at) : -1;
        if (n <= 0)
            return SPY_ERR_TORN;
        to += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

// Reads bytes that are in pieces.
static int copy_pieces(const struct spy_still *s, uint64_t addr, uint8_t *to, size_t len)
{
    for (size_t i = first_after(s, addr); len; i++) {
        const struct spy_still_piece *p = &s->pieces[i];
        if (i == s->n_pieces || addr < p->start)
            return SPY_ERR_TORN;
        uint64_t skip = addr - p->start, left = p->end - addr;
        size_t n = left < len ? (size_t)left : len;
        int r = 0;
        if (p->bytes)
            memcpy(to, p->bytes + skip, n);
        else
            r = read_file(s->fd, p->at + skip, to, n);
        if (r < 0)
            return r;
        addr += n;
        to += n;
        len -= n;
    }
    return 0;
}

// --- the files that were mapped ---

static const struct spy_mapping *first_page(const struct spy_still *s, uint64_t file)
{
    for (size_t i = 0; i < s->maps.n; i++)
        if (s->maps.list[i].inode == file && !s->maps.list[i].offset)
            return &s->maps.list[i];
    return NULL;
}

// True if this is the file that was mapped: its first page is the one in the core.
static bool is_mapped_file(const struct spy_still *s, int fd, uint64_t file)
{
    uint8_t there[PAGE], here[PAGE];
    const struct spy_mapping *first = first_page(s, file);
    struct stat st;
    if (!first || fstat(fd, &st) < 0 || st.st_size < (off_t)SELFMAG)
        return false;
    size_t n = st.st_size < PAGE ? (size_t)st.st_size : PAGE;
    return copy_pieces(s, first->start, there, n) == 0 && read_file(fd, 0, here, n) == 0 &&
           !memcmp(here, ELFMAG, SELFMAG) && !memcmp(here, there, n);
}

static int open_same(const struct spy_still *s, const char *path, uint64_t file)
{
    if (path[0] != '/' || s->n_open >= SPY_STILL_OPEN_MAX)
        return SPY_STILL_NO_FILE;
    _cleanup_close_ int path_fd =
        s->root < 0 ? open(path, O_PATH | O_CLOEXEC) : spy_file_open_below(s->root, path);
    int fd = path_fd < 0 ? -1 : spy_file_open_regular(path_fd);
    if (fd >= 0 && is_mapped_file(s, fd, file))
        return fd;
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? SPY_STILL_OTHER_FILE : SPY_STILL_NO_FILE;
}

// Notes programs and libraries only; a name with "python" in it goes first.
static void note_missing(struct spy_still *s, const struct spy_mapping *mapping, const char *path)
{
    bool python = strstr(path, "python") != NULL;
    bool had = s->missing != 0;
    uint8_t magic[SELFMAG] = "";
    const struct spy_mapping *first = first_page(s, mapping->inode);
    if (first)
        copy_pieces(s, first->start, magic, sizeof magic);
    if ((python && !(had && strstr(s->maps.paths + s->missing, "python"))) ||
        (!had && !memcmp(magic, ELFMAG, SELFMAG))) {
        s->missing = mapping->path;
        s->missing_differs = s->files[mapping->inode - 1] == SPY_STILL_OTHER_FILE;
    }
}

int spy_still_file(struct spy_still *s, const struct spy_mapping *mapping)
{
    if (!mapping->inode || mapping->inode > s->n_files)
        return -1;
    int *file = &s->files[mapping->inode - 1];
    const char *path = spy_maps_path(&s->maps, mapping);
    if (*file == SPY_STILL_UNTRIED) {
        *file = open_same(s, path, mapping->inode);
        s->n_open += *file >= 0;
    }
    if (*file >= 0)
        return *file;
    note_missing(s, mapping, path);
    return -1;
}

// Reads up to `len` bytes that are not in a piece, all from one mapping.
static int read_mapped(struct spy_still *s, uint64_t addr, uint8_t *to, size_t len, size_t *ret_n)
{
    const struct spy_mapping *m = spy_maps_find(&s->maps, addr);
    if (!m || !m->readable)
        return SPY_ERR_TORN;
    size_t n = m->end - addr < len ? (size_t)(m->end - addr) : len;
    *ret_n = n;
    if (s->zero_fill) {
        memset(to, 0, n);
        return 0;
    }
    int fd = spy_still_file(s, m);
    uint64_t skip = addr - m->start;
    if (fd < 0 || m->offset > INT64_MAX || skip > INT64_MAX)
        return SPY_ERR_TORN;
    return read_file(fd, m->offset + skip, to, n);
}

int spy_still_read(struct spy_still *s, uint64_t addr, void *to, size_t len)
{
    uint8_t *out = to;
    uint64_t from = addr;
    if (len > UINT64_MAX - addr)
        return SPY_ERR_TORN;
    for (size_t left = len, n; left; addr += n, out += n, left -= n) {
        size_t i = first_after(s, addr);
        uint64_t start = i < s->n_pieces ? s->pieces[i].start : UINT64_MAX;
        bool inside = start <= addr;
        uint64_t until = inside ? s->pieces[i].end : start;
        n = until - addr < left ? (size_t)(until - addr) : left;
        int r = inside ? copy_pieces(s, addr, out, n) : read_mapped(s, addr, out, n, &n);
        if (r < 0)
            return r;
    }
    if (s->touched)
        s->touched(s->touched_context, from, to, len);
    return 0;
}
