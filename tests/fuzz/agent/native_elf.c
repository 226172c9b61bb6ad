// A hostile file: its headers, its unwind tables with their programs and expressions, its symbols.
#include "../fuzz.h"
#include "agent/native/cfi.h"
#include "agent/native/symtab.h"
#include "shared/base/mem.h"

static int read_fuzzed_word(const void *context, uint64_t addr, uint64_t *ret)
{
    (void)context;
    *ret = addr * 3 + 1;
    return addr % 8 ? SPY_ERR_LIMIT : 0;
}

static void evaluate_row(const struct spy_cfi *c, const struct spy_cfi_row *row)
{
    struct spy_native_regs regs = {{8, 16, 24}};
    uint64_t value, cfa = 4096;
    MUST(row->cfa_register < SPY_N_REGS && row->return_register < SPY_N_REGS);
    MUST(!(row->has >> SPY_N_REGS));
    if (row->cfa_is_expression)
        spy_cfi_evaluate(c, row->cfa_value, &regs, NULL, read_fuzzed_word, NULL, &value);
    for (unsigned i = 0; i < SPY_N_REGS; i++)
        if (row->kinds[i] == SPY_CFI_AT_EXPRESSION || row->kinds[i] == SPY_CFI_EXPRESSION)
            spy_cfi_evaluate(c, row->values[i], &regs, &cfa, read_fuzzed_word, NULL, &value);
}

typedef int cfi_loader(const struct spy_elf *e, size_t max_bytes, struct spy_cfi *ret);

static void find_rows(const struct spy_elf *e, cfi_loader *load)
{
    enum { TRIED_MAX = 64 };
    struct spy_cfi c;
    struct spy_cfi_row row;
    if (load(e, SPY_CFI_BYTES_MAX, &c) < 0)
        return;
    for (size_t i = 0; i < spy_min(c.n_functions, TRIED_MAX); i++)
        for (uint32_t at = 0; at < c.functions[i].size && at < 512; at = 2 * at + 1)
            if (spy_cfi_find(&c, c.functions[i].start + at, &row) == 0)
                evaluate_row(&c, &row);
    spy_cfi_done(&c);
}

static void name_symbols(const struct spy_elf *e)
{
    enum { TRIED_MAX = 256 };
    struct spy_symtab s = {.max_bytes = SPY_SYMTAB_TEXT_MAX};
    bool has_symtab;
    spy_symtab_add(&s, e, &has_symtab);
    spy_symtab_add_packed(&s, e);
    spy_symtab_settle(&s);
    for (size_t i = 0; i < spy_min(s.n, TRIED_MAX); i++) {
        size_t found = spy_symtab_find(&s, s.list[i].start);
        MUST(found == SIZE_MAX || found < s.n);
        if (found != SIZE_MAX)
            spy_symtab_name(&s, found);
    }
    spy_symtab_done(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_elf e;
    uint8_t id[SPY_ELF_ID_MAX];
    if (spy_elf_open_bytes(data, size, &e) < 0)
        return 0;
    MUST(spy_elf_build_id(&e, id) <= SPY_ELF_ID_MAX);
    spy_elf_segment(&e, 4096);
    find_rows(&e, spy_cfi_load);
    find_rows(&e, spy_cfi_load_debug);
    name_symbols(&e);
    spy_elf_done(&e);
    return 0;
}
