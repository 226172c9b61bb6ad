#include "shared/formats/process_name.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

enum { PROGRAM_MAX = 80 };

// One word of a command line; what is before it has been read.
static const char *read_word(const char **at, size_t *ret_n)
{
    const char *word = *at + strspn(*at, " ");
    *ret_n = strcspn(word, " ");
    *at = word + *ret_n;
    return word;
}

static const char *skip_folders(const char *word, size_t *n)
{
    const char *slash = memrchr(word, '/', *n);
    if (slash && (size_t)(slash + 1 - word) < *n) {
        *n -= (size_t)(slash + 1 - word);
        return slash + 1;
    }
    return word;
}

static bool runs_scripts(const char *word, size_t n)
{
    size_t name = n > 6 && !strncmp(word, "python", 6)  ? 6
                  : n >= 4 && !strncmp(word, "pypy", 4) ? 4
                                                        : 0;
    if (n == 6 && !strncmp(word, "python", 6))
        return true;
    return name && strspn(word + name, "0123456789.t") >= n - name;
}

// The program that a command line runs: "/usr/bin/python3 -u /usr/bin/gunicorn -w 3" -> "gunicorn".
// A title that a process has set ("gunicorn: worker [shop]") is kept as it is.
static const char *find_program(const char *command, size_t *ret_n)
{
    const char *at = command;
    const char *word = read_word(&at, ret_n);
    if (*ret_n && word[*ret_n - 1] == ':') {
        *ret_n = strlen(word);
        return word;
    }
    word = skip_folders(word, ret_n);
    if (!runs_scripts(word, *ret_n))
        return word;
    for (size_t n;;) {
        const char *next = read_word(&at, &n);
        if (!n || (n == 2 && !strncmp(next, "-c", 2)))
            return word;
        if (*next != '-') {
            *ret_n = n;
            return skip_folders(next, ret_n);
        }
    }
}

static const char *get_series_text(const struct spy_profile *p, uint32_t series, const char *key)
{
    const char *v = spy_profile_series_label(p, series, key);
    return v ? v : "";
}

// --- numbers ---

struct member {
    uint64_t group, pid;
    uint32_t series;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static uint64_t hash_group(const struct spy_profile *p, uint32_t series)
{
    static const char *const keys[] = {SPY_LABEL_NAMESPACE, SPY_LABEL_POD, SPY_LABEL_NODE,
                                       SPY_LABEL_CONTAINER_ID, SPY_LABEL_PARENT_PID};
    uint64_t hash = 0;
    size_t n;
    const char *program = find_program(get_series_text(p, series, SPY_LABEL_COMMAND), &n);
    for (size_t i = 0; i < SPY_COUNT(keys); i++) {
        const char *v = get_series_text(p, series, keys[i]);
        hash = spy_hash_mix(hash, spy_hash_bytes(v, strlen(v)));
    }
    return spy_hash_mix(hash, spy_hash_bytes(program, n));
}

// Series of one process (its problem has changed, or its title) have one number.
static void number_members(const struct member *list, uint32_t n, uint32_t *ret)
{
    for (uint32_t first = 0, end; first < n; first = end) {
        uint32_t number = 1;
        for (end = first; end < n && list[end].group == list[first].group; end++) {
            number += end > first && list[end].pid != list[end - 1].pid;
            ret[list[end].series] = number;
        }
        for (uint32_t i = first; number == 1 && i < end; i++)
            ret[list[i].series] = 0;
    }
}

int spy_process_number(const struct spy_profile *p, uint32_t *ret)
{
    uint32_t n = spy_profile_n_series(p);
    _cleanup_free_ struct member *list = reallocarray(NULL, n + 1u, sizeof *list);
    if (!list)
        return SPY_ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        list[i] = (struct member){.group = hash_group(p, i),
                                  .pid = strtoull(get_series_text(p, i, SPY_LABEL_PID), NULL, 10),
                                  .series = i};
    qsort(list, n, sizeof *list, compare_members);
    number_members(list, n, ret);
    return 0;
}

// --- the name ---

int spy_process_name(const struct spy_profile *p, uint32_t series, uint32_t number,
                     struct spy_buf *out)
{
    size_t n;
    const char *program = find_program(get_series_text(p, series, SPY_LABEL_COMMAND), &n);
    const char *pid = get_series_text(p, series, SPY_LABEL_PID);
    const char *pod = get_series_text(p, series, SPY_LABEL_POD);
    if (n)
        spy_buf_text(out, program, n, PROGRAM_MAX);
    else
        spy_buf_puts(out, "process");
    if (number)
        spy_buf_printf(out, memmem(program, n, "worker", 6) ? " %u" : " worker %u", number);
    spy_buf_puts(out, " (");
    spy_buf_text(out, *pid ? pid : "?", strlen(*pid ? pid : "?"), PROGRAM_MAX);
    spy_buf_puts(out, ") of ");
    return spy_buf_text(out, pod, strlen(pod), PROGRAM_MAX * 4);
}
