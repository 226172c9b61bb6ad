// bench_query.c - what a question costs without HTTP.
//
//     bench_query FOLDER ROUNDS WORKERS PATH?PARAMETERS ...
//
// asks each question of the store in FOLDER (bench_store fill), with so many threads that read (0: all
// at once), and prints the medians of CPU time and of time, and the size of the answer.
#include "collector/query/query.h"
#include "shared/base/clock.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARAMS_MAX = 32, ROUNDS_MAX = 1000 };

static size_t split_question(char *text, struct spy_param *params)
{
    size_t n = 0;
    char *rest = strchr(text, '?');
    if (!rest)
        return 0;
    *rest++ = 0;
    for (char *one; (one = strsep(&rest, "&")) && n < PARAMS_MAX;) {
        char *value = strchr(one, '=');
        if (!value)
            continue;
        *value++ = 0;
        params[n++] = (struct spy_param){.name = one, .value = value};
    }
    return n;
}

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double find_median(double *list, size_t n)
{
    qsort(list, n, sizeof *list, compare_times);
    return list[n / 2];
}

static int ask_rounds(struct spy_store *store, const char *question, size_t rounds,
                      unsigned workers)
{
    char *text = strdup(question);
    struct spy_param params[PARAMS_MAX];
    size_t n = split_question(text, params), len = 0;
    double cpu[ROUNDS_MAX], wall[ROUNDS_MAX];
    int r = 0;
    for (size_t i = 0; i < rounds && r == 0; i++) {
        struct spy_err err = {0};
        struct spy_buf body = SPY_BUF_INIT(128 << 20);
        struct spy_answer a = {.body = &body};
        struct spy_question q = {.store = store,
                                 .params = params,
                                 .n_params = n,
                                 .accept = "",
                                 .memory = (size_t)1 << 30,
                                 .workers = workers,
                                 .now_ns = spy_clock_real_ns()};
        uint64_t then = spy_clock_mono_ns(), cpu_then = spy_clock_cpu_ns();
        r = spy_query_answer(text, &q, &a, &err);
        wall[i] = (double)(spy_clock_mono_ns() - then) / 1e6;
        cpu[i] = (double)(spy_clock_cpu_ns() - cpu_then) / 1e6;
        len = body.len;
        if (r < 0)
            fprintf(stderr, "bench_query: %s: %s; %s\n", question, err.msg, a.hint);
        spy_buf_free(&body);
    }
    if (r == 0)
        printf("%-72s cpu %8.1f ms  time %8.1f ms  %9zu bytes\n", question,
               find_median(cpu, rounds), find_median(wall, rounds), len);
    free(text);
    return r;
}

int main(int argc, char **argv)
{
    struct spy_err err = {0};
    struct spy_store *store = NULL;
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    int r = 0;
    if (argc < 5 || !rounds || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_query FOLDER ROUNDS WORKERS PATH?PARAMETERS ...\n");
        return 2;
    }
    if (spy_store_open("sqlite", argv[1], 1000000, SPY_STORE_MEMORY_MAX, &store, &err) < 0) {
        fprintf(stderr, "bench_query: %s\n", err.msg);
        return 1;
    }
    for (int i = 4; i < argc; i++)
        r |= ask_rounds(store, argv[i], rounds, (unsigned)strtoul(argv[3], NULL, 10));
    spy_store_close(store);
    return r < 0;
}
