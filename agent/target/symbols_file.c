#include "agent/target/files.h"
#include "agent/target/still.h"
#include "agent/target/symbols.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// map_files needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE but also reaches deleted files; its names
// have no leading zeros.
int spy_target_open_mapping(const struct spy_target *t, const struct spy_mapping *e,
                            const char *path)
{
    char name[64];
    snprintf(name, sizeof name, "map_files/%" PRIx64 "-%" PRIx64, e->start, e->end);
    _cleanup_close_ int path_fd = openat(spy_target_proc_fd(t), name, O_PATH | O_CLOEXEC);
    int fd = path_fd < 0 ? spy_target_open_file(t, path) : spy_file_open_regular(path_fd);
    struct stat st;
    // Only the inode that is mapped.
    if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_ino != e->inode)) {
        close(fd);
        return -1;
    }
    return fd;
}

// --- .symtab and .dynsym ---
//
// Read with pread in blocks of a fixed size: a file that the target truncates meanwhile ends a read
// early (a mapping of it would end this program), and no file causes more work than WORK_MAX.

enum { SECTIONS_MAX = 4096, BLOCK = 16384, NAMES_MAX = 8, NAME_MAX_LEN = 128 };
enum { WORK_MAX = 256 << 20 };

struct table {
    int fd;
    uint64_t work;             // bytes that may still be read
    uint32_t names[NAMES_MAX]; // where the name is among the texts
    size_t n_names;
};

static int get(struct table *tb, uint64_t at, void *to, size_t len)
{
    if (at > INT64_MAX - len || tb->work < len)
        return SPY_ERR_TORN;
    tb->work -= len;
    ssize_t n = pread(tb->fd, to, len, (off_t)at);
    return n >= 0 && (size_t)n == len ? 0 : SPY_ERR_TORN;
}

// Where `name` and its NUL occur in the texts. A linker may merge a text into the end of a longer
// one, so each occurrence counts.
static int find_names(struct table *tb, const Elf64_Shdr *texts, const char *name)
{
    char block[BLOCK + NAME_MAX_LEN];
    size_t len = strlen(name) + 1;
    uint64_t size = texts->sh_size < UINT32_MAX ? texts->sh_size : UINT32_MAX;
    for (uint64_t at = 0; at < size; at += BLOCK) {
        size_t n = size - at < BLOCK + len ? (size_t)(size - at) : BLOCK + len;
        int r = get(tb, texts->sh_offset + at, block, n);
        if (r < 0)
            return r;
        for (const char *p = block; (p = memmem(p, n - (size_t)(p - block), name, len)); p++)
            if (p - block < BLOCK && tb->n_names < NAMES_MAX)
                tb->names[tb->n_names++] = (uint32_t)(at + (uint64_t)(p - block));
    }
    return tb->n_names ? 0 : SPY_ERR_NOTFOUND;
}

static bool is_named(const struct table *tb, const Elf64_Sym *s)
{
    for (size_t i = 0; i < tb->n_names; i++)
        if (s->st_name == tb->names[i] && s->st_shndx != SHN_UNDEF)
            return true;
    return false;
}

static int find_symbol(struct table *tb, const Elf64_Shdr *symbols, uint64_t *ret)
{
    Elf64_Sym block[BLOCK / sizeof(Elf64_Sym)];
    uint64_t left = symbols->sh_size / sizeof *block;
    for (uint64_t at = symbols->sh_offset; left;) {
        size_t n = left < SPY_COUNT(block) ? (size_t)left : SPY_COUNT(block);
        int r = get(tb, at, block, n * sizeof *block);
        if (r < 0)
            return r;
        for (size_t i = 0; i < n; i++)
            if (is_named(tb, &block[i])) {
                *ret = block[i].st_value;
                return 0;
            }
        at += n * sizeof *block;
        left -= n;
    }
    return SPY_ERR_NOTFOUND;
}

static int look_in_section(struct table *tb, const Elf64_Ehdr *eh, const Elf64_Shdr *sh,
                           const char *name, uint64_t *ret)
{
    Elf64_Shdr texts;
    if (sh->sh_type != SHT_SYMTAB && sh->sh_type != SHT_DYNSYM)
        return SPY_ERR_NOTFOUND;
    if (sh->sh_entsize != sizeof(Elf64_Sym) || sh->sh_link >= eh->e_shnum)
        return SPY_ERR_TORN;
    tb->n_names = 0;
    int r = get(tb, eh->e_shoff + sh->sh_link * sizeof texts, &texts, sizeof texts);
    if (r == 0)
        r = find_names(tb, &texts, name);
    return r == 0 ? find_symbol(tb, sh, ret) : r;
}

