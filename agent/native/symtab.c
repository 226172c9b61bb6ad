#include "agent/native/symtab.h"
#include "agent/native/demangle.h"
#include "shared/base/mem.h"
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

enum { PACKED_MAX = 16 << 20, UNPACKED_MAX = 128 << 20, UNPACK_MEMORY_MAX = 128 << 20 };
enum { ENCLOSING_TRIES = 16 };

// --- reading ---

static bool is_function(const struct spy_elf *e, const Elf64_Sym *s)
{
    unsigned type = ELF64_ST_TYPE(s->st_info);
    if (s->st_shndx == SHN_UNDEF || !s->st_name)
        return false;
    if (type == STT_FUNC || type == STT_GNU_IFUNC)
        return true;
    return type == STT_NOTYPE && s->st_shndx < e->n_sh &&
           (e->sh[s->st_shndx].sh_flags & SHF_EXECINSTR);
}

// The upper half of size is how much the symbol is preferred, until the table is settled.
static int add_symbols(struct spy_symtab *s, const struct spy_elf *e, const Elf64_Sym *symbols,
                       size_t n, uint32_t text_at, size_t text_len)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_function(e, &symbols[i]) || symbols[i].st_name >= text_len)
            continue;
        int r = spy_grow(&s->list, &s->cap, s->n + 1, sizeof *s->list, SPY_SYMTAB_SYMBOLS_MAX);
        if (r < 0)
            return r;
        unsigned bind = ELF64_ST_BIND(symbols[i].st_info);
        uint32_t rank = bind == STB_GLOBAL ? 0 : bind == STB_WEAK ? 1 : 2;
        uint64_t size = symbols[i].st_size < UINT32_MAX / 4 ? symbols[i].st_size : UINT32_MAX / 4;
        s->list[s->n++] = (struct spy_symtab_entry){
            .start = symbols[i].st_value,
            .size = (uint32_t)size << 2 | rank,
            .name = text_at + symbols[i].st_name,
        };
    }
    return 0;
}

static int add_table(struct spy_symtab *s, const struct spy_elf *e, const Elf64_Shdr *table)
{
    _cleanup_free_ uint8_t *symbols = NULL, *texts = NULL;
    if (table->sh_entsize != sizeof(Elf64_Sym) || table->sh_link >= e->n_sh)
        return 0;
    const Elf64_Shdr *text = &e->sh[table->sh_link];
    if (spy_add_sat(spy_symtab_bytes(s), spy_add_sat(table->sh_size, text->sh_size)) > s->max_bytes)
        return SPY_ERR_LIMIT;
    size_t n = table->sh_size / sizeof(Elf64_Sym), n_before = s->n, len_before = s->text_len;
    int r = spy_elf_load(e, table->sh_offset, n * sizeof(Elf64_Sym),
                         SPY_SYMTAB_SYMBOLS_MAX * sizeof(Elf64_Sym), &symbols);
    if (r == 0)
        r = spy_elf_load(e, text->sh_offset, text->sh_size, SPY_SYMTAB_TEXT_MAX, &texts);
    if (r == 0)
        r = spy_grow(&s->text, &s->text_cap, s->text_len + text->sh_size + 1, 1,
                     SPY_SYMTAB_TEXT_MAX);
    if (r < 0)
        return r == SPY_ERR_INVALID ? 0 : r;
    memcpy(s->text + s->text_len, texts, text->sh_size + 1);
    s->text_len += text->sh_size + 1;
    r = add_symbols(s, e, (const Elf64_Sym *)symbols, n, (uint32_t)len_before, text->sh_size);
    if (r < 0) {
        s->n = n_before;
        s->text_len = len_before;
    }
    return r;
}

int spy_symtab_add(struct spy_symtab *s, const struct spy_elf *e, bool *ret_has_symtab)
{
    const Elf64_Shdr *all = spy_elf_section_of_type(e, SHT_SYMTAB);
    const Elf64_Shdr *dynamic = spy_elf_section_of_type(e, SHT_DYNSYM);
    *ret_has_symtab = all != NULL;
    if (all)
        return add_table(s, e, all);
    return dynamic ? add_table(s, e, dynamic) : 0;
}

// --- .gnu_debugdata ---

