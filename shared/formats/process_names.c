#include "shared/formats/process_names.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include <stdlib.h>
#include <string.h>

enum {
    PROGRAM_MAX = 200,
    ARGUMENTS_MAX = 100,
    COMMON_MAX = 20,
    POD_MAX = 200,
    PID_MAX_SHOWN = 20
}; // bytes shown

struct text {
    const char *at;
    size_t len;
};

struct process {
    const char *place, *pod, *pid, *parent;
    struct text program, arguments; // arguments: without the space before them
    uint64_t number;                // the PID
    uint32_t series;
    uint32_t worker; // 1..: which child of a process with this program; 0: none
    bool is_title;   // program is the whole title
    bool is_spawned; // by multiprocessing, which starts its own program
    bool differs;    // from other processes of the program, by its arguments
    size_t common;   // so many bytes of them are left out: all have them
};

struct spy_process_names {
    struct process *list; // by series
    uint32_t n;
    bool has_pods; // several
};

// --- a command line ---

static struct text next_word(struct text *rest)
{
    while (rest->len && *rest->at == ' ')
        rest->at++, rest->len--;
    const char *end = memchr(rest->at, ' ', rest->len);
    struct text word = {rest->at, end ? (size_t)(end - rest->at) : rest->len};
    rest->at += word.len;
    rest->len -= word.len;
    return word;
}

static struct text without_folder(struct text word)
{
    const char *slash = memrchr(word.at, '/', word.len);
    if (!slash || slash + 1 == word.at + word.len)
        return word;
    return (struct text){slash + 1, word.len - (size_t)(slash + 1 - word.at)};
}

static bool begins_with(struct text t, const char *with)
{
    size_t len = strlen(with);
    return t.len >= len && (!len || !memcmp(t.at, with, len));
}

static bool names_interpreter(struct text word)
{
    struct text base = without_folder(word);
    size_t len = begins_with(base, "python") ? 6 : begins_with(base, "pypy") ? 4 : 0;
    while (len && len < base.len && strchr("0123456789.t-dbg", base.at[len]))
        len++;
    return len && len == base.len;
}

// The program that an interpreter runs: a file, the module of -m, or -c.
static struct text skip_options(struct text *rest)
{
    struct text word = next_word(rest);
    while (word.len > 1 && *word.at == '-') {
        if (word.len == 2 && word.at[1] == 'm')
            return next_word(rest);
        if (word.len == 2 && word.at[1] == 'c')
            return word;
        if (word.len == 2 && strchr("WX", word.at[1]))
            next_word(rest);
        word = next_word(rest);
    }
    return without_folder(word);
}

static void read_command(struct process *p, const char *command)
{
    struct text rest = {command, strlen(command)};
    struct text word = next_word(&rest);
    p->is_spawned = strstr(command, "--multiprocessing-fork");
    p->is_title = word.len > 1 && word.at[word.len - 1] == ':' && rest.len > 1;
    if (p->is_title) {
        p->program = (struct text){word.at, word.len + rest.len};
        return;
    }
    p->program = without_folder(word);
    if (names_interpreter(word)) {
        struct text program = skip_options(&rest);
        if (program.len)
            p->program = program;
    }
    while (rest.len && *rest.at == ' ')
        rest.at++, rest.len--;
    p->arguments = rest;
}

// --- processes beside each other ---

static int compare_words(struct text a, struct text b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int c = len ? memcmp(a.at, b.at, len) : 0; // there may be no text
    return c ? c : (a.len > b.len) - (a.len < b.len);
}

// Up to the colon of a title: master and workers have it in common.
static struct text family_of(const struct process *p)
{
    const char *colon = p->is_title ? memchr(p->program.at, ':', p->program.len) : NULL;
    return (struct text){p->program.at, colon ? (size_t)(colon - p->program.at) : p->program.len};
}

static int order_by_pid(const void *a, const void *b)
{
    const struct process *x = *(struct process *const *)a, *y = *(struct process *const *)b;
    int c = strcmp(x->place, y->place);
    return c ? c : (x->number > y->number) - (x->number < y->number);
}

static int order_by_arguments(const void *a, const void *b)
{
    const struct process *x = *(struct process *const *)a, *y = *(struct process *const *)b;
    int c = compare_words(x->program, y->program);
    return c ? c : compare_words(x->arguments, y->arguments);
}

// What the first and the last of a sorted list have in common, to a whole word, all have in common.
static size_t count_common(struct text a, struct text b)
{
    size_t n = 0, word = 0;
    for (; n < a.len && n < b.len && a.at[n] == b.at[n]; n++)
        if (a.at[n] == ' ' || a.at[n] == '\n')
            word = n + 1;
    return word;
}

// Marks the processes of each program whose arguments are not all the same.
static void mark_differences(struct process **sorted, uint32_t n)
{
    qsort(sorted, n, sizeof(struct process *), order_by_arguments);
    for (uint32_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && !compare_words(sorted[from]->program, sorted[to]->program);)
            to++;
        struct text first = sorted[from]->arguments, last = sorted[to - 1]->arguments;
        size_t common = count_common(first, last);
        for (uint32_t i = from; i < to; i++) {
            sorted[i]->differs = compare_words(first, last);
            sorted[i]->common = common > COMMON_MAX ? common : 0;
        }
    }
}

