#include "collector/grafana/message.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { MESSAGE_BYTES = 4 << 20 };
#define RANGE_MAX_MS ((int64_t)9000000000000) // the year 2255

// --- messages ---

static void *alloc_in_message(void *arena, size_t size)
{
    return spy_arena_alloc(arena, size);
}

static void ignore_in_message(void *arena, void *pointer)
{
    (void)arena;
    (void)pointer;
}

void spy_message_free(struct spy_message *m)
{
    spy_arena_free(&m->arena);
}

int spy_message_read(const struct spy_querier_call *c, const ProtobufCMessageDescriptor *kind,
                     struct spy_message *ret, struct spy_err *err)
{
    *ret = (struct spy_message){.arena = SPY_ARENA_INIT(MESSAGE_BYTES)};
    ProtobufCAllocator allocator = {alloc_in_message, ignore_in_message, &ret->arena};
    if (c->len > SPY_QUERIER_BODY_MAX)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "the message is larger than %d bytes",
                           SPY_QUERIER_BODY_MAX);
    ret->m = protobuf_c_message_unpack(kind, &allocator, c->len, c->body);
    return ret->m ? 0
                  : spy_err_set(err, SPY_ERR_INVALID, 0,
                                "the message is not a protobuf message of this method");
}

int spy_message_write(const ProtobufCMessage *m, struct spy_buf *out, struct spy_err *err)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *to = spy_buf_reserve(out, n);
    if (!to)
        return out->failed == SPY_ERR_NOMEM
                   ? spy_err_nomem(err)
                   : spy_err_set(err, SPY_ERR_LIMIT, 0,
                                 "the answer is too large: narrow the selection");
    spy_buf_commit(out, protobuf_c_message_pack(m, to));
    return 0;
}

// --- what is selected ---

int spy_range_parse(int64_t start, int64_t end, uint64_t now_ns, struct spy_select *select,
                    struct spy_err *err)
{
    if (!start && !end) {
        select->until_ns = now_ns;
        select->from_ns = now_ns > 3600 * SPY_NS_PER_SEC ? now_ns - 3600 * SPY_NS_PER_SEC : 0;
        return 0;
    }
    if (start < 0 || end > RANGE_MAX_MS || start >= end)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "start is not before end; both are milliseconds since 1970");
    select->from_ns = (uint64_t)start * SPY_NS_PER_MS;
    select->until_ns = (uint64_t)end * SPY_NS_PER_MS;
    return 0;
}

int spy_selection_parse(const struct spy_querier_call *c, const char *type, const char *selector,
                        struct spy_selection *ret, struct spy_err *err)
{
    *ret = (struct spy_selection){.select = {.memory = c->memory / 8 * 5, .stop = c->stop}};
    int r = spy_type_parse(type, &ret->type, err);
    if (r == 0)
        r = spy_matchers_parse(selector, &ret->matchers, err);
    if (r < 0)
        return r;
    spy_type_narrow(&ret->type, &ret->select);
    spy_matchers_narrow(&ret->matchers, &ret->select);
    return 0;
}

void spy_selection_free(struct spy_selection *s)
{
    spy_matchers_free(&s->matchers);
}

size_t spy_series_labels(const struct spy_profile *p, uint32_t series,
                         struct spy_named ret[SPY_LABELS_MAX])
{
    const struct spy_series *s = spy_profile_series_get(p, series);
    size_t n = 0;
    for (; n < s->n_labels && n < SPY_LABELS_MAX; n++) {
        const struct spy_label *l = spy_profile_label_at(p, s->first_label + (uint32_t)n);
        ret[n] = (struct spy_named){spy_profile_text(p, l->key), spy_profile_text(p, l->value)};
    }
    return n;
}

static int match_series(struct spy_selection *s, const struct spy_profile *p, bool *has,
                        struct spy_err *err)
{
    struct spy_named labels[SPY_LABELS_MAX];
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        size_t n = spy_series_labels(p, i, labels);
        int r = spy_matchers_match(&s->matchers, labels, n, err);
        if (r < 0)
            return r;
        has[i] = r > 0;
    }
    return 0;
}

int spy_selection_load(const struct spy_querier_call *c, struct spy_selection *s,
                       struct spy_profile **ret, bool **ret_has, struct spy_err *err)
{
    _cleanup_profile_ struct spy_profile *p = spy_profile_new_capped(&spy_store_query_caps);
    if (!p)
        return spy_err_nomem(err);
    int r = spy_store_query(c->store, &s->select, p, err);
    if (r < 0)
        return r;
    _cleanup_free_ bool *has = calloc((size_t)spy_profile_n_series(p) + 1, sizeof *has);
    if (!has)
        return spy_err_nomem(err);
    r = match_series(s, p, has, err);
    if (r < 0)
        return r;
    *ret = spy_steal(&p);
    *ret_has = spy_steal(&has);
    return 0;
}