static int unpack_bytes(const uint8_t *packed, size_t len, uint8_t **ret, size_t *ret_len)
{
    lzma_stream stream = LZMA_STREAM_INIT;
    size_t cap = 0;
    uint8_t *out = NULL;
    lzma_ret got = lzma_stream_decoder(&stream, UNPACK_MEMORY_MAX, 0);
    stream.next_in = packed;
    stream.avail_in = len;
    while (got == LZMA_OK) {
        if (spy_grow(&out, &cap, stream.total_out + 65536, 1, UNPACKED_MAX) < 0)
            break;
        stream.next_out = out + stream.total_out;
        stream.avail_out = cap - stream.total_out;
        got = lzma_code(&stream, LZMA_FINISH);
    }
    *ret_len = stream.total_out;
    lzma_end(&stream);
    if (got != LZMA_STREAM_END) {
        free(out);
        return got == LZMA_MEM_ERROR ? SPY_ERR_NOMEM : SPY_ERR_INVALID;
    }
    *ret = out;
    return 0;
}

int spy_symtab_add_packed(struct spy_symtab *s, const struct spy_elf *e)
{
    _cleanup_free_ uint8_t *packed = NULL, *bytes = NULL;
    size_t len = 0;
    struct spy_elf inner;
    bool has_symtab;
    const Elf64_Shdr *section = spy_elf_section(e, ".gnu_debugdata");
    if (!section)
        return SPY_ERR_NOTFOUND;
    int r = spy_elf_load(e, section->sh_offset, section->sh_size, PACKED_MAX, &packed);
    if (r == 0)
        r = unpack_bytes(packed, section->sh_size, &bytes, &len);
    if (r == 0)
        r = spy_elf_open_bytes(bytes, len, &inner);
    if (r < 0)
        return r;
    r = spy_symtab_add(s, &inner, &has_symtab);
    spy_elf_done(&inner);
    return r;
}

// --- order ---

static size_t count_underscores(const char *name)
{
    return strspn(name, "_");
}

static int compare_symbols(const void *a, const void *b, void *context)
{
    const struct spy_symtab_entry *x = a, *y = b;
    const struct spy_symtab *s = context;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    if (!(x->size >> 2) != !(y->size >> 2)) // one with a size knows where it ends
        return x->size >> 2 ? -1 : 1;
    if ((x->size & 3) != (y->size & 3))
        return (x->size & 3) < (y->size & 3) ? -1 : 1;
    const char *m = s->text + x->name, *n = s->text + y->name;
    size_t um = count_underscores(m), un = count_underscores(n);
    if (um != un)
        return um < un ? -1 : 1;
    size_t lm = strnlen(m, SPY_SYMTAB_NAME_MAX), ln = strnlen(n, SPY_SYMTAB_NAME_MAX);
    return lm != ln ? (lm < ln ? -1 : 1) : strncmp(m, n, SPY_SYMTAB_NAME_MAX);
}

void spy_symtab_settle(struct spy_symtab *s)
{
    if (!s->n)
        return;
    qsort_r(s->list, s->n, sizeof *s->list, compare_symbols, s);
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++)
        if (!kept || s->list[i].start != s->list[kept - 1].start) {
            s->list[kept] = s->list[i];
            s->list[kept++].size >>= 2;
        }
    s->n = kept;
}

size_t spy_symtab_bytes(const struct spy_symtab *s)
{
    return s->cap * sizeof *s->list + s->text_cap;
}

void spy_symtab_done(struct spy_symtab *s)
{
    for (size_t i = 0; s->shown && i < s->n; i++)
        free(s->shown[i]);
    free(s->shown);
    free(s->list);
    free(s->text);
    *s = (struct spy_symtab){0};
}

// --- asking ---

size_t spy_symtab_after(const struct spy_symtab *s, uint64_t address)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->list[mid].start <= address)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

size_t spy_symtab_find(const struct spy_symtab *s, uint64_t address)
{
    size_t lo = spy_symtab_after(s, address);
    // A label without size may stand inside of a function.
    size_t label = lo && !s->list[lo - 1].size ? lo - 1 : SIZE_MAX;
    for (size_t i = lo, n = 0; i-- > 0 && n < ENCLOSING_TRIES; n++)
        if (s->list[i].size && address - s->list[i].start < s->list[i].size)
            return i;
    return label;
}

const char *spy_symtab_raw_name(const struct spy_symtab *s, size_t index)
{
    return s->text + s->list[index].name;
}

const char *spy_symtab_name(struct spy_symtab *s, size_t index)
{
    const char *raw = spy_symtab_raw_name(s, index);
    if (!spy_demangle_changes(raw, SPY_SYMTAB_NAME_MAX))
        return raw;
    if (!s->shown && !(s->shown = calloc(s->n, sizeof *s->shown)))
        return NULL;
    if (!s->shown[index])
        s->shown[index] = spy_demangle(raw, SPY_SYMTAB_NAME_MAX);
    return s->shown[index];
}
