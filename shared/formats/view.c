#include "shared/formats/view.h"
#include "shared/base/mem.h"
#include "shared/formats/filter.h"

bool spy_view_has(const struct spy_view *v, const struct spy_sample *s)
{
    return (v->idle || s->state & SPY_STATE_RUNNING) &&
           (!v->gil || s->state & SPY_STATE_GIL_HOLDS) &&
           (!v->filter || spy_filter_has(v->filter, s));
}

static uint64_t count_chosen_samples(const struct spy_profile *p, const struct spy_view *v)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        n = spy_add_sat(n, spy_view_has(v, s) ? s->count : 0);
    }
    return n;
}

int spy_view_why_empty(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out)
{
    enum { IDLE, GIL, BOTH };
    static const char *const cures[][2] = {
        [IDLE] = {"idle=1 shows them", "--idle shows them"},
        [GIL] = {"gil=0 shows them", "without --gil they are shown"},
        [BOTH] = {"gil=0&idle=1 shows them", "--idle without --gil shows them"},
    };
    if (count_chosen_samples(p, v))
        return 0;
    uint64_t all = count_chosen_samples(p, &(struct spy_view){.idle = true});
    uint64_t left = count_chosen_samples(p, &(struct spy_view){.idle = true, .filter = v->filter});
    if (!all)
        return spy_buf_puts(out, "No samples to show: none was taken.");
    if (!left)
        return spy_buf_puts(out, "No samples to show: the filters leave none.");
    struct spy_view without_gil = *v, holders = *v;
    without_gil.gil = false;
    holders.idle = true;
    bool waiting = !count_chosen_samples(p, &without_gil),
         unheld = v->gil && !count_chosen_samples(p, &holders);
    const char *why = waiting  ? "every thread was waiting in each"
                      : unheld ? "no thread held the interpreter's lock (GIL) in any"
                               : "no thread that ran held the interpreter's lock (GIL) in any";
    return spy_buf_printf(out, "No samples to show: %s of the %llu taken; %s.", why,
                          (unsigned long long)left,
                          cures[!v->gil   ? IDLE
                                : waiting ? BOTH
                                          : GIL][v->command_line]);
}

int spy_view_frames(const struct spy_profile *p, const struct spy_view *v, uint32_t stack,
                    struct spy_view_frames *ret)
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

uint32_t spy_view_line(const struct spy_profile *p, const struct spy_view *v,
                       const struct spy_frame *frame)
{
    if (v->no_lines)
        return 0;
    return v->function_lines ? spy_profile_function_at(p, frame->function)->start_line
                             : frame->line;
}
