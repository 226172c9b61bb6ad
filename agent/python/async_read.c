#include "agent/python/async_inside.h"
#include "agent/python/attribute.h"
#include "agent/python/text.h"
#include "agent/python/word.h"
#include "shared/base/mem.h"
#include <string.h>

enum { LOG_BYTES_MAX = 64 << 20 };

// --- reads that can be repeated ---

int spy_async_read(struct spy_async *a, uint64_t addr, void *to, size_t len)
{
    int r = spy_target_read(a->p->target, addr, to, len);
    if (r == 0)
        r = spy_grow(&a->spans, &a->cap_spans, a->n_spans + 1, sizeof *a->spans, SPY_ASYNC_LOG_MAX);
    if (r == 0)
        r = spy_grow(&a->log, &a->cap_log, a->n_log + len, 1, LOG_BYTES_MAX);
    if (r < 0)
        return r;
    a->spans[a->n_spans++] = (struct spy_span){.addr = addr, .len = len};
    memcpy(a->log + a->n_log, to, len);
    a->n_log += len;
    return 0;
}

void spy_async_forget(struct spy_async *a)
{
    a->n_spans = a->n_log = 0;
    a->task++;
}

int spy_async_unchanged(struct spy_async *a)
{
    size_t at = 0;
    int r = spy_grow(&a->again, &a->cap_again, a->n_log, 1, LOG_BYTES_MAX);
    for (size_t i = 0; r == 0 && i < a->n_spans; i++) {
        a->spans[i].to = a->again + at;
        at += a->spans[i].len;
    }
    for (size_t i = 0; r == 0 && i < a->n_spans; i += SPY_SPANS_MAX)
        r = spy_target_read_spans(a->p->target, a->spans + i,
                                  spy_min(a->n_spans - i, SPY_SPANS_MAX), NULL);
    if (r < 0)
        return r;
    return a->n_log && memcmp(a->log, a->again, a->n_log) ? SPY_ERR_TORN : 0;
}

int spy_async_word(struct spy_async *a, uint64_t addr, uint64_t *ret)
{
    return spy_target_read_u64(a->p->target, addr, ret);
}

// --- what an object is ---

static const struct {
    const char *name;
    enum spy_async_kind kind;
} kinds[] = {
    {"_asyncio.Task", SPY_ASYNC_TASK},
    {"_asyncio.Future", SPY_ASYNC_FUTURE},
    {"coroutine", SPY_ASYNC_GENERATOR},
    {"generator", SPY_ASYNC_GENERATOR},
    {"async_generator", SPY_ASYNC_GENERATOR},
    {"async_generator_asend", SPY_ASYNC_WRAPPER},
    {"async_generator_athrow", SPY_ASYNC_WRAPPER},
    {"coroutine_wrapper", SPY_ASYNC_WRAPPER},
    {"anext_awaitable", SPY_ASYNC_WRAPPER},
    {"_asyncio.FutureIter", SPY_ASYNC_FUTURE_ITER},
    {"method", SPY_ASYNC_METHOD},
    {"builtin_function_or_method", SPY_ASYNC_BUILTIN},
    {"TaskWakeupMethWrapper", SPY_ASYNC_WAKEUP},
    {"function", SPY_ASYNC_FUNCTION},
    {"functools.partial", SPY_ASYNC_PARTIAL},
    {"_RunningLoopHolder", SPY_ASYNC_LOOP_HOLDER},
};

// The classes of asyncio that are written in Python are known by their names alone.
static enum spy_async_kind name_kind(const struct spy_value_type *type)
{
    if (!spy_value_is_builtin(type))
        return !strcmp(type->name, "Task")     ? SPY_ASYNC_PY_TASK
               : !strcmp(type->name, "Future") ? SPY_ASYNC_PY_FUTURE
                                               : SPY_ASYNC_OTHER;
    for (size_t i = 0; i < SPY_COUNT(kinds); i++)
        if (!strcmp(kinds[i].name, type->name))
            return kinds[i].kind;
    return SPY_ASYNC_OTHER;
}

// A class that is derived from Task is of its kind, whether Task is of C or of Python.
static enum spy_async_kind find_object_kind(struct spy_async *a, const struct spy_value_type *type)
{
    struct spy_value_type base = *type;
    for (int i = 0; i < SPY_VALUE_BASES_MAX; i++) {
        enum spy_async_kind kind = name_kind(&base);
        if (kind != SPY_ASYNC_OTHER)
            return kind;
        if (!base.base || spy_value_load_type(&a->values, base.base, &base) < 0)
            break;
    }
    return SPY_ASYNC_OTHER;
}

static int read_type_addr(struct spy_async *a, uint64_t object, uint64_t *ret)
{
    struct spy_async_object *kept = &a->objects[(object >> 4) % SPY_ASYNC_OBJECTS];
    if (kept->object != object || kept->task != a->task) {
        int r = object & 7 ? SPY_ERR_TORN
                           : spy_async_word(a, object + a->p->runtime.layout.ob_type, &kept->type);
        kept->object = r == 0 ? object : 0;
        kept->task = a->task;
        if (r < 0)
            return r;
    }
    *ret = kept->type;
    return 0;
}

int spy_async_keep_type(struct spy_async *a, uint64_t object)
{
    uint64_t known, now;
    int r = read_type_addr(a, object, &known);
    if (r == 0)
        r = spy_async_read(a, object + a->p->runtime.layout.ob_type, &now, sizeof now);
    return r == 0 && now != known ? SPY_ERR_TORN : r;
}

