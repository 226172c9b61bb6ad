#include "agent/python/async_layout.h"
#include "agent/python/word.h"
#include "shared/base/mem.h"

// clang-format off
#define ABSENT SPY_PY_ABSENT
enum { HEADER = 16 }; // of an object, in these rows

#define FUTURE_BEGINS \
        .fut_loop = 16, .fut_callback0 = 24, .fut_callbacks = 40
#define NOT_AWAITED_BY \
        .fut_awaited_by = ABSENT, .fut_awaited_by_is_set = ABSENT
#define UP_TO_3_9 \
        FUTURE_BEGINS, NOT_AWAITED_BY, .gen_frame = 16, .gen_state = ABSENT, \
        .yields = SPY_PY_YIELDS_POINTER, .f_stack = 72, .f_stack_depth = ABSENT, .stack_back = 1, \
        .ts_dict = 152, .ts_running_loop = ABSENT, \
        .function_code = 16, .function_closure = 48, .function_module = 88
#define FUNCTION_SINCE_3_10 \
        .function_code = 48, .function_closure = 72, .function_module = 104
// Numbers of enum _framestate; of a frame that awaits there may be two.
#define STATES(created, awaits, awaits_too, running) \
        .state_first = created, .state_last = running, .state_awaits = awaits, \
        .state_awaits_last = awaits_too, .state_executing = running
#define IN_3_11_AND_3_12 \
        FUTURE_BEGINS, NOT_AWAITED_BY, FUNCTION_SINCE_3_10, STATES(-2, -1, -1, 0), \
        .fut_state = 88, .task_cancels = 168, .task_waiter = 128, .task_coro = 136, \
        .task_name = 144, .task_head = 176, \
        .yields = SPY_PY_YIELDS_RESUME, .f_stack = ABSENT, .f_stack_depth = 64, .stack_back = 1, \
        .ts_running_loop = ABSENT
#define SINCE_3_14 \
        FUTURE_BEGINS, FUNCTION_SINCE_3_10, \
        .fut_state = 104, .fut_awaited_by = 96, .fut_awaited_by_is_set = 109, \
        .task_cancels = 112, .task_waiter = 120, .task_coro = 128, .task_name = 136, \
        .task_head = 152, .gen_frame = 72, .gen_state = 67, \
        .yields = SPY_PY_YIELDS_STACK, .f_stack = 64, .f_stack_depth = ABSENT, \
        .ts_dict = ABSENT, .ts_running_loop = ABSENT

static const struct spy_py_async_layout async_rows[] = {
    {
        .major = 3, .minor = 8, .interp_modules = 56, UP_TO_3_9,
        .fut_state = 72, .task_cancels = 136, .task_waiter = 104, .task_coro = 112,
        .task_name = 120, .task_head = 144,
    },
    {
        .major = 3, .minor = 9, .interp_modules = 856, UP_TO_3_9,
        .fut_state = 80, .task_cancels = 176, .task_waiter = 144, .task_coro = 152,
        .task_name = 160, .task_head = 184,
    },
    {
        .major = 3, .minor = 10, .interp_modules = 856, FUTURE_BEGINS, NOT_AWAITED_BY, FUNCTION_SINCE_3_10,
        .fut_state = 88, .task_cancels = 184, .task_waiter = 152, .task_coro = 160,
        .task_name = 168, .task_head = 192,
        .gen_frame = 16, .gen_state = ABSENT,
        .yields = SPY_PY_YIELDS_DEPTH, .f_stack = 64, .f_stack_depth = 80, .stack_back = 1,
        .ts_dict = 152, .ts_running_loop = ABSENT,
    },
    {
        .major = 3, .minor = 11, .interp_modules = 888, IN_3_11_AND_3_12,
        .gen_frame = 80, .gen_state = 75, .ts_dict = 128,
    },
    {
        .major = 3, .minor = 12, .interp_modules = 944, IN_3_11_AND_3_12,
        .gen_frame = 72, .gen_state = 67, .ts_dict = 112,
    },
    {
        .major = 3, .minor = 13, .interp_modules = 7656, .at_modules = 11, .at_running_loop = 19, FUTURE_BEGINS, NOT_AWAITED_BY, FUNCTION_SINCE_3_10,
        STATES(-3, -1, -1, 0),
        .fut_state = 96, .task_cancels = 104, .task_waiter = 112, .task_coro = 120,
        .task_name = 128, .task_head = 144, .gen_frame = 72, .gen_state = 67,
        .yields = SPY_PY_YIELDS_STATE, .f_stack = ABSENT, .f_stack_depth = 64, .stack_back = 1,
        .ts_dict = ABSENT, .ts_running_loop = 304,
    },
    { .major = 3, .minor = 14, .at_modules = 12, .at_gen_frame = 85, .at_gen_state = 86, .at_stack = 37, SINCE_3_14, STATES(-3, -1, -1, 0), .stack_back = 1 },
    { .major = 3, .minor = 15, .at_modules = 12, .at_gen_frame = 101, .at_gen_state = 102, .at_stack = 45, SINCE_3_14, STATES(0, 2, 3, 4), .stack_back = 2 },
};
// clang-format on

