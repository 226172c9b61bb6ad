#include "collector/store/clickhouse/idset.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

static uint64_t mix_id(const uint8_t id[SPY_ID])
{
    uint64_t words[2];
    memcpy(words, id, sizeof words);
    return spy_hash_mix(words[0], words[1]);
}

uint32_t spy_idset_find(const struct spy_idset *s, const uint8_t id[SPY_ID])
{
    uint64_t hash = mix_id(id);
    for (uint32_t at = SPY_MAP_FIRST, i;
         s->map.slots && (i = spy_map_next(&s->map, hash, &at)) != SPY_MAP_NONE;)
        if (!memcmp(s->ids[i], id, SPY_ID))
            return i;
    return SPY_MAP_NONE;
}

int spy_idset_add(struct spy_idset *s, const uint8_t id[SPY_ID], uint32_t *ret, bool *ret_is_new)
{
    uint32_t at = spy_idset_find(s, id);
    *ret_is_new = at == SPY_MAP_NONE;
    if (!*ret_is_new) {
        *ret = at;
        return 0;
    }
    int r = spy_grow(&s->ids, &s->cap, s->n + 1, SPY_ID, (size_t)1 << 28);
    if (r == 0)
        r = spy_map_add(&s->map, mix_id(id), s->n);
    if (r < 0)
        return r;
    memcpy(s->ids[s->n], id, SPY_ID);
    *ret = s->n++;
    return 0;
}

void spy_idset_clear(struct spy_idset *s)
{
    spy_map_clear(&s->map);
    s->n = 0;
}

void spy_idset_free(struct spy_idset *s)
{
    spy_map_free(&s->map);
    free(s->ids);
    *s = (struct spy_idset){0};
}
