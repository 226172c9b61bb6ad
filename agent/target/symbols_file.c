#include "agent/target/symbols.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libelf.h>
#include <gelf.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// The target's own path, looked up inside the target's root so that no link of its can lead out of
// it.
static int open_in_root(const struct spy_target *t, const char *path)
{
    _cleanup_close_ int root = openat(spy_target_proc_fd(t), "root", O_PATH | O_CLOEXEC);
    if (root < 0)
        return -1;
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

// map_files needs CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE but also reaches deleted files; its names
// have no leading zeros.
static int open_module(const struct spy_target *t, const struct spy_mapping *e, const char *path)
{
    char name[64];
    snprintf(name, sizeof name, "map_files/%" PRIx64 "-%" PRIx64, e->start, e->end);
    int fd = openat(spy_target_proc_fd(t), name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fd = open_in_root(t, path);
    struct stat st;
    // Only a regular file with the inode that is mapped; devices and FIFOs are never opened for
    // long.
    if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != e->inode)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int search_section(Elf *elf, Elf_Scn *scn, const GElf_Shdr *sh, const char *name,
                          uint64_t *ret)
{
    Elf_Data *data = elf_getdata(scn, NULL);
    if (!data || !sh->sh_entsize)
        return SPY_ERR_TORN;
    size_t n = data->d_size / sizeof(Elf64_Sym);
    for (size_t i = 0; i < n && i < INT32_MAX; i++) {
        GElf_Sym s;
        if (!gelf_getsym(data, (int)i, &s) || s.st_shndx == SHN_UNDEF)
            continue;
        const char *text = elf_strptr(elf, sh->sh_link, s.st_name);
        if (text && !strcmp(text, name)) {
            *ret = s.st_value;
            return 0;
        }
    }
    return SPY_ERR_NOTFOUND;
}

static int search_file(int fd, const char *name, uint64_t *ret)
{
    elf_version(EV_CURRENT);
    Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
    if (!elf)
        return SPY_ERR_TORN;
    int r = SPY_ERR_NOTFOUND;
    Elf_Scn *scn = NULL;
    while (r == SPY_ERR_NOTFOUND && (scn = elf_nextscn(elf, scn))) {
        GElf_Shdr sh;
        if (gelf_getshdr(scn, &sh) && (sh.sh_type == SHT_SYMTAB || sh.sh_type == SHT_DYNSYM))
            r = search_section(elf, scn, &sh, name, ret);
    }
    elf_end(elf);
    return r;
}

int spy_module_file_symbol(const struct spy_target *t, const struct spy_maps *m,
                           const struct spy_module *module, const char *name, uint64_t *ret)
{
    const struct spy_mapping *e = spy_maps_find(m, module->start);
    _cleanup_close_ int fd = e ? open_module(t, e, module->path) : -1;
    if (fd < 0)
        return SPY_ERR_NOTFOUND;
    uint64_t value;
    int r = search_file(fd, name, &value);
    if (r == 0)
        *ret = module->base + value;
    return r;
}