static int read_elf_header(struct table *tb, Elf64_Ehdr *eh)
{
    int r = get(tb, 0, eh, sizeof *eh);
    if (r < 0)
        return r;
    return memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
                   eh->e_shentsize != sizeof(Elf64_Shdr) || eh->e_shnum > SECTIONS_MAX
               ? SPY_ERR_TORN
               : 0;
}

int spy_symbols_of_file(int fd, const char *name, uint64_t *ret)
{
    struct table tb = {.fd = fd, .work = WORK_MAX};
    Elf64_Ehdr eh;
    Elf64_Shdr sections[64]; // of a usual file, all
    int r = read_elf_header(&tb, &eh);
    if (r < 0 || strlen(name) >= NAME_MAX_LEN)
        return SPY_ERR_TORN;
    r = SPY_ERR_NOTFOUND;
    for (uint64_t at = 0; r == SPY_ERR_NOTFOUND && at < eh.e_shnum; at += SPY_COUNT(sections)) {
        size_t n =
            eh.e_shnum - at < SPY_COUNT(sections) ? (size_t)(eh.e_shnum - at) : SPY_COUNT(sections);
        r = get(&tb, eh.e_shoff + at * sizeof *sections, sections, n * sizeof *sections);
        if (r == 0)
            r = SPY_ERR_NOTFOUND;
        for (size_t i = 0; r == SPY_ERR_NOTFOUND && i < n; i++)
            r = look_in_section(&tb, &eh, &sections[i], name, ret);
    }
    return r;
}

int spy_section_of_file(int fd, const char *name, uint64_t *ret)
{
    struct table tb = {.fd = fd, .work = WORK_MAX};
    Elf64_Ehdr eh;
    Elf64_Shdr texts, section;
    char text[NAME_MAX_LEN];
    size_t len = strlen(name) + 1;
    int r = read_elf_header(&tb, &eh);
    if (r < 0 || len > sizeof text || eh.e_shstrndx >= eh.e_shnum)
        return SPY_ERR_TORN;
    r = get(&tb, eh.e_shoff + eh.e_shstrndx * sizeof texts, &texts, sizeof texts);
    for (uint64_t i = 0; r == 0 && i < eh.e_shnum; i++) {
        r = get(&tb, eh.e_shoff + i * sizeof section, &section, sizeof section);
        if (r < 0 || !(section.sh_flags & SHF_ALLOC) || section.sh_name > UINT32_MAX - len)
            continue;
        if (get(&tb, texts.sh_offset + section.sh_name, text, len) == 0 &&
            !memcmp(text, name, len)) {
            *ret = section.sh_addr;
            return 0;
        }
    }
    return r < 0 ? r : SPY_ERR_NOTFOUND;
}

typedef int (*find_in_file)(int fd, const char *name, uint64_t *ret);

static int find_in_module(const struct spy_target *t, const struct spy_maps *m,
                          const struct spy_module *module, find_in_file find, const char *name,
                          uint64_t *ret)
{
    struct spy_still *still = spy_target_still(t);
    const struct spy_mapping *e = spy_maps_find(still ? &still->maps : m, module->start);
    _cleanup_close_ int opened = -1;
    int fd = -1;
    if (e && still)
        fd = spy_still_file(still, e);
    else if (e)
        fd = opened = spy_target_open_mapping(t, e, module->path);
    if (fd < 0)
        return SPY_ERR_NOTFOUND;
    uint64_t value;
    struct spy_symbols s;
    int r = find(fd, name, &value);
    if (r < 0)
        return r;
    r = spy_symbols_open(t, module, &s);
    if (r < 0 && r != SPY_ERR_NOTFOUND) // a static program has no dynamic symbols, but a base
        return r;
    *ret = s.base + value;
    return 0;
}

int spy_module_file_symbol(const struct spy_target *t, const struct spy_maps *m,
                           const struct spy_module *module, const char *name, uint64_t *ret)
{
    return find_in_module(t, m, module, spy_symbols_of_file, name, ret);
}

int spy_module_file_section(const struct spy_target *t, const struct spy_maps *m,
                            const struct spy_module *module, const char *name, uint64_t *ret)
{
    return find_in_module(t, m, module, spy_section_of_file, name, ret);
}
