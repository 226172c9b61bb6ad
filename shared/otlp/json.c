// json.c - the JSON form of OTLP
// (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): keys in lowerCamelCase, 64-bit
// numbers as numbers or text, ids in hexadecimal, unknown keys ignored.
//
// The messages are filled by their descriptors, so that only the .proto lists their fields. Depth and
// memory are bounded by a scan of the text before it is parsed.
#include "shared/base/text.h"
#include "shared/otlp/decoder.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// A value in an AnyValue takes three levels: value, arrayValue, values.
enum { DEPTH_MAX = 100, CONTAINER_BYTES = 256, VALUE_BYTES = 64 };

struct reader {
    struct spy_arena *arena;
    struct spy_err *err;
};

static int json_damaged(struct reader *r, const char *field, const char *what)
{
    return spy_err_set(r->err, SPY_ERR_INVALID, 0, "not an OTLP profiles request: %s %s", field,
                       what);
}

static int json_too_large(struct reader *r)
{
    return spy_err_set(r->err, SPY_ERR_LIMIT, 0, "the request takes too much memory to decode");
}

static void *json_alloc(struct reader *r, size_t n, size_t size)
{
    return n > SIZE_MAX / size ? NULL : spy_arena_alloc(r->arena, n * size);
}

// --- a look before anything is parsed ---

// The marks outside of strings bound the memory that jansson needs.
static int look_at_json(struct reader *r, const char *data, size_t len)
{
    size_t containers = 0, values = 0;
    int depth = 0;
    bool in_text = false;
    for (size_t i = 0; i < len; i++) {
        char c = data[i];
        if (in_text && c == '\\')
            i++;
        else if (c == '"')
            in_text = !in_text;
        else if (!in_text && (c == '{' || c == '['))
            containers++, depth++;
        else if (!in_text && (c == '}' || c == ']'))
            depth--;
        else if (!in_text && (c == ',' || c == ':'))
            values++;
        if (depth > DEPTH_MAX)
            return json_damaged(r, "the JSON", "is nested too deeply");
    }
    if (containers * CONTAINER_BYTES + values * VALUE_BYTES + 2 * len > r->arena->max)
        return json_too_large(r);
    return 0;
}

// --- values ---

// A number, or text that holds just a number.
static bool read_json_int(const json_t *v, int64_t *ret)
{
    const char *text = json_string_value(v);
    char *end;
    if (json_is_integer(v)) {
        *ret = json_integer_value(v);
        return true;
    }
    if (!text || !*text || isspace((unsigned char)*text))
        return false;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    return !errno && !*end;
}

static bool read_json_uint(const json_t *v, uint64_t *ret)
{
    const char *text = json_string_value(v);
    char *end;
    if (json_is_integer(v)) {
        *ret = (uint64_t)json_integer_value(v);
        return json_integer_value(v) >= 0;
    }
    if (!text || !isdigit((unsigned char)*text))
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return !errno && !*end;
}

static bool read_double(const json_t *v, double *ret)
{
    const char *text = json_string_value(v);
    if (text)
        *ret = !strcmp(text, "Infinity") ? INFINITY : !strcmp(text, "-Infinity") ? -INFINITY : NAN;
    else
        *ret = json_number_value(v);
    return text || json_is_number(v);
}

// Ids are hexadecimal in OTLP; other bytes are base64, and are not used here.
static int read_json_bytes(struct reader *r, const char *name, const json_t *v,
                           ProtobufCBinaryData *to)
{
    size_t name_len = strlen(name), n = json_string_length(v);
    const char *text = json_string_value(v);
    *to = (ProtobufCBinaryData){0};
    if (!text)
        return json_damaged(r, name, "is not text");
    if (name_len < 3 || strcmp(name + name_len - 3, "_id") != 0)
        return 0;
    to->data = json_alloc(r, n / 2 + 1, 1);
    if (!to->data)
        return json_too_large(r);
    for (size_t i = 0; i < n; i += 2) {
        int high = spy_hex_digit(text[i]), low = i + 1 < n ? spy_hex_digit(text[i + 1]) : -1;
        if (high < 0 || low < 0)
            return json_damaged(r, name, "is not hexadecimal");
        to->data[to->len++] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

// --- messages ---

static int fill_message(struct reader *r, const json_t *from, ProtobufCMessage *to);

static int read_message(struct reader *r, const ProtobufCFieldDescriptor *f, const json_t *v,
                        ProtobufCMessage **to)
{
    const ProtobufCMessageDescriptor *d = f->descriptor;
    if (!json_is_object(v))
        return json_damaged(r, f->name, "is not an object");
    ProtobufCMessage *m = json_alloc(r, 1, d->sizeof_message);
    if (!m)
        return json_too_large(r);
    d->message_init(m);
    *to = m;
    return fill_message(r, v, m);
}

static size_t size_of_type(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
        return 4;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 8;
    }
}

static bool read_number(ProtobufCType type, const json_t *v, void *to)
{
    int64_t i = 0;
    uint64_t u = 0;
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
        if (!read_json_int(v, &i) || i < INT32_MIN || i > INT32_MAX)
            return false;
        *(int32_t *)to = (int32_t)i;
        return true;
    case PROTOBUF_C_TYPE_UINT32:
        if (!read_json_uint(v, &u) || u > UINT32_MAX)
            return false;
        *(uint32_t *)to = (uint32_t)u;
        return true;
    case PROTOBUF_C_TYPE_INT64:
        return read_json_int(v, to);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_json_uint(v, to);
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_double(v, to);
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)to = json_is_true(v);
        return json_is_boolean(v);
    default: // the .proto has no others
        return false;
    }
}

