#include "collector/store/sqlite/digest.h"
#include <stdlib.h>
#include <xxhash.h>

struct digests {
    struct spy_digest *strings, *functions, *frames;
};

static struct spy_digest digest_bytes(const void *data, size_t len, uint64_t key)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(data, len, key);
    return (struct spy_digest){h.low64, h.high64};
}

static void digest_names(const struct spy_profile *p, uint64_t key, struct digests *d)
{
    for (uint32_t i = 0; i < spy_profile_n_strings(p); i++)
        d->strings[i] = digest_bytes(spy_profile_text(p, i), spy_profile_text_len(p, i), key);
    for (uint32_t i = 0; i < spy_profile_n_functions(p); i++) {
        const struct spy_function *f = spy_profile_function_at(p, i);
        const struct {
            struct spy_digest name, filename;
            uint32_t start_line, kind;
        } is = {d->strings[f->name], d->strings[f->filename], f->start_line, f->kind};
        d->functions[i] = digest_bytes(&is, sizeof is, key);
    }
    for (uint32_t i = 0; i < spy_profile_n_frames(p); i++) {
        const struct spy_frame *f = spy_profile_frame_at(p, i);
        const struct {
            struct spy_digest function;
            uint64_t line;
        } is = {d->functions[f->function], f->line};
        d->frames[i] = digest_bytes(&is, sizeof is, key);
    }
}

int spy_digest_stacks(const struct spy_profile *p, uint64_t key, struct spy_digest **ret)
{
    size_t n_strings = spy_profile_n_strings(p), n_functions = spy_profile_n_functions(p);
    size_t n_names = n_strings + n_functions + spy_profile_n_frames(p);
    uint32_t n = spy_profile_n_stacks(p);
    struct spy_digest *names = reallocarray(NULL, n_names + 1, sizeof *names);
    struct spy_digest *stacks = reallocarray(NULL, n, sizeof *stacks);
    if (!names || !stacks) {
        free(names);
        free(stacks);
        return SPY_ERR_NOMEM;
    }
    struct digests d = {names, names + n_strings, names + n_strings + n_functions};
    digest_names(p, key, &d);
    stacks[0] = (struct spy_digest){0};
    for (uint32_t i = 1; i < n; i++) {
        const struct spy_stack *s = spy_profile_stack_at(p, i);
        const struct spy_digest is[] = {stacks[s->parent], d.frames[s->frame]};
        stacks[i] = digest_bytes(is, sizeof is, key);
    }
    free(names);
    *ret = stacks;
    return 0;
}
