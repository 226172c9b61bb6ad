#include "agent/cli/record_fit.h"

static int print_again(const struct spy_format *format, const struct spy_view *view,
                       const struct spy_profile *p, struct spy_buf *out, struct spy_err *err)
{
    spy_buf_reset(out);
    return format->print(p, view, out, err);
}

int spy_record_fit(const struct spy_format *format, struct spy_view *view,
                   const struct spy_profile *p, struct spy_buf *out, const struct spy_format **ret,
                   struct spy_err *err)
{
    *ret = format;
    int r = print_again(format, view, p, out, err);
    if (r == SPY_ERR_LIMIT && view->timeline) {
        view->timeline = NULL;
        r = print_again(format, view, p, out, err);
    }
    if (r == SPY_ERR_LIMIT) {
        view->max_nodes = SPY_RECORD_NODES_MAX;
        r = print_again(format, view, p, out, err);
    }
    if (r == SPY_ERR_LIMIT) { // folding does not help against a track for each of a million threads
        *ret = spy_format_find("svg");
        r = print_again(*ret, view, p, out, err);
    }
    return r;
}