static int read_json_value(struct reader *r, const ProtobufCFieldDescriptor *f, const json_t *v,
                           void *to)
{
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return read_message(r, f, v, to);
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return read_json_bytes(r, f->name, v, to);
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        if (!json_is_string(v))
            return json_damaged(r, f->name, "is not text");
        *(const char **)to = json_string_value(v);
        return 0;
    }
    return read_number(f->type, v, to) ? 0 : json_damaged(r, f->name, "is not a number in range");
}

static int read_json_list(struct reader *r, const ProtobufCFieldDescriptor *f, const json_t *list,
                          ProtobufCMessage *to)
{
    size_t n = json_array_size(list), size = size_of_type(f->type);
    char *rows = json_alloc(r, n + 1, size);
    if (!json_is_array(list))
        return json_damaged(r, f->name, "is not a list");
    if (!rows)
        return json_too_large(r);
    *(size_t *)((char *)to + f->quantifier_offset) = n;
    *(void **)((char *)to + f->offset) = rows;
    for (size_t i = 0; i < n; i++) {
        int result = read_json_value(r, f, json_array_get(list, i), rows + i * size);
        if (result < 0)
            return result;
    }
    return 0;
}

static int read_json_field(struct reader *r, const ProtobufCFieldDescriptor *f, const json_t *v,
                           ProtobufCMessage *to)
{
    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return read_json_list(r, f, v, to);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        uint32_t *chosen = (uint32_t *)((char *)to + f->quantifier_offset);
        if (*chosen)
            return json_damaged(r, f->name, "is the second value of one");
        *chosen = f->id;
    }
    return read_json_value(r, f, v, (char *)to + f->offset);
}

// "timeUnixNano" of time_unix_nano.
static bool is_json_name(const char *key, const char *field)
{
    for (; *field; field++, key++) {
        bool raised = *field == '_';
        field += raised;
        if (*key != (raised ? (char)toupper((unsigned char)*field) : *field))
            return false;
    }
    return !*key;
}

static const ProtobufCFieldDescriptor *find_json_field(const ProtobufCMessageDescriptor *d,
                                                       const char *key)
{
    for (unsigned i = 0; i < d->n_fields; i++)
        if (is_json_name(key, d->fields[i].name))
            return &d->fields[i];
    return NULL;
}

// As in protobuf, unknown keys are counted and otherwise ignored.
static int fill_message(struct reader *r, const json_t *from, ProtobufCMessage *to)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)from, key, v) // NOLINT: only read
    {
        const ProtobufCFieldDescriptor *f = find_json_field(to->descriptor, key);
        int result = 0;
        if (!f)
            to->n_unknown_fields++;
        else if (!json_is_null(v))
            result = read_json_field(r, f, v, to);
        if (result < 0)
            return result;
    }
    return 0;
}

int spy_otlp_from_json(const char *data, size_t len, struct spy_arena *arena,
                       Spy__Otlp__ExportProfilesServiceRequest **ret, json_t **ret_text,
                       struct spy_err *err)
{
    struct reader r = {arena, err};
    json_error_t why;
    int result = look_at_json(&r, data, len);
    if (result < 0)
        return result;
    json_t *root = json_loadb(data, len, 0, &why);
    if (!root)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "not an OTLP profiles request: line %d of the JSON: %.120s", why.line,
                           why.text);
    *ret_text = root;
    *ret = json_alloc(&r, 1, sizeof **ret);
    if (!*ret)
        return json_too_large(&r);
    spy__otlp__export_profiles_service_request__init(*ret);
    if (!json_is_object(root))
        return json_damaged(&r, "the JSON", "is not an object");
    return fill_message(&r, root, &(*ret)->base);
}
