#include "agent/cli/record_fit.h"
#include "shared/profile/profile.h"
#include "tests/data/synthetic.h"
#include "tests/unit/test.h"

// As one format prints it into so much room. Returns the code, and what was printed.
struct printed {
    int code;
    size_t len;
    const struct spy_format *format;
    struct spy_view view;
};

static struct printed print_within(const struct spy_profile *p, const char *format, size_t room)
{
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(room);
    struct printed x = {.view = {.title = "fit", .idle = true}};
    struct spy_err err;
    x.code = spy_record_fit(spy_format_find(format), &x.view, p, &out, &x.format, &err);
    x.len = out.len;
    return x;
}

static void what_fits_is_printed_as_it_is(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_large(22000);
    struct printed all = print_within(p, "collapsed", 1 << 30);
    assert_int_equal(all.code, 0);
    assert_string_equal(all.format->name, "collapsed");
    assert_int_equal(all.view.max_nodes, 0);
    struct printed exactly = print_within(p, "collapsed", all.len);
    assert_int_equal(exactly.view.max_nodes, 0);
    assert_int_equal(exactly.len, all.len);
}

static void what_is_too_large_is_folded(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_large(22000);
    struct printed all = print_within(p, "collapsed", 1 << 30);
    struct printed folded = print_within(p, "collapsed", all.len - 1);
    assert_int_equal(folded.code, 0);
    assert_string_equal(folded.format->name, "collapsed");
    assert_int_equal(folded.view.max_nodes, SPY_RECORD_NODES_MAX);
    assert_true(folded.len > 10000 && folded.len < all.len);
}

static void what_folding_does_not_help_becomes_a_flamegraph(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_large(22000);
    struct printed all = print_within(p, "chrometrace", 1 << 30);
    struct printed smaller = print_within(p, "chrometrace", all.len / 4);
    assert_int_equal(smaller.code, 0);
    assert_string_equal(smaller.format->name, "svg");
    assert_true(smaller.len > 1000 && smaller.len <= all.len / 4);
}

static void what_fits_in_no_form_is_refused(void **state)
{
    (void)state;
    _cleanup_profile_ struct spy_profile *p = test_profile_large(1000);
    assert_int_equal(print_within(p, "speedscope", 100).code, SPY_ERR_LIMIT);
}

RUN(T(what_fits_is_printed_as_it_is), T(what_is_too_large_is_folded),
    T(what_folding_does_not_help_becomes_a_flamegraph), T(what_fits_in_no_form_is_refused))
