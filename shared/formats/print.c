#include "shared/formats/print.h"

int spy_print_failed(int r, struct spy_err *err)
{
    const char *why = r == SPY_ERR_NOMEM ? "out of memory"
                      : r == SPY_ERR_LIMIT
                          ? "the answer is too large: narrow the selection or set max_nodes"
                          : spy_code_name(r);
    return spy_err_set(err, r, 0, "%s", why);
}

int spy_put_json_string(struct spy_buf *out, const char *text, size_t len)
{
    spy_buf_putc(out, '"');
    spy_buf_json(out, text, len);
    return spy_buf_putc(out, '"');
}
