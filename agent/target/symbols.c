#include "agent/target/symbols.h"
#include "shared/base/mem.h"
#include <elf.h>
#include <stddef.h>
#include <string.h>

enum { PHDRS_MAX = 128, DYN_MAX = 256, CHAIN_MAX = 1024, TEXT_MAX = 128 };

// An ELF header and the program headers, which most often follow it.
struct head {
    Elf64_Ehdr eh;
    Elf64_Phdr ph[PHDRS_MAX];
};

static bool is_elf(const Elf64_Ehdr *eh)
{
    return !memcmp(eh->e_ident, ELFMAG, SELFMAG) && eh->e_ident[EI_CLASS] == ELFCLASS64 &&
           (eh->e_type == ET_EXEC || eh->e_type == ET_DYN) &&
           eh->e_phentsize == sizeof(Elf64_Phdr) && eh->e_phnum && eh->e_phnum <= PHDRS_MAX;
}

// One read where the usual number of program headers follows the header.
static int read_head(const struct spy_target *t, uint64_t start, struct head *h)
{
    enum { USUAL = 16 };
    size_t got = offsetof(struct head, ph[USUAL]);
    int r = spy_target_read(t, start, h, got);
    if (r == SPY_ERR_TORN) { // a short file, or not all of it is in the core
        got = sizeof h->eh;
        r = spy_target_read(t, start, h, got);
    }
    if (r < 0)
        return r;
    if (!is_elf(&h->eh))
        return SPY_ERR_TORN;
    size_t len = h->eh.e_phnum * sizeof *h->ph;
    if (h->eh.e_phoff == offsetof(struct head, ph) && offsetof(struct head, ph) + len <= got)
        return 0;
    return spy_target_read(t, start + h->eh.e_phoff, h->ph, len);
}

// Symbol values count from base: where the first segment is, minus where its header says.
static int base_of(const struct head *h, uint64_t start, uint64_t *ret)
{
    for (int i = 0; i < h->eh.e_phnum; i++)
        if (h->ph[i].p_type == PT_LOAD) {
            uint64_t page = h->ph[i].p_align > 1 ? h->ph[i].p_align : 4096;
            *ret = start - (h->ph[i].p_vaddr - h->ph[i].p_vaddr % page);
            return 0;
        }
    return SPY_ERR_TORN;
}

int spy_modules(const struct spy_maps *m, struct spy_module **ret, size_t *ret_n)
{
    _cleanup_free_ struct spy_module *list = NULL;
    size_t n = 0, cap = 0;
    for (size_t i = 0; i < m->n; i++) {
        const struct spy_mapping *e = &m->list[i];
        const char *path = spy_maps_path(m, e);
        if (e->offset || !e->readable || path[0] != '/')
            continue;
        int r = spy_grow(&list, &cap, n + 1, sizeof *list, SPY_MAPS_MAX);
        if (r < 0)
            return r;
        list[n++] = (struct spy_module){.start = e->start, .path = path};
    }
    *ret = spy_steal(&list);
    *ret_n = n;
    return 0;
}

// glibc relocates these addresses in place for most architectures, musl does not: both are
// accepted.
static uint64_t add_base(const struct spy_symbols *s, uint64_t v)
{
    return v && v < s->base ? v + s->base : v;
}

static int read_dynamic(const struct spy_target *t, const Elf64_Phdr *p, struct spy_symbols *s)
{
    Elf64_Dyn dyn[DYN_MAX];
    size_t n = p->p_memsz / sizeof *dyn;
    n = n < DYN_MAX ? n : DYN_MAX;
    int r = spy_target_read(t, s->base + p->p_vaddr, dyn, n * sizeof *dyn);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n && dyn[i].d_tag != DT_NULL; i++) {
        uint64_t v = dyn[i].d_un.d_val;
        switch (dyn[i].d_tag) {
        case DT_SYMTAB:
            s->symtab = add_base(s, v);
            break;
        case DT_STRTAB:
            s->strtab = add_base(s, v);
            break;
        case DT_STRSZ:
            s->strsz = v;
            break;
        case DT_GNU_HASH:
            s->gnu_hash = add_base(s, v);
            break;
        case DT_HASH:
            s->hash = add_base(s, v);
            break;
        default:
            break;
        }
    }
    return s->symtab && s->strtab && (s->gnu_hash || s->hash) ? 0 : SPY_ERR_NOTFOUND;
}

int spy_symbols_open(const struct spy_target *t, const struct spy_module *module,
                     struct spy_symbols *ret)
{
    struct head h;
    struct spy_symbols s = {0};
    int r = read_head(t, module->start, &h);
    if (r == 0)
        r = base_of(&h, module->start, &s.base);
    if (r < 0)
        return r;
    r = SPY_ERR_NOTFOUND;
    for (int i = 0; i < h.eh.e_phnum; i++)
        if (h.ph[i].p_type == PT_DYNAMIC) {
            r = read_dynamic(t, &h.ph[i], &s);
            break;
        }
    if (r == 0 || r == SPY_ERR_NOTFOUND)
        *ret = s;
    return r;
}

// True if symbol `index` is defined and named `name`.
static int match_symbol(const struct spy_target *t, const struct spy_symbols *d, uint32_t index,
                        const char *name, size_t len, uint64_t *ret)
{
    Elf64_Sym s;
    char text[TEXT_MAX];
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

static int find_gnu(const struct spy_target *t, const struct spy_symbols *d, const char *name,
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
            r = match_symbol(t, d, index, name, strlen(name), ret);
            if (r != SPY_ERR_NOTFOUND)
                return r;
        }
        if (entry & 1)
            return SPY_ERR_NOTFOUND;
    }
    return SPY_ERR_TORN;
}

static int find_sysv(const struct spy_target *t, const struct spy_symbols *d, const char *name,
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
        r = match_symbol(t, d, index, name, strlen(name), ret);
        if (r != SPY_ERR_NOTFOUND)
            return r;
        r = spy_target_read(t, d->hash + 8 + ((uint64_t)head[0] + index) * 4, &index, sizeof index);
    }
    return r < 0 ? r : SPY_ERR_NOTFOUND;
}

int spy_symbols_find(const struct spy_target *t, const struct spy_symbols *symbols,
                     const char *name, uint64_t *ret)
{
    uint64_t value;
    if (strlen(name) >= TEXT_MAX)
        return SPY_ERR_INVALID;
    int r = symbols->gnu_hash ? find_gnu(t, symbols, name, &value)
                              : find_sysv(t, symbols, name, &value);
    if (r == 0)
        *ret = symbols->base + value;
    return r;
}

int spy_module_symbol(const struct spy_target *t, const struct spy_module *module, const char *name,
                      uint64_t *ret)
{
    struct spy_symbols s;
    int r = spy_symbols_open(t, module, &s);
    return r < 0 ? r : spy_symbols_find(t, &s, name, ret);
}
