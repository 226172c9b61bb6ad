// The readers of perf maps, names and damaged files.
#include "agent/native/cython.h"
#include "agent/native/demangle.h"
#include "agent/native/elf_file.h"
#include "agent/native/perf_map.h"
#include "agent/native/symtab.h"
#include "tests/unit/test.h"
#include <stdio.h>
#include <string.h>

static struct spy_perf_map parse_text(const char *text)
{
    struct spy_perf_map m;
    char *copy = strdup(text);
    assert_non_null(copy);
    assert_int_equal(spy_perf_map_parse(copy, strlen(copy), &m), 0);
    return m;
}

static void a_perf_map_names_its_code(void **state)
{
    struct spy_perf_map m = parse_text("2000 10 py::b:/x y.py\n1000 20 a\n");
    (void)state;
    assert_string_equal(spy_perf_map_find(&m, 0x1000), "a");
    assert_string_equal(spy_perf_map_find(&m, 0x101f), "a");
    assert_null(spy_perf_map_find(&m, 0x1020));
    assert_string_equal(spy_perf_map_find(&m, 0x2008), "py::b:/x y.py");
    spy_perf_map_done(&m);
}

static void later_code_replaces_earlier_code_at_an_address(void **state)
{
    struct spy_perf_map m = parse_text("1000 20 old\n1000 20 new\n");
    (void)state;
    assert_string_equal(spy_perf_map_find(&m, 0x1008), "new");
    spy_perf_map_done(&m);
}

static void malformed_lines_are_skipped(void **state)
{
    struct spy_perf_map m = parse_text("\nx\n1000\n1000 \n-1 10 a\nffffffffffffffff 10 b\n"
                                       "3000 0 c\n4000 10 d\n5000 10 half");
    (void)state;
    assert_int_equal(m.n, 1);
    assert_string_equal(spy_perf_map_find(&m, 0x4000), "d");
    spy_perf_map_done(&m);
}

static void check_name(const char *mangled, const char *wanted)
{
    char *name = spy_demangle(mangled, SPY_SYMTAB_NAME_MAX);
    assert_string_equal(name, wanted);
    free(name);
}

static void names_are_demangled(void **state)
{
    (void)state;
    check_name("_ZN5numpy3addEil", "numpy::add(int, long)");
    check_name("_ZN3foo3barEv.cold", "foo::bar()");
    check_name("_ZN4core3ptr4read17h0123456789abcdefE", "core::ptr::read");
    check_name("_RNvC7mycrate3foo", "mycrate::foo");
    check_name("_PyEval_EvalFrameDefault.cold", "_PyEval_EvalFrameDefault");
    check_name("_PyEval_EvalFrameDefault.cold.12", "_PyEval_EvalFrameDefault");
    check_name("list_sort.lto_priv.0", "list_sort");
    check_name("list_sort.lto_priv.0.cold", "list_sort");
    check_name("_Znonsense", "_Znonsense");
    check_name(".cold", ".cold");
    assert_false(spy_demangle_changes("main", SPY_SYMTAB_NAME_MAX));
    assert_false(spy_demangle_changes("list_sort.constprop.0", SPY_SYMTAB_NAME_MAX));
}

static void check_cython(const char *symbol, const char *function, const char *module, bool wrapper)
{
    struct spy_cython_name name;
    assert_true(spy_cython_parse(symbol, SPY_SYMTAB_NAME_MAX, &name));
    assert_int_equal(name.function_len, strlen(function));
    assert_memory_equal(name.function, function, name.function_len);
    assert_int_equal(name.module_len, strlen(module));
    assert_memory_equal(name.module, module, name.module_len);
    assert_int_equal(name.is_wrapper, wrapper);
}

static void names_of_cython_are_those_of_its_source(void **state)
{
    struct spy_cython_name name;
    (void)state;
    check_cython("__pyx_pw_4prog_1burn", "burn", "prog", true);
    check_cython("__pyx_pf_4prog_burn", "burn", "prog", false);
    check_cython("__pyx_pf_4prog_12burn", "burn", "prog", false);
    check_cython("__pyx_f_3pkg_4prog_burn_all", "burn_all", "prog", false);
    check_cython("__pyx_pw_4prog_5Thing_3method", "method", "prog", true);
    check_cython("__pyx_pw_4prog_5__pyx_unpickle_Fast", "__pyx_unpickle_Fast", "prog", true);
    check_name("__pyx_pw_4prog_1burn", "burn");
    check_name("__pyx_f_4prog_burn.cold.3", "burn");
    check_name("__pyx_k_text", "__pyx_k_text");
    assert_false(spy_cython_parse("__pyx_f_4prog_", SPY_SYMTAB_NAME_MAX, &name));
    assert_false(spy_cython_parse("__pyx_f_99prog_burn", SPY_SYMTAB_NAME_MAX, &name));
    assert_false(spy_cython_parse("__pyx_f_9999999999999999999_", SPY_SYMTAB_NAME_MAX, &name));
    assert_false(spy_cython_parse("main", SPY_SYMTAB_NAME_MAX, &name));
}

// Each part is the last one twice.
static void a_name_that_demangles_without_bound_is_shown_mangled(void **state)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    char name[800] = "_Z1fSt4pairIiiE";
    size_t at = strlen(name);
    (void)state;
    for (int i = 0; i < 36; i++)
        at += (size_t)snprintf(name + at, sizeof name - at, "S_IS%c_S%c_E", digits[i], digits[i]);
    char *shown = spy_demangle(name, SPY_SYMTAB_NAME_MAX);
    assert_non_null(shown);
    assert_true(strlen(shown) <= SPY_DEMANGLED_MAX);
    free(shown);
}

static void a_file_that_is_not_elf_is_refused(void **state)
{
    struct spy_elf e;
    char text[4096] = "\177ELF\002\001\001";
    (void)state;
    assert_int_equal(spy_elf_open_bytes("x", 1, &e), SPY_ERR_INVALID);
    assert_int_equal(spy_elf_open_bytes(text, sizeof text, &e), SPY_ERR_UNSUPPORTED);
    memset(text, 'a', sizeof text);
    assert_int_equal(spy_elf_open_bytes(text, sizeof text, &e), SPY_ERR_INVALID);
}

RUN(T(a_perf_map_names_its_code), T(later_code_replaces_earlier_code_at_an_address),
    T(malformed_lines_are_skipped), T(names_are_demangled),
    T(names_of_cython_are_those_of_its_source),
    T(a_name_that_demangles_without_bound_is_shown_mangled), T(a_file_that_is_not_elf_is_refused))
