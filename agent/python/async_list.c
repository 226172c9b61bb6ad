#include "agent/python/async_inside.h"
#include "agent/python/word.h"
#include "agent/target/maps_load.h"
#include "agent/target/symbols.h"
#include "shared/base/mem.h"
#include <string.h>

enum {
    MODULES_MAX = 1 << 16,
    NAMES_MAX = 4096,    // of a module
    SLOTS_MAX = 1 << 24, // of a set
    BLOCK = 128,         // slots that are read at a time
    DUMMY_HASH = -1,     // of a slot whose item was removed (Objects/setobject.c)
};

// --- modules ---

// The value of a key that is a str. Like spy_value_find_key, for dicts with more entries.
static int find_in_dict(struct spy_async *a, uint64_t dict, const char *key, size_t max,
                        uint64_t *ret)
{
    struct spy_value_dict d;
    uint64_t str, value;
    char name[64];
    a->values.reads_left = SPY_PY_VALUE_READS;
    int r = spy_value_open_dict(&a->values, dict, &d);
    for (size_t i = 0; r == 0 && i < max; i++) {
        a->values.reads_left = SPY_PY_VALUE_READS;
        r = spy_value_next_entry(&a->values, &d, &str, &value);
        if (r <= 0)
            return r < 0 ? r : SPY_ERR_NOTFOUND;
        spy_value_peek_text(&a->values, str, name, sizeof name);
        if (!strcmp(name, key)) {
            *ret = value;
            return 0;
        }
        r = 0;
    }
    return r < 0 ? r : SPY_ERR_NOTFOUND;
}

int spy_async_module(struct spy_async *a, uint64_t interp, uint64_t *ret_dict)
{
    uint64_t modules, module;
    int r = spy_async_word(a, interp + a->at.interp_modules, &modules);
    if (r == 0 && !modules)
        r = SPY_ERR_NOTFOUND;
    if (r == 0)
        r = find_in_dict(a, modules, "asyncio.tasks", MODULES_MAX, &module);
    return r < 0 ? r : spy_async_word(a, module + a->header, ret_dict); // md_dict
}

int spy_async_find_name(struct spy_async *a, uint64_t module_dict, const char *name, uint64_t *ret)
{
    return find_in_dict(a, module_dict, name, NAMES_MAX, ret);
}

// --- sets ---

struct set {
    uint64_t mask, table; // as PySetObject has them
};

static int open_set(struct spy_async *a, uint64_t set, struct set *ret)
{
    const struct spy_async_type *type;
    int r = spy_async_type_of(a, set, &type);
    if (r == 0 && strcmp(type->name, "set"))
        r = SPY_ERR_NOTFOUND;
    if (r == 0)
        r = spy_target_read(a->p->target, set + a->values.objects.set_mask, ret, sizeof *ret);
    return r == 0 && ret->mask >= SLOTS_MAX ? SPY_ERR_TORN : r;
}

// Replaces weak references by what they refer to.
static int follow_references(struct spy_async *a, uint64_t *objects, size_t n)
{
    struct spy_span spans[BLOCK];
    uint64_t to[BLOCK];
    for (size_t i = 0; i < n; i++)
        spans[i] = (struct spy_span){objects[i] + a->header, &to[i], sizeof to[i]}; // wr_object
    int r = n ? spy_target_read_spans(a->p->target, spans, n, NULL) : 0;
    if (r == 0)
        memcpy(objects, to, n * sizeof *to);
    return r;
}

int spy_async_set(struct spy_async *a, uint64_t set, bool weak, spy_async_each each, void *arg)
{
    struct set s, after;
    uint64_t slots[BLOCK][2], objects[BLOCK];
    int r = open_set(a, set, &s);
    for (uint64_t at = 0; r == 0 && at <= s.mask; at += BLOCK) {
        size_t n = 0, n_slots = spy_min((size_t)(s.mask + 1 - at), BLOCK);
        r = spy_target_read(a->p->target, s.table + at * sizeof *slots, slots,
                            n_slots * sizeof *slots);
        for (size_t i = 0; r == 0 && i < n_slots; i++)
            if (slots[i][0] && (int64_t)slots[i][1] != DUMMY_HASH)
                objects[n++] = slots[i][0];
        if (r == 0 && weak)
            r = follow_references(a, objects, n);
        for (size_t i = 0; r == 0 && i < n; i++)
            r = each(a, objects[i], arg);
    }
    if (r == 0)
        r = open_set(a, set, &after);
    return r == 0 && memcmp(&s, &after, sizeof s) ? SPY_ERR_TORN : r;
}

// --- tasks ---

static int add_task(struct spy_async *a, uint64_t addr, void *arg)
{
    (void)arg;
    struct spy_py_tasks *out = a->out;
    uint64_t hash = spy_hash_mix(addr, 0);
    if (!addr || !spy_async_is_task(spy_async_kind_of(a, addr)))
        return 0;
    for (uint32_t at = SPY_MAP_FIRST, i;
         (i = spy_map_next(&a->by_addr, hash, &at)) != SPY_MAP_NONE;)
        if (out->list[i].addr == addr)
            return 0;
    int r = spy_grow(&out->list, &out->cap, out->n + 1, sizeof *out->list, SPY_PY_TASKS_MAX);
    if (r == 0)
        r = spy_map_add(&a->by_addr, hash, (uint32_t)out->n);
    if (r == 0)
        out->list[out->n++] = (struct spy_py_task){.addr = addr};
    return r;
}

