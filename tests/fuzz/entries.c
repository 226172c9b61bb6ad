// A stack, one "file function" a line, the outermost first, and its entry.
#include "collector/query/entry_find.h"
#include "collector/query/entry_group.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

static uint32_t push_line(struct spy_profile *p, uint32_t parent, char *line)
{
    struct spy_function f = {.kind = *line == '!' ? SPY_FRAME_NATIVE : SPY_FRAME_PYTHON};
    uint32_t function, frame, stack;
    char *file = strsep(&line, " ");
    MUST(spy_profile_cstr(p, line ? line : "", &f.name) == 0);
    MUST(spy_profile_cstr(p, file, &f.filename) == 0);
    MUST(spy_profile_function(p, &f, &function) == 0);
    MUST(spy_profile_frame(p, (struct spy_frame){.function = function}, &frame) == 0);
    MUST(spy_profile_stack(p, parent, frame, &stack) == 0);
    return stack;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct spy_entry_pattern own = {"bus$", "deliver"};
    const struct spy_question q = {.entry_patterns = &own, .n_entry_patterns = 1};
    char *text = malloc(size + 1), *rest = text;
    struct spy_profile *p = spy_profile_new();
    struct spy_selector s = {.entries_alone = size % 2};
    struct spy_filter *f = NULL;
    struct spy_entries e;
    uint32_t stack = 0, series;
    MUST(text && p);
    memcpy(text, data, size);
    text[size] = 0;
    for (char *line; (line = strsep(&rest, "\n"));)
        stack = push_line(p, stack, line);
    MUST(spy_profile_series(p, NULL, 0, &series) == 0);
    MUST(spy_profile_add(p, series, stack, 0, 0, 3, 0) == 0);
    if (spy_entries_find(&q, p, &e, NULL) == 0) {
        for (uint32_t i = 0; i < e.n_stacks; i++)
            MUST(e.of_stack[i] <= e.n && (!e.begins[i] || e.of_stack[i]));
        spy_entries_done(&e);
        MUST(spy_filter_new(&s.filter, p, &f, NULL) == 0);
        MUST(spy_entries_group(&q, &s, p, &f, NULL) == 0);
        MUST(spy_profile_n_samples(p) == 1 && spy_profile_sample_at(p, 0)->count == 3);
    }
    spy_filter_free(f);
    spy_profile_free(p);
    free(text);
    return 0;
}
