#include "agent/target/symbols.h"
#include "shared/base/mem.h"
#include <elf.h>
#include <string.h>

enum { PHDRS_MAX = 128, DYN_MAX = 256, CHAIN_MAX = 1024 };

static int read_header(const struct spy_target *t, uint64_t start, Elf64_Ehdr *eh, Elf64_Phdr *ph)
{
    int r = spy_target_read(t, start, eh, sizeof *eh);
    if (r < 0)
        return r;
    if (memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
        (eh->e_type != ET_EXEC && eh->e_type != ET_DYN) || eh->e_phentsize != sizeof *ph ||
        !eh->e_phnum || eh->e_phnum > PHDRS_MAX)
        return SPY_ERR_TORN;
    return spy_target_read(t, start + eh->e_phoff, ph, eh->e_phnum * sizeof *ph);
}

// Symbol values count from base: the difference between where the first segment lies and where it
// says.
static int module_base(const struct spy_target *t, uint64_t start, uint64_t *ret)
{
    Elf64_Ehdr eh;
    Elf64_Phdr ph[PHDRS_MAX];
    int r = read_header(t, start, &eh, ph);
    if (r < 0)
        return r;
    for (int i = 0; i < eh.e_phnum; i++)
        if (ph[i].p_type == PT_LOAD) {
            uint64_t page = ph[i].p_align > 1 ? ph[i].p_align : 4096;
            *ret = start - (ph[i].p_vaddr - ph[i].p_vaddr % page);
            return 0;
        }
    return SPY_ERR_TORN;
}

size_t spy_modules(const struct spy_target *t, const struct spy_maps *m, struct spy_module *out,
                   size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n && n < max; i++) {
        const struct spy_mapping *e = &m->list[i];
        const char *path = spy_maps_path(m, e);
        if (e->offset || !e->readable || path[0] != '/')
            continue;
        struct spy_module mod = {.start = e->start, .path = path};
        if (module_base(t, e->start, &mod.base) == 0)
            out[n++] = mod;
    }
    return n;
}

struct dynamic {
    uint64_t symtab, strtab, strsz, gnu_hash, hash;
};

// glibc relocates these addresses in place for most architectures, musl does not: both are
// accepted.
static uint64_t relocated(const struct spy_module *mod, uint64_t v)
{
    return v && v < mod->base ? v + mod->base : v;
}

static int read_dynamic(const struct spy_target *t, const struct spy_module *mod, struct dynamic *d)
{
    Elf64_Ehdr eh;
    Elf64_Phdr ph[PHDRS_MAX];
    Elf64_Dyn dyn[DYN_MAX];
    int r = read_header(t, mod->start, &eh, ph);
    if (r < 0)
        return r;
    const Elf64_Phdr *p = NULL;
    for (int i = 0; i < eh.e_phnum && !p; i++)
        p = ph[i].p_type == PT_DYNAMIC ? &ph[i] : NULL;
    if (!p)
        return SPY_ERR_NOTFOUND;
    size_t n = p->p_memsz / sizeof *dyn;
    n = n < DYN_MAX ? n : DYN_MAX;
    r = spy_target_read(t, mod->base + p->p_vaddr, dyn, n * sizeof *dyn);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n && dyn[i].d_tag != DT_NULL; i++) {
        uint64_t v = dyn[i].d_un.d_val;
        switch (dyn[i].d_tag) {
        case DT_SYMTAB:
            d->symtab = relocated(mod, v);
            break;
        case DT_STRTAB:
            d->strtab = relocated(mod, v);
            break;
        case DT_STRSZ:
            d->strsz = v;
            break;
        case DT_GNU_HASH:
            d->gnu_hash = relocated(mod, v);
            break;
        case DT_HASH:
            d->hash = relocated(mod, v);
            break;
        default:
            break;
        }
    }
    return d->symtab && d->strtab && (d->gnu_hash || d->hash) ? 0 : SPY_ERR_NOTFOUND;
}

