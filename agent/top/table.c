#include "agent/top/table.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 256, FILE_MAX_BYTES = 1024, KEPT = SPY_TOP_PLACES_MAX / 2 };

void spy_top_table_free(struct spy_top_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->places[i].name);
    free(t->places);
    spy_map_free(&t->map);
    *t = (struct spy_top_table){.window = t->window, .sample = t->sample};
}

// The length of text, or of as many whole characters of it as fit in max bytes.
static size_t measure_text(const char *text, size_t max)
{
    size_t n = strnlen(text, max + 1);
    if (n <= max)
        return n;
    for (n = max; n && ((unsigned char)text[n] & 0xc0) == 0x80; n--)
        ;
    return n;
}

static uint64_t hash_place(const char *name, size_t name_len, const char *file, size_t file_len,
                           uint32_t line)
{
    return spy_hash_mix(
        spy_hash_mix(spy_hash_bytes(name, name_len), spy_hash_bytes(file, file_len)), line);
}

static uint64_t hash_of_place(const struct spy_top_place *p)
{
    return hash_place(p->name, strlen(p->name), p->file, strlen(p->file), p->line);
}

static int add_place(struct spy_top_table *t, const char *name, size_t name_len, const char *file,
                     size_t file_len, uint32_t line)
{
    int r = spy_grow(&t->places, &t->cap, t->n + 1, sizeof *t->places, SPY_TOP_PLACES_MAX);
    char *text = r == 0 ? malloc(name_len + file_len + 2) : NULL;
    if (!text)
        return r < 0 ? r : SPY_ERR_NOMEM;
    memcpy(text, name, name_len);
    text[name_len] = 0;
    memcpy(text + name_len + 1, file, file_len);
    text[name_len + 1 + file_len] = 0;
    t->places[t->n] =
        (struct spy_top_place){.name = text, .file = text + name_len + 1, .line = line};
    r = spy_map_add(&t->map, hash_of_place(&t->places[t->n]), (uint32_t)t->n);
    if (r < 0)
        free(text);
    else
        t->n++;
    return r;
}

static int compare_totals(const void *a, const void *b)
{
    uint64_t x = ((const struct spy_top_place *)a)->total_all,
             y = ((const struct spy_top_place *)b)->total_all;
    return (x < y) - (x > y);
}

// Joins the places with the least time to the others.
static int join_least_places(struct spy_top_table *t)
{
    struct spy_top_place *others = &t->places[SPY_TOP_OTHERS];
    qsort(t->places + 1, t->n - 1, sizeof *t->places, compare_totals);
    for (; t->n > KEPT; t->n--) {
        struct spy_top_place *p = &t->places[t->n - 1];
        others->own_all = spy_add_sat(others->own_all, p->own_all);
        others->total_all = spy_add_sat(others->total_all, p->own_all);
        free(p->name);
    }
    spy_map_clear(&t->map);
    int r = 0;
    for (uint32_t i = 0; i < t->n && r == 0; i++)
        r = spy_map_add(&t->map, hash_of_place(&t->places[i]), i);
    return r;
}

int spy_top_table_begin(struct spy_top_table *t)
{
    t->window++;
    if (!t->n)
        return add_place(t, "[other code]", strlen("[other code]"), "", 0, 0);
    return t->n > SPY_TOP_PLACES_MAX / 4 * 3 ? join_least_places(t) : 0;
}

uint32_t spy_top_table_find(struct spy_top_table *t, const char *name, const char *file,
                            uint32_t line)
{
    size_t name_len = measure_text(name, NAME_MAX_BYTES),
           file_len = measure_text(file, FILE_MAX_BYTES);
    uint64_t hash = hash_place(name, name_len, file, file_len, line);
    for (uint32_t at = SPY_MAP_FIRST, i; (i = spy_map_next(&t->map, hash, &at)) != SPY_MAP_NONE;) {
        const struct spy_top_place *p = &t->places[i];
        if (p->line == line && !strncmp(p->name, name, name_len) && !p->name[name_len] &&
            !strncmp(p->file, file, file_len) && !p->file[file_len])
            return i;
    }
    if (add_place(t, name, name_len, file, file_len, line) < 0)
        return SPY_TOP_OTHERS;
    return (uint32_t)(t->n - 1);
}

void spy_top_table_count(struct spy_top_table *t, uint32_t index, uint64_t ns, bool innermost)
{
    struct spy_top_place *p = &t->places[index];
    if (p->window != t->window) {
        p->window = t->window;
        p->own_now = p->total_now = 0;
    }
    if (p->sample != t->sample) {
        p->sample = t->sample;
        p->total_now = spy_add_sat(p->total_now, ns);
        p->total_all = spy_add_sat(p->total_all, ns);
    }
    if (innermost) {
        p->own_now = spy_add_sat(p->own_now, ns);
        p->own_all = spy_add_sat(p->own_all, ns);
    }
}