int spy_async_check_type(struct spy_async *a, uint64_t object, const uint8_t *bytes)
{
    uint64_t known;
    int r = read_type_addr(a, object, &known);
    // The allocator keeps its list of free blocks where a live object counts its references.
    uint64_t refs =
        spy_py_word(bytes, a->p->runtime.layout.ob_type - 8u) & UINT64_C(0xffffffffffff);
    if (!refs || refs > UINT32_MAX)
        return SPY_ERR_NOTFOUND;
    return r == 0 && known != spy_py_word(bytes, a->p->runtime.layout.ob_type) ? SPY_ERR_TORN : r;
}

int spy_async_type_of(struct spy_async *a, uint64_t object, const struct spy_async_type **ret)
{
    struct spy_value_type type;
    uint64_t addr;
    int r = read_type_addr(a, object, &addr);
    if (r < 0)
        return r;
    struct spy_async_type *kept = &a->types[(addr >> 4) % SPY_ASYNC_TYPES];
    if (!addr || kept->addr != addr) {
        a->values.reads_left = SPY_PY_VALUE_READS;
        r = addr ? spy_value_load_type(&a->values, addr, &type) : SPY_ERR_TORN;
        if (r < 0)
            return r;
        kept->addr = addr;
        kept->kind = find_object_kind(a, &type);
        memcpy(kept->name, type.name, sizeof kept->name);
        const char *name = spy_value_short_name(&type);
        memmove(kept->name, name, strlen(name) + 1);
    }
    *ret = kept;
    return 0;
}

enum spy_async_kind spy_async_kind_of(struct spy_async *a, uint64_t object)
{
    const struct spy_async_type *type;
    return object && spy_async_type_of(a, object, &type) == 0 ? type->kind : SPY_ASYNC_OTHER;
}

bool spy_async_is_none(struct spy_async *a, uint64_t object)
{
    const struct spy_async_type *type;
    return spy_async_type_of(a, object, &type) == 0 && !strcmp(type->name, "NoneType");
}

// --- what is in it ---

uint64_t spy_async_attribute(struct spy_async *a, uint64_t object, const char *name)
{
    uint64_t value, str;
    if (spy_py_attribute(a->p->target, &a->p->runtime.layout, object, name, &value, &str) < 0)
        return 0;
    return spy_async_is_none(a, value) ? 0 : value;
}

void spy_async_text(struct spy_async *a, uint64_t str, char *out, size_t size)
{
    const struct spy_async_type *type;
    out[0] = 0;
    spy_buf_reset(&a->p->text);
    spy_buf_reset(&a->p->name);
    if (!str || spy_async_type_of(a, str, &type) < 0 || strcmp(type->name, "str") ||
        spy_py_text(a->p->target, &a->p->runtime.layout, str, &a->p->text) < 0)
        return;
    spy_buf_cut(&a->p->name, spy_buf_str(&a->p->text), a->p->text.len, size - 4);
    if (!a->p->name.failed && a->p->name.len < size)
        memcpy(out, spy_buf_str(&a->p->name), a->p->name.len + 1);
}

// Digits have 30 bits. Since 3.12 a tag holds the sign in two bits, and the number of digits above
// the third; before, a signed size does.
int spy_async_int(struct spy_async *a, uint64_t object, uint64_t *ret)
{
    const struct spy_py_objects *o = &a->values.objects;
    const struct spy_async_type *type;
    uint64_t size;
    uint32_t digits[3] = {0};
    bool tagged = o->int_tag != SPY_PY_ABSENT;
    if (!object || spy_async_type_of(a, object, &type) < 0 || strcmp(type->name, "int") ||
        spy_async_word(a, object + (tagged ? o->int_tag : a->p->runtime.layout.ob_size), &size) < 0)
        return SPY_ERR_NOTFOUND;
    if (tagged && (size & 3) == 2)
        return SPY_ERR_NOTFOUND;
    uint64_t n = tagged ? size >> 3 : size;
    if (n > 2 || (n && spy_target_read(a->p->target, object + o->int_digits, digits, n * 4) < 0))
        return SPY_ERR_NOTFOUND;
    *ret = digits[0] | (uint64_t)digits[1] << 30;
    return 0;
}

int spy_async_items(struct spy_async *a, uint64_t object, bool is_tuple, uint64_t *items,
                    size_t max, size_t *ret_n)
{
    uint64_t n, at = object + a->values.objects.tuple_items;
    int r = spy_async_word(a, object + a->p->runtime.layout.ob_size, &n);
    if (r == 0 && !is_tuple)
        r = spy_async_word(a, object + a->values.objects.list_items, &at);
    if (r < 0)
        return r;
    if (n > INT32_MAX)
        return SPY_ERR_TORN;
    *ret_n = spy_min((size_t)n, max);
    return *ret_n ? spy_target_read(a->p->target, at, items, *ret_n * sizeof *items) : 0;
}

uint32_t spy_async_keep(struct spy_async *a, const char *text)
{
    struct spy_buf *b = &a->out->text;
    size_t at = b->len;
    if (!text[0] || spy_buf_append(b, text, strlen(text) + 1) < 0)
        return 0;
    return (uint32_t)at;
}