// The header of an object is longer in free-threaded builds and those with Py_TRACE_REFS.
static void move_fields(struct spy_py_async_layout *l, uint16_t by)
{
    uint16_t *fields[] = {&l->fut_loop,       &l->fut_callback0,  &l->fut_callbacks,
                          &l->fut_state,      &l->fut_awaited_by, &l->fut_awaited_by_is_set,
                          &l->task_cancels,   &l->task_waiter,    &l->task_coro,
                          &l->task_name,      &l->task_head,      &l->gen_frame,
                          &l->gen_state,      &l->function_code,  &l->function_closure,
                          &l->function_module};
    for (size_t i = 0; i < SPY_COUNT(fields); i++)
        if (*fields[i] != ABSENT)
            *fields[i] = (uint16_t)(*fields[i] + by);
}

int spy_py_async_layout_of(const struct spy_py_layout *l, struct spy_py_async_layout *ret)
{
    for (size_t i = 0; i < SPY_COUNT(async_rows); i++) {
        if (async_rows[i].major != l->major || async_rows[i].minor != l->minor)
            continue;
        *ret = async_rows[i];
        uint16_t by = (uint16_t)(l->ob_type + 8 - HEADER);
        move_fields(ret, by);
        if (l->heap_frames) {
            ret->f_stack = (uint16_t)(ret->f_stack + by);
            ret->f_stack_depth =
                (uint16_t)(ret->f_stack_depth + (ret->f_stack_depth != ABSENT) * by);
        }
        return 0;
    }
    return SPY_ERR_UNSUPPORTED;
}

int spy_py_async_layout_apply(struct spy_py_async_layout *l, const uint8_t *bytes, size_t len)
{
    const struct {
        uint8_t number;
        uint16_t max, *to;
    } words[] = {{l->at_modules, 32768, &l->interp_modules},
                 {l->at_gen_frame, 128, &l->gen_frame},
                 {l->at_gen_state, 128, &l->gen_state},
                 {l->at_stack, 88, &l->f_stack},
                 {l->at_running_loop, 512, &l->ts_running_loop}};
    for (size_t i = 0; i < SPY_COUNT(words); i++) {
        if (!words[i].number)
            continue;
        if ((words[i].number + 1u) * 8 > len ||
            spy_py_word(bytes, words[i].number * 8u) > words[i].max)
            return SPY_ERR_TORN;
        *words[i].to = (uint16_t)spy_py_word(bytes, words[i].number * 8u);
    }
    return l->gen_state == ABSENT || l->gen_state < l->gen_frame ? 0 : SPY_ERR_TORN;
}

bool spy_py_async_published_fit(const struct spy_py_async_published *a,
                                const struct spy_py_async_layout *l)
{
    enum { TASK_MAX = 512, STATE_MAX = 1 << 16, INTERPRETER_MAX = 1 << 24 };
    return a->task_size <= TASK_MAX && a->task_node + HEADER <= a->task_size &&
           a->task_name == l->task_name && a->task_coro == l->task_coro &&
           a->task_awaited_by == l->fut_awaited_by &&
           a->task_awaited_by_is_set == l->fut_awaited_by_is_set &&
           a->interp_size <= INTERPRETER_MAX && a->interp_tasks + HEADER <= a->interp_size &&
           a->ts_size <= STATE_MAX && a->ts_running_loop + 8 <= a->ts_size &&
           a->ts_running_task + 8 <= a->ts_size && a->ts_tasks + HEADER <= a->ts_size;
}
