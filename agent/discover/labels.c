#include "agent/discover/labels.h"
#include "agent/discover/proc.h"
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void spy_labels_init(struct spy_labels *l)
{
    *l = (struct spy_labels){.native = -1, .blocking = -1};
}

static void add_label_problem(struct spy_labels *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void add_label_problem(struct spy_labels *l, const char *fmt, ...)
{
    char text[192];
    if (l->n_problems >= SPY_LABEL_PROBLEMS)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    spy_proc_clean(l->problems[l->n_problems++], sizeof l->problems[0], text, strlen(text));
}

// Each setter returns NULL, or the values that would be valid.
static const char *set_profile(struct spy_labels *l, const char *value)
{
    l->consent = strcmp(value, "true") == 0 ? SPY_CONSENT_YES : SPY_CONSENT_NO;
    return l->consent == SPY_CONSENT_YES || strcmp(value, "false") == 0 ? NULL : "\"true\"";
}

static const char *set_rate(struct spy_labels *l, const char *value)
{
    char *end = NULL;
    unsigned long n = strlen(value) <= 4 ? strtoul(value, &end, 10) : 0;
    if (n < 1 || n > 1000 || *end || *value < '0' || *value > '9')
        return "a number from 1 to 1000";
    l->rate = (uint32_t)n;
    return NULL;
}

static const char *set_native(struct spy_labels *l, const char *value)
{
    int yes = strcmp(value, "true") == 0;
    if (!yes && strcmp(value, "false") != 0)
        return "\"true\" or \"false\"";
    l->native = yes;
    return NULL;
}

static const char *set_blocking(struct spy_labels *l, const char *value)
{
    static const char *const names[] = {
        [SPY_PAUSE_NEVER] = "never", [SPY_PAUSE_AUTO] = "auto", [SPY_PAUSE_ALWAYS] = "always"};
    for (size_t i = 0; i < SPY_COUNT(names); i++) {
        if (strcmp(value, names[i]) == 0) {
            l->blocking = (int)i;
            return NULL;
        }
    }
    return "never, auto or always";
}

static const char *set_label_service(struct spy_labels *l, const char *value)
{
    char clean[sizeof l->service] = "";
    spy_proc_clean(clean, sizeof clean, value, strlen(value));
    if (!*value || strcmp(clean, value) != 0)
        return "1 to 255 bytes of printable text";
    memcpy(l->service, clean, sizeof clean);
    return NULL;
}

// Names joined by commas, with or without spaces. The name of a pod's container is a DNS label. It
// chooses among the containers of a pod; on a Docker container it has no effect.
static const char *set_containers(struct spy_labels *l, const char *value)
{
    static const char right[] = "names of containers, separated by commas";
    char clean[sizeof l->containers] = "";
    size_t n = 0, name = 0;
    for (const char *p = value;; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-';
        if (n + 1 >= sizeof clean || (!letter && *p && *p != ',' && *p != ' '))
            return right;
        if (letter)
            clean[n++] = *p, name++;
        else if (*p != ' ' && !name)
            return right;
        else if (*p == ',')
            clean[n++] = ',', name = 0;
        if (!*p)
            break;
    }
    memcpy(l->containers, clean, sizeof clean);
    return NULL;
}

bool spy_labels_choose(const struct spy_labels *l, const char *container)
{
    size_t n = strlen(container), len;
    for (const char *p = l->containers; *p; p += len + (p[len] == ',')) {
        len = strcspn(p, ",");
        if (len == n && memcmp(p, container, n) == 0)
            return true;
    }
    return !*l->containers;
}

static const struct {
    const char *name;
    const char *(*set)(struct spy_labels *l, const char *value);
} keys[] = {
    {"profile", set_profile},       {"rate", set_rate},
    {"native", set_native},         {"blocking", set_blocking},
    {"service", set_label_service}, {"containers", set_containers},
};

void spy_labels_set(struct spy_labels *l, const char *prefix, const char *key, const char *value)
{
    size_t n = strlen(prefix);
    if (strncmp(key, prefix, n) != 0 || key[n] != '/')
        return;
    const char *name = key + n + 1;
    for (size_t i = 0; i < SPY_COUNT(keys); i++) {
        if (strcmp(name, keys[i].name) != 0)
            continue;
        const char *right = keys[i].set(l, value);
        if (right)
            add_label_problem(l, "%.60s is '%.40s': give %s", key, value, right);
        return;
    }
    add_label_problem(l, "%.60s is not known", key);
}

// --- the list ---

static void copy_label_text(char *out, size_t size, const json_t *string)
{
    const char *s = json_string_value(string);
    spy_proc_clean(out, size, s ? s : "", s ? strlen(s) : 0);
}

static bool read_container(const json_t *item, const char *prefix, struct spy_container *c)
{
    const char *id = json_string_value(json_object_get(item, "Id")), *key;
    if (!id || strlen(id) != 64)
        return false;
    *c = (struct spy_container){0};
    spy_labels_init(&c->labels);
    memcpy(c->id, id, sizeof c->id);
    const char *name = json_string_value(json_array_get(json_object_get(item, "Names"), 0));
    if (name) // "/web"
        spy_proc_clean(c->name, sizeof c->name, name + (*name == '/'),
                       strlen(name + (*name == '/')));
    copy_label_text(c->image, sizeof c->image, json_object_get(item, "Image"));
    json_t *labels = json_object_get(item, "Labels"), *value;
    copy_label_text(c->owner, sizeof c->owner,
                    json_object_get(labels, "com.docker.compose.service"));
    json_object_foreach(labels, key, value)
    {
        if (json_is_string(value))
            spy_labels_set(&c->labels, prefix, key, json_string_value(value));
    }
    return true;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct spy_container *)a)->id, ((const struct spy_container *)b)->id);
}

static void free_labels_json(json_t **j)
{
    json_decref(*j);
}

int spy_containers_parse(const char *text, size_t len, const char *prefix,
                         struct spy_containers *ret, struct spy_err *err)
{
    json_error_t why;
    _cleanup_(free_labels_json) json_t *list = json_loadb(text, len, 0, &why);
    if (!json_is_array(list))
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "the answer is not a list of containers (line %d: %.80s)",
                           list ? 1 : why.line, list ? "not an array" : why.text);
    size_t n = json_array_size(list);
    n = n < SPY_CONTAINERS_MAX ? n : SPY_CONTAINERS_MAX;
    struct spy_containers c = {.all = calloc(n ? n : 1, sizeof *c.all)};
    if (!c.all)
        return spy_err_nomem(err);
    for (size_t i = 0; i < n; i++)
        c.n += read_container(json_array_get(list, i), prefix, &c.all[c.n]);
    qsort(c.all, c.n, sizeof *c.all, by_id);
    *ret = c;
    return 0;
}

void spy_containers_free(struct spy_containers *c)
{
    free(c->all);
    *c = (struct spy_containers){0};
}

const struct spy_container *spy_containers_find(const struct spy_containers *c, const char *id)
{
    size_t lo = 0, hi = c->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int cmp = strcmp(id, c->all[mid].id);
        if (cmp == 0)
            return &c->all[mid];
        if (cmp < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}
