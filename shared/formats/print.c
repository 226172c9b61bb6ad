#include "shared/formats/print.h"
#include "shared/base/mem.h"

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

int spy_find_shown_frames(const struct spy_profile *p, const struct spy_view *v, uint32_t stack,
                          struct spy_shown_frames *ret)
{
    ret->n = 0;
    for (; stack; stack = spy_profile_stack_at(p, stack)->parent) {
        uint32_t frame = spy_profile_stack_at(p, stack)->frame;
        const struct spy_frame *f = spy_profile_frame_at(p, frame);
        if (v->no_native && spy_profile_function_at(p, f->function)->kind == SPY_FRAME_NATIVE)
            continue;
        int r = spy_grow(&ret->list, &ret->cap, ret->n + 1, sizeof *ret->list, 1 << 26);
        if (r < 0)
            return r;
        ret->list[ret->n++] = frame;
    }
    return 0;
}

uint32_t spy_shown_line(const struct spy_profile *p, const struct spy_view *v,
                        const struct spy_frame *frame)
{
    if (v->no_lines)
        return 0;
    return v->function_lines ? spy_profile_function_at(p, frame->function)->start_line
                             : frame->line;
}
