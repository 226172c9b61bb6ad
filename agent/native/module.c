#include "agent/native/module.h"
#include "agent/native/debug_file.h"
#include "agent/target/symbols.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

enum { VDSO_MAX = 64 << 10, DEBUG_MAX = 128 << 20 };

// What a module is made of, until it is loaded.
struct opened {
    int fd;         // -1: the vdso
    uint8_t *bytes; // its bytes
    uint64_t key[5];
};

static int open_vdso(const struct spy_target *t, const struct spy_mapping *mapping,
                     struct opened *ret)
{
    uint64_t len = mapping->end - mapping->start;
    if (len > VDSO_MAX)
        return SPY_ERR_LIMIT;
    _cleanup_free_ uint8_t *bytes = malloc(len);
    if (!bytes)
        return SPY_ERR_NOMEM;
    int r = spy_target_read(t, mapping->start, bytes, len);
    if (r < 0)
        return r;
    XXH128_hash_t hash = XXH3_128bits(bytes, len);
    *ret = (struct opened){-1, NULL, {0, hash.low64, len, hash.high64, 0}};
    ret->bytes = spy_steal(&bytes);
    return 0;
}

static int open_mapped_file(const struct spy_target *t, const struct spy_mapping *mapping,
                            const char *path, struct opened *ret)
{
    struct stat st;
    int fd = spy_target_open_mapping(t, mapping, path);
    if (fd < 0)
        return SPY_ERR_NOTFOUND;
    if (fstat(fd, &st) < 0) {
        spy_cleanup_close(&fd);
        return SPY_ERR_IO;
    }
    *ret = (struct opened){fd,
                           NULL,
                           {(uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size,
                            (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec}};
    return 0;
}

static int add_table_of_debuggers(struct spy_native_module *m, const struct spy_elf *e,
                                  size_t max_bytes)
{
    int r = m->n_cfi < SPY_COUNT(m->cfi) ? spy_cfi_load_debug(e, max_bytes, &m->cfi[m->n_cfi]) : 0;
    m->n_cfi += r == 0 && m->cfi[m->n_cfi].bytes;
    return r;
}

static int add_tables(struct spy_native_module *m, const struct spy_elf *e, size_t max_bytes)
{
    int r = spy_cfi_load(e, max_bytes, &m->cfi[0]);
    m->n_cfi = r == 0;
    return r == SPY_ERR_NOMEM ? r : add_table_of_debuggers(m, e, max_bytes);
}

static int add_debug_file(struct spy_native_module *m, const struct spy_target *t,
                          const struct spy_elf *e, const char *path)
{
    struct spy_elf debug;
    bool has_symtab;
    _cleanup_close_ int fd = spy_debug_file_open(t, e, path);
    if (fd < 0 || spy_elf_open_fd(fd, &debug) < 0)
        return spy_symtab_add_packed(&m->symtab, e);
    int r = spy_symtab_add(&m->symtab, &debug, &has_symtab);
    if (r != SPY_ERR_NOMEM)
        r = add_table_of_debuggers(m, &debug, m->symtab.max_bytes);
    spy_elf_done(&debug);
    return r;
}

// What it has no tables or symbols for stays without: only memory is an error.
static int fill_module(struct spy_native_module *m, const struct spy_target *t,
                       const struct spy_elf *e, const char *path, size_t max_bytes)
{
    bool has_symtab = false;
    for (size_t i = 0; i < e->n_ph; i++)
        if (e->ph[i].p_type == PT_LOAD)
            m->ph[m->n_ph++] = e->ph[i];
    m->build_id_len = spy_elf_build_id(e, m->build_id);
    int r = add_tables(m, e, max_bytes / 4);
    m->symtab.max_bytes = max_bytes / 2;
    if (r != SPY_ERR_NOMEM)
        r = spy_symtab_add(&m->symtab, e, &has_symtab);
    if (r != SPY_ERR_NOMEM && !has_symtab)
        r = add_debug_file(m, t, e, path);
    spy_symtab_settle(&m->symtab);
    m->bytes = spy_symtab_bytes(&m->symtab);
    for (size_t i = 0; i < m->n_cfi; i++)
        m->bytes += spy_cfi_bytes(&m->cfi[i]);
    return r == SPY_ERR_NOMEM ? r : 0;
}

static void free_module(struct spy_native_module *m)
{
    for (size_t i = 0; i < m->n_cfi; i++)
        spy_cfi_done(&m->cfi[i]);
    spy_symtab_done(&m->symtab);
    spy_debug_info_done(&m->debug);
    free(m);
}

static struct spy_native_module *load_module(const struct spy_target *t, const struct opened *o,
                                             const char *path, size_t max_bytes)
{
    struct spy_elf e;
    struct spy_native_module *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    int r = o->fd >= 0 ? spy_elf_open_fd(o->fd, &e) : spy_elf_open_bytes(o->bytes, o->key[2], &e);
    if (r == 0) {
        r = fill_module(m, t, &e, path, max_bytes);
        spy_elf_done(&e);
    }
    if (r == 0)
        return m;
    free_module(m);
    return NULL;
}

static struct spy_native_module *find_module(const struct spy_modules_list *list,
                                             const uint64_t key[5])
{
    struct spy_native_module *m = list->first;
    while (m && memcmp(m->key, key, sizeof m->key) != 0)
        m = m->next;
    return m;
}

struct spy_native_module *spy_module_take(struct spy_modules_list *list, const struct spy_target *t,
                                          const struct spy_mapping *mapping, const char *path)
{
    struct opened o;
    bool is_vdso = !strcmp(path, "[vdso]");
    if (!is_vdso && (path[0] != '/' || !mapping->inode))
        return NULL;
    if ((is_vdso ? open_vdso(t, mapping, &o) : open_mapped_file(t, mapping, path, &o)) < 0)
        return NULL;
    struct spy_native_module *m = find_module(list, o.key);
    size_t left = list->bytes < list->max_bytes ? list->max_bytes - list->bytes : 0;
    if (!m && (m = load_module(t, &o, path, left))) {
        list->bytes += m->bytes;
        memcpy(m->key, o.key, sizeof m->key);
        m->id = ++list->last_id;
        m->next = list->first;
        list->first = m;
    }
    if (m)
        m->users++;
    spy_cleanup_close(&o.fd);
    free(o.bytes);
    return m;
}

void spy_module_release(struct spy_modules_list *list, struct spy_native_module *m)
{
    if (!m || --m->users)
        return;
    struct spy_native_module **at = &list->first;
    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    list->bytes -= m->bytes;
    free_module(m);
}

// From the file, else from its debug file.
static int load_debug_of(const struct spy_target *t, int fd, const char *path, size_t max_bytes,
                         struct spy_debug_info *ret)
{
    struct spy_elf e, debug;
    int r = spy_elf_open_fd(fd, &e);
    if (r < 0)
        return r;
    r = spy_debug_info_load(&e, max_bytes, ret);
    _cleanup_close_ int other = r == SPY_ERR_NOTFOUND ? spy_debug_file_open(t, &e, path) : -1;
    if (other >= 0 && spy_elf_open_fd(other, &debug) == 0) {
        r = spy_debug_info_load(&debug, max_bytes, ret);
        spy_elf_done(&debug);
    }
    spy_elf_done(&e);
    return r;
}

void spy_module_load_debug(struct spy_modules_list *list, struct spy_native_module *m,
                           const struct spy_target *t, const struct spy_mapping *mapping,
                           const char *path)
{
    struct opened o;
    size_t left = list->bytes < list->max_bytes ? list->max_bytes - list->bytes : 0;
    size_t max = spy_min(left, DEBUG_MAX);
    m->debug_tried = true;
    if (path[0] != '/' || open_mapped_file(t, mapping, path, &o) < 0)
        return;
    if (!memcmp(o.key, m->key, sizeof m->key))
        m->has_debug = load_debug_of(t, o.fd, path, max, &m->debug) == 0;
    spy_cleanup_close(&o.fd);
    if (m->has_debug) {
        size_t bytes = spy_dwarf_bytes(&m->debug.dwarf);
        m->bytes += bytes;
        list->bytes += bytes;
    }
}

bool spy_module_bias(const struct spy_native_module *m, const struct spy_mapping *mapping,
                     uint64_t *ret)
{
    struct spy_elf e = {.n_ph = m->n_ph, .size = UINT64_MAX};
    memcpy(e.ph, m->ph, m->n_ph * sizeof *m->ph);
    const Elf64_Phdr *p = spy_elf_segment(&e, mapping->offset);
    if (!p)
        return false;
    *ret = mapping->start - mapping->offset + p->p_offset - p->p_vaddr;
    return true;
}