// The parent, if it runs the same program. sorted: by place and PID.
static struct process *find_parent_process(struct process **sorted, uint32_t n, struct process *of)
{
    struct process like = {.place = of->place, .number = strtoull(of->parent, NULL, 10)};
    struct process *key = &like;
    struct process **found = bsearch(&key, sorted, n, sizeof(struct process *), order_by_pid);
    if (!found || *found == of || !like.number || like.number == of->number)
        return NULL;
    if (of->is_spawned)
        return *found;
    return compare_words(family_of(*found), family_of(of)) ? NULL : *found;
}

// Counts children by their parent, in the order of PIDs; several series of one process count once.
static int number_workers(struct process **sorted, uint32_t n)
{
    _cleanup_free_ uint32_t *children = calloc(n, sizeof *children);
    if (!children)
        return SPY_ERR_NOMEM;
    qsort(sorted, n, sizeof(struct process *), order_by_pid);
    for (uint32_t i = 0; i < n; i++) {
        struct process *p = sorted[i], *before = i ? sorted[i - 1] : NULL;
        struct process *parent = find_parent_process(sorted, n, p);
        if (!parent)
            continue;
        if (p->is_spawned && !parent->is_spawned) {
            p->program = parent->program;
            p->arguments = parent->arguments;
        }
        bool again = before && before->worker && !order_by_pid(&p, &before);
        p->worker = again ? before->worker : ++children[parent->series];
    }
    return 0;
}

static void read_process(const struct spy_profile *p, uint32_t series, struct process *ret)
{
    static const char *const places[] = {SPY_LABEL_CONTAINER_ID, SPY_LABEL_POD_UID, SPY_LABEL_POD,
                                         SPY_LABEL_HOST};
    const char *command = spy_profile_series_label(p, series, SPY_LABEL_COMMAND);
    if (!command)
        command = spy_profile_series_label(p, series, SPY_LABEL_SERVICE);
    *ret = (struct process){.series = series, .place = "", .pid = "", .parent = ""};
    for (size_t i = SPY_COUNT(places); i-- > 0;) {
        const char *place = spy_profile_series_label(p, series, places[i]);
        ret->place = place ? place : ret->place;
    }
    const char *pid = spy_profile_series_label(p, series, SPY_LABEL_PID);
    const char *parent = spy_profile_series_label(p, series, SPY_LABEL_PARENT_PID);
    ret->pod = spy_profile_series_label(p, series, SPY_LABEL_POD);
    ret->pid = pid ? pid : "";
    ret->parent = parent ? parent : "";
    ret->number = strtoull(ret->pid, NULL, 10);
    read_command(ret, command ? command : "");
}

static bool has_several_pods(const struct spy_process_names *names)
{
    const char *first = names->n ? names->list[0].pod : NULL;
    for (uint32_t i = 1; i < names->n; i++) {
        const char *pod = names->list[i].pod;
        if (!pod != !first || (pod && strcmp(pod, first) != 0))
            return true;
    }
    return false;
}

int spy_process_names_new(const struct spy_profile *p, struct spy_process_names **ret)
{
    uint32_t n = spy_profile_n_series(p);
    struct spy_process_names *names = calloc(1, sizeof *names);
    _cleanup_free_ struct process **sorted = calloc(n + 1u, sizeof(struct process *));
    if (names)
        names->list = calloc(n + 1u, sizeof *names->list);
    if (!names || !sorted || !names->list) {
        spy_process_names_free(names);
        return SPY_ERR_NOMEM;
    }
    names->n = n;
    for (uint32_t i = 0; i < n; i++) {
        read_process(p, i, &names->list[i]);
        sorted[i] = &names->list[i];
    }
    names->has_pods = has_several_pods(names);
    int r = n ? number_workers(sorted, n) : 0;
    if (r < 0) {
        spy_process_names_free(names);
        return r;
    }
    mark_differences(sorted, n);
    *ret = names;
    return 0;
}

void spy_process_names_free(struct spy_process_names *n)
{
    if (n)
        free(n->list);
    free(n);
}

// --- a name ---

static void put_words(struct spy_buf *out, const char *before, struct text t, size_t max)
{
    if (!t.len)
        return;
    spy_buf_puts(out, before);
    spy_buf_text(out, t.at, t.len, max);
}

static struct text words_of(const char *s)
{
    return (struct text){s, strlen(s)};
}

int spy_process_names_put(const struct spy_process_names *n, uint32_t series, struct spy_buf *out)
{
    const struct process *p = &n->list[series];
    put_words(out, "", p->program.len ? p->program : words_of("process"), PROGRAM_MAX);
    struct text own = {p->arguments.at + p->common, p->arguments.len - p->common};
    if (p->differs)
        put_words(out, p->common ? " \u2026 " : " ", own, ARGUMENTS_MAX);
    if (p->worker)
        spy_buf_printf(out, p->is_title ? " %u" : " worker %u", p->worker);
    put_words(out, " (", words_of(p->pid), PID_MAX_SHOWN);
    spy_buf_puts(out, *p->pid ? ")" : "");
    if (n->has_pods && p->pod)
        put_words(out, " of ", words_of(p->pod), POD_MAX);
    return out->failed;
}