// Reads a list until it was read whole; a list that changes each time is counted.
static int add_set(struct spy_async *a, uint64_t set, bool weak)
{
    int r = SPY_ERR_TORN;
    for (int i = 0; i < SPY_PY_TASK_TRIES && r == SPY_ERR_TORN; i++)
        r = spy_async_set(a, set, weak, add_task, NULL);
    a->out->n_unlisted += r == SPY_ERR_TORN;
    return r == SPY_ERR_TORN || r == SPY_ERR_NOTFOUND ? 0 : r;
}

// Up to 3.11 all tasks are in one weak set. Then tasks that ran before they were scheduled are in a
// set, and since 3.14 the weak set holds only tasks of other classes.
static const struct {
    const char *name;
    bool weak;
} task_sets[] = {{"_all_tasks", true}, {"_scheduled_tasks", true}, {"_eager_tasks", false}};

static int add_sets(struct spy_async *a, uint64_t interp)
{
    uint64_t dict, set;
    int r = spy_async_module(a, interp, &dict);
    for (size_t i = 0; r == 0 && i < SPY_COUNT(task_sets); i++) {
        r = spy_async_find_name(a, dict, task_sets[i].name, &set);
        if (r == 0 && task_sets[i].weak && !(set = spy_async_attribute(a, set, "data")))
            r = SPY_ERR_TORN;
        if (r == 0)
            r = add_set(a, set, task_sets[i].weak);
        a->out->n_unlisted += r == SPY_ERR_TORN;
        if (r == SPY_ERR_NOTFOUND || r == SPY_ERR_TORN)
            r = 0;
    }
    return r;
}

// --- since 3.14 ---

// A node is inside of its task, and the head inside of a thread state or an interpreter.
static int walk_nodes(struct spy_async *a, uint64_t head)
{
    uint64_t node[2], addr = head; // next, previous
    int r = spy_target_read(a->p->target, head, node, sizeof node);
    if (r < 0 || !node[0])
        return r;
    for (size_t i = 0; r == 0 && node[0] != head; i++) {
        uint64_t previous = addr;
        addr = node[0];
        r = spy_target_read(a->p->target, addr, node, sizeof node);
        if (r == 0 && (node[1] != previous || i > SPY_PY_TASKS_MAX))
            r = SPY_ERR_TORN;
        if (r == 0)
            r = add_task(a, addr - a->published.task_node, NULL);
    }
    return r;
}

static int add_nodes(struct spy_async *a, uint64_t head)
{
    int r = SPY_ERR_TORN;
    for (int i = 0; i < SPY_PY_TASK_TRIES && r == SPY_ERR_TORN; i++)
        r = walk_nodes(a, head);
    a->out->n_unlisted += r == SPY_ERR_TORN;
    return r == SPY_ERR_TORN ? 0 : r;
}

static int read_published(struct spy_async *a, const struct spy_maps *maps,
                          const struct spy_module *module)
{
    uint64_t addr;
    int r = spy_module_file_section(a->p->target, maps, module, ".AsyncioDebug", &addr);
    if (r == 0)
        r = spy_target_read(a->p->target, addr, &a->published, sizeof a->published);
    return r == 0 && !spy_py_async_published_fit(&a->published, &a->at) ? SPY_ERR_NOTFOUND : r;
}

// The module is a file of its own, or is inside of the program or libpython.
int spy_async_find_published(struct spy_async *a)
{
    _cleanup_(spy_maps_free) struct spy_maps maps = {0};
    _cleanup_free_ struct spy_module *mods = NULL;
    size_t n;
    int r = spy_maps_load(a->p->target, &maps, NULL);
    if (r == 0)
        r = spy_modules(&maps, &mods, &n);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++)
        if ((strstr(mods[i].path, "asyncio") || strstr(mods[i].path, "python")) &&
            read_published(a, &maps, &mods[i]) == 0) {
            a->publishes = true;
            return 0;
        }
    return SPY_ERR_UNSUPPORTED;
}

// --- all ---

// The interpreters of the threads that are known, each once.
static bool is_first_of_interpreter(const struct spy_python *p, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (p->threads[k]->id.interp == p->threads[i]->id.interp)
            return false;
    return true;
}

int spy_async_list(struct spy_async *a)
{
    struct spy_python *p = a->p;
    bool found = false;
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->n_threads; i++) {
        const struct spy_py_identity *id = &p->threads[i]->id;
        if (is_first_of_interpreter(p, i)) {
            r = add_sets(a, id->interp);
            found = found || r == 0;
            if (r == 0 && a->publishes)
                r = add_nodes(a, id->interp + a->published.interp_tasks);
            if (r == SPY_ERR_NOTFOUND)
                r = 0;
        }
        if (r == 0 && a->publishes)
            r = add_nodes(a, id->tstate + a->published.ts_tasks);
    }
    if (r == SPY_ERR_LIMIT) {
        a->out->truncated = true;
        r = 0;
    }
    return r == 0 && !found ? SPY_ERR_NOTFOUND : r;
}
