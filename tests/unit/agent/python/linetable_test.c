// Location entries of every kind, written by hand after Objects/locations.md of CPython; what the
// standard libraries hold is in test_layout.py.
#include "agent/python/linetable.h"
#include "tests/unit/test.h"
// cmocka.h needs the above.

enum { ONE_UNIT = 0, TWO_UNITS = 1, FIRST_LINE = 100 };
#define ENTRY(kind, units) (0x80 | (kind) << 3 | (units))

static void check(const uint8_t *table, size_t len, size_t n, const struct spy_location *want)
{
    uint32_t lines[16];
    struct spy_location got[16];
    assert_int_equal(spy_linetable_locations(table, len, FIRST_LINE, 0, got, 16), n);
    assert_int_equal(
        spy_linetable_lines(SPY_LINETABLE_LOCATIONS, 2, table, len, FIRST_LINE, lines, 16), n);
    for (size_t i = 0; i < 16; i++) {
        const struct spy_location w = i < n ? want[i] : (struct spy_location){0};
        assert_memory_equal(&got[i], &w, sizeof w);
        assert_int_equal(lines[i], w.line);
    }
}

static void test_every_kind_of_entry_is_decoded(void **unused)
{
    const uint8_t table[] = {
        ENTRY(0, ONE_UNIT),  0x00,                            // the first column, no width
        ENTRY(9, TWO_UNITS), 0x7f,                            // the last that the short form has
        ENTRY(10, ONE_UNIT), 80,   127,                       // the same line
        ENTRY(12, ONE_UNIT), 0,    1,                         // two further
        ENTRY(13, ONE_UNIT), 0x03,                            // one back, without columns
        ENTRY(14, ONE_UNIT), 0x48, 0x03, 0x05, 0x4a, 0x04, 1, // 100 further
        ENTRY(14, ONE_UNIT), 0x00, 0x02, 0x00, 0x00,          // without columns, but to line + 2
        ENTRY(15, ONE_UNIT),                                  // nothing
        ENTRY(0, ONE_UNIT),  0x12,                            // and the line goes on
    };
    const struct spy_location want[] = {
        {100, 1, 100, 1}, {100, 80, 100, 95}, {100, 80, 100, 95}, {100, 81, 100, 128},
        {102, 1, 102, 2}, {101, 0, 101, 0},   {201, 266, 206, 1}, {201, 0, 203, 0},
        {0, 0, 0, 0},     {201, 2, 201, 4},
    };
    (void)unused;
    check(table, sizeof table, 10, want);
}

static void test_an_instruction_within_an_entry_has_its_line(void **unused)
{
    const uint8_t table[] = {ENTRY(0, TWO_UNITS), 0x11, ENTRY(11, TWO_UNITS), 3, 4};
    struct spy_location got[2];
    (void)unused;
    assert_int_equal(spy_linetable_locations(table, sizeof table, FIRST_LINE, 1, got, 2), 2);
    assert_int_equal(got[0].line, 100);
    assert_int_equal(got[1].line, 101);
    assert_int_equal(got[1].column, 4);
    assert_int_equal(spy_linetable_locations(table, sizeof table, FIRST_LINE, 4, got, 2), 0);
    assert_int_equal(got[0].line, 0);
}

static void test_a_truncated_table_gives_no_line(void **unused)
{
    const uint8_t no_columns[] = {ENTRY(2, ONE_UNIT), ENTRY(10, ONE_UNIT), 5, ENTRY(11, ONE_UNIT)};
    const uint8_t too_large[] = {ENTRY(14, ONE_UNIT),
                                 0,
                                 0x7f,
                                 0x7f,
                                 0x7f,
                                 0x7f,
                                 0x7f,
                                 0x03,
                                 0x7f,
                                 0x7f,
                                 0x7f,
                                 0x7f,
                                 0x7f,
                                 0x03,
                                 0x01};
    (void)unused;
    check(no_columns, sizeof no_columns, 3,
          (struct spy_location[]){{100, 0, 100, 0}, {100, 6, 100, 0}, {101, 0, 101, 0}});
    check(too_large, sizeof too_large, 1, (struct spy_location[]){{100, 0, 0, 1}});
}

RUN(T(test_every_kind_of_entry_is_decoded), T(test_an_instruction_within_an_entry_has_its_line),
    T(test_a_truncated_table_gives_no_line))
