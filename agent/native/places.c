#include "agent/native/places.h"
#include "agent/target/maps_load.h"
#include "shared/base/clock.h"
#include <stdlib.h>
#include <string.h>

static bool is_same_place(const struct spy_places *a, const struct spy_place *x,
                          const struct spy_maps *maps, const struct spy_mapping *m)
{
    return x->start == m->start && x->end == m->end && x->mapping->offset == m->offset &&
           x->mapping->inode == m->inode &&
           !strcmp(spy_maps_path(&a->maps, x->mapping), spy_maps_path(maps, m));
}

// Takes over what the old places know of this one. A file that was not had is tried again.
static void fill_place(struct spy_places *old, const struct spy_maps *maps,
                       const struct spy_mapping *m, struct spy_place *ret)
{
    struct spy_place *same = spy_places_find(old, m->start);
    *ret = (struct spy_place){.start = m->start, .end = m->end, .mapping = m};
    if (!same || !same->module || !is_same_place(old, same, maps, m))
        return;
    ret->module = same->module;
    ret->bias = same->bias;
    ret->tried = true;
    same->module = NULL;
}

static size_t count_executable(const struct spy_maps *maps)
{
    size_t n = 0;
    for (size_t i = 0; i < maps->n; i++)
        n += maps->list[i].executable;
    return n;
}

static bool are_same_places(const struct spy_places *old, const struct spy_places *fresh)
{
    bool same = old->n == fresh->n;
    for (size_t i = 0; same && i < fresh->n; i++)
        same = is_same_place(old, &old->places[i], &fresh->maps, fresh->places[i].mapping);
    return same;
}

int spy_places_renew(struct spy_places *p, uint64_t age_ns)
{
    uint64_t now = spy_clock_mono_ns();
    if (p->loaded_ns && now - p->loaded_ns < age_ns)
        return 0;
    struct spy_places fresh = {
        .list = p->list, .target = p->target, .loaded_ns = now, .changes = p->changes};
    int r = spy_maps_load(p->target, &fresh.maps, NULL);
    if (r < 0)
        return r;
    fresh.places = calloc(count_executable(&fresh.maps) + 1, sizeof *fresh.places);
    if (!fresh.places) {
        spy_maps_free(&fresh.maps);
        return SPY_ERR_NOMEM;
    }
    for (size_t i = 0; i < fresh.maps.n; i++)
        if (fresh.maps.list[i].executable)
            fill_place(p, &fresh.maps, &fresh.maps.list[i], &fresh.places[fresh.n++]);
    fresh.changes += !are_same_places(p, &fresh);
    spy_places_done(p);
    *p = fresh;
    return 1;
}

void spy_places_done(struct spy_places *p)
{
    for (size_t i = 0; i < p->n; i++)
        spy_module_release(p->list, p->places[i].module);
    free(p->places);
    p->places = NULL;
    p->n = 0;
    spy_maps_free(&p->maps);
}

struct spy_place *spy_places_find(const struct spy_places *p, uint64_t address)
{
    size_t lo = 0, hi = p->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (p->places[mid].start <= address)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && address < p->places[lo - 1].end ? &p->places[lo - 1] : NULL;
}

struct spy_native_module *spy_place_module(struct spy_places *p, struct spy_place *place)
{
    if (place->tried)
        return place->module;
    place->tried = true;
    struct spy_native_module *m = spy_module_take(p->list, p->target, place->mapping,
                                                  spy_maps_path(&p->maps, place->mapping));
    if (m && !spy_module_bias(m, place->mapping, &place->bias)) {
        spy_module_release(p->list, m);
        m = NULL;
    }
    place->module = m;
    return m;
}

struct spy_debug_info *spy_place_debug_info(struct spy_places *p, struct spy_place *place)
{
    struct spy_native_module *m = spy_place_module(p, place);
    if (m && !m->debug_tried)
        spy_module_load_debug(p->list, m, p->target, place->mapping,
                              spy_maps_path(&p->maps, place->mapping));
    return m && m->has_debug ? &m->debug : NULL;
}