// Is symbol `index` defined and called `name`?
static int match(const struct spy_target *t, const struct dynamic *d, uint32_t index,
                 const char *name, size_t len, uint64_t *ret)
{
    Elf64_Sym s;
    char text[128];
    int r = spy_target_read(t, d->symtab + (uint64_t)index * sizeof s, &s, sizeof s);
    if (r < 0)
        return r;
    if (s.st_shndx == SHN_UNDEF || s.st_name >= d->strsz || d->strsz - s.st_name < len + 1)
        return SPY_ERR_NOTFOUND;
    r = spy_target_read(t, d->strtab + s.st_name, text, len + 1);
    if (r < 0)
        return r;
    if (memcmp(text, name, len + 1))
        return SPY_ERR_NOTFOUND;
    *ret = s.st_value;
    return 0;
}

static int find_gnu(const struct spy_target *t, const struct dynamic *d, const char *name,
                    uint64_t *ret)
{
    uint32_t head[4]; // nbuckets, symoffset, bloom_size, bloom_shift
    int r = spy_target_read(t, d->gnu_hash, head, sizeof head);
    if (r < 0)
        return r;
    if (!head[0])
        return SPY_ERR_NOTFOUND;
    uint32_t h = 5381;
    for (const char *c = name; *c; c++)
        h = h * 33 + (uint8_t)*c;
    uint64_t buckets = d->gnu_hash + sizeof head + (uint64_t)head[2] * 8;
    uint64_t chain = buckets + (uint64_t)head[0] * 4;
    uint32_t index;
    r = spy_target_read(t, buckets + (uint64_t)(h % head[0]) * 4, &index, sizeof index);
    if (r < 0)
        return r;
    if (index < head[1])
        return SPY_ERR_NOTFOUND;
    for (int i = 0; i < CHAIN_MAX; i++, index++) {
        uint32_t entry;
        r = spy_target_read(t, chain + (uint64_t)(index - head[1]) * 4, &entry, sizeof entry);
        if (r < 0)
            return r;
        if ((entry | 1) == (h | 1)) {
            r = match(t, d, index, name, strlen(name), ret);
            if (r != SPY_ERR_NOTFOUND)
                return r;
        }
        if (entry & 1)
            return SPY_ERR_NOTFOUND;
    }
    return SPY_ERR_TORN;
}

static int find_sysv(const struct spy_target *t, const struct dynamic *d, const char *name,
                     uint64_t *ret)
{
    uint32_t head[2]; // nbucket, nchain
    int r = spy_target_read(t, d->hash, head, sizeof head);
    if (r < 0)
        return r;
    if (!head[0])
        return SPY_ERR_NOTFOUND;
    uint32_t h = 0;
    for (const char *c = name; *c; c++) {
        h = (h << 4) + (uint8_t)*c;
        h = (h ^ ((h & 0xf0000000) >> 24)) & 0x0fffffff;
    }
    uint32_t index;
    r = spy_target_read(t, d->hash + 8 + (uint64_t)(h % head[0]) * 4, &index, sizeof index);
    for (int i = 0; r == 0 && index && i < CHAIN_MAX; i++) {
        r = match(t, d, index, name, strlen(name), ret);
        if (r != SPY_ERR_NOTFOUND)
            return r;
        r = spy_target_read(t, d->hash + 8 + ((uint64_t)head[0] + index) * 4, &index, sizeof index);
    }
    return r < 0 ? r : SPY_ERR_NOTFOUND;
}

int spy_module_symbol(const struct spy_target *t, const struct spy_module *module, const char *name,
                      uint64_t *ret)
{
    struct dynamic d = {0};
    uint64_t value;
    if (strlen(name) >= 128)
        return SPY_ERR_INVALID;
    int r = read_dynamic(t, module, &d);
    if (r == 0)
        r = d.gnu_hash ? find_gnu(t, &d, name, &value) : find_sysv(t, &d, name, &value);
    if (r == 0)
        *ret = module->base + value;
    return r;
}
