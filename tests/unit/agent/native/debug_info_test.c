// What is read of debugging information for an answer: of this program, as it is and compressed.
#include "agent/native/debug_info.h"
#include "agent/native/symtab.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

extern const char __ehdr_start; // the linker's: where the file begins in memory

static const char *const files[] = {"/proc/self/exe", PACKED};
enum { AS_IT_IS, COMPRESSED, BYTES_MAX = 256 << 20 };

// Returns false where this build has no index of units (clang writes none): then nothing is saved.
static bool load_file(const char *path, struct spy_debug_info *ret)
{
    struct spy_elf e;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(spy_elf_open_fd(fd, &e), 0);
    assert_int_equal(spy_debug_info_load(&e, BYTES_MAX, ret), 0);
    spy_elf_done(&e);
    close(fd); // it has a descriptor of its own
    return ret->n_ranges > 0;
}

static uint64_t address_in_file(const void *function)
{
    return (uint64_t)((const char *)function - &__ehdr_start) + 1;
}

static size_t read_of(const struct spy_debug_info *d, enum spy_dwarf_section s)
{
    return d->dwarf.sections[s].n_read;
}

static void check_last(struct spy_debug_info *d, const void *function, const char *name)
{
    struct spy_debug_line lines[SPY_DEBUG_LINES_MAX];
    size_t n = spy_debug_info_find(d, address_in_file(function), lines);
    assert_true(n > 0);
    assert_string_equal(lines[n - 1].function, name);
    assert_true(lines[n - 1].line > 0);
    assert_non_null(strstr(lines[n - 1].file, "agent/native/"));
}

static void only_the_unit_of_an_address_is_read(void **state)
{
    struct spy_debug_info d;
    const char *inlined[SPY_DEBUG_LINES_MAX];
    (void)state;
    if (!load_file(files[AS_IT_IS], &d)) {
        print_message("this compiler writes no .debug_aranges\n");
        spy_debug_info_done(&d);
        skip();
    }
    assert_int_equal(read_of(&d, SPY_DWARF_INFO), 0);
    spy_debug_info_inlined(&d, address_in_file(spy_symtab_settle), inlined);
    assert_int_equal(d.dwarf.n_begun, 1);
    assert_true(read_of(&d, SPY_DWARF_INFO) < d.dwarf.sections[SPY_DWARF_INFO].len / 2);
    assert_int_equal(read_of(&d, SPY_DWARF_LINE), 0);
    size_t before = read_of(&d, SPY_DWARF_INFO);
    spy_debug_info_inlined(&d, address_in_file(spy_symtab_settle) + 4, inlined);
    assert_int_equal(read_of(&d, SPY_DWARF_INFO), before);
    check_last(&d, spy_symtab_settle, "spy_symtab_settle");
    assert_int_equal(read_of(&d, SPY_DWARF_LINE), d.dwarf.sections[SPY_DWARF_LINE].len);
    spy_debug_info_done(&d);
}

static void a_compressed_section_is_unpacked_as_far_as_it_is_needed(void **state)
{
    struct spy_debug_info d;
    const struct spy_section *info = &d.dwarf.sections[SPY_DWARF_INFO];
    (void)state;
    if (!load_file(files[COMPRESSED], &d)) {
        print_message("this compiler writes no .debug_aranges\n");
        spy_debug_info_done(&d);
        skip();
    }
    assert_int_equal(info->n_read, 0);
    const struct spy_unit_range *first = &d.ranges[0];
    for (size_t i = 0; i < d.n_ranges; i++)
        if (d.ranges[i].unit < first->unit)
            first = &d.ranges[i];
    const char *inlined[SPY_DEBUG_LINES_MAX];
    spy_debug_info_inlined(&d, first->start, inlined);
    assert_true(info->n_read > 0 && info->n_read < info->len / 2);
    check_last(&d, spy_symtab_settle, "spy_symtab_settle");
    spy_debug_info_done(&d);
}

static void answers_are_the_same_without_an_index_of_units(void **state)
{
    (void)state;
    for (size_t i = 0; i < SPY_COUNT(files); i++) {
        struct spy_debug_info d;
        load_file(files[i], &d);
        d.n_ranges = 0;
        check_last(&d, spy_symtab_settle, "spy_symtab_settle");
        check_last(&d, spy_section_need, "spy_section_need");
        assert_true(d.has_others);
        spy_debug_info_done(&d);
    }
}

static void an_address_of_no_unit_has_no_lines(void **state)
{
    struct spy_debug_info d;
    struct spy_debug_line lines[SPY_DEBUG_LINES_MAX];
    (void)state;
    load_file(files[AS_IT_IS], &d);
    assert_int_equal(spy_debug_info_find(&d, UINT64_MAX, lines), 0);
    assert_true(d.has_others);
    check_last(&d, spy_symtab_settle, "spy_symtab_settle");
    spy_debug_info_done(&d);
}

static void a_section_that_is_not_what_it_says_cannot_be_read(void **state)
{
    struct spy_elf e;
    struct spy_section s;
    int fd = open(PACKED, O_RDONLY | O_CLOEXEC);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(spy_elf_open_fd(fd, &e), 0);
    assert_int_equal(spy_section_open(&e, ".debug_info", 16, &s), SPY_ERR_LIMIT);
    assert_int_equal(spy_section_open(&e, ".no", BYTES_MAX, &s), SPY_ERR_NOTFOUND);
    assert_int_equal(spy_section_open(&e, ".debug_info", BYTES_MAX, &s), 0);
    struct spy_elf other = {.fd = -1, .bytes = s.bytes, .size = 0}; // a file that was cut
    assert_false(spy_section_need(&s, &other, 0, 1));
    assert_true(spy_section_need(&s, &e, 0, 1));
    assert_true(spy_section_need(&s, &e, s.len, 1));
    spy_section_done(&s);
    spy_elf_done(&e);
    close(fd);
}

RUN(T(only_the_unit_of_an_address_is_read),
    T(a_compressed_section_is_unpacked_as_far_as_it_is_needed),
    T(answers_are_the_same_without_an_index_of_units), T(an_address_of_no_unit_has_no_lines),
    T(a_section_that_is_not_what_it_says_cannot_be_read))
