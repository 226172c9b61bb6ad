// Native stacks of programs whose stacks are known, and of CPython.
#include "agent/native/native.h"
#include "agent/target/pause.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRAMES = 512 };

struct subject {
    pid_t pid;
    int in, out; // its standard input and output
    struct spy_target *target;
    struct spy_native_cache *cache;
    struct spy_native *native;
    struct spy_pause pause;
    struct spy_native_snapshot snapshot;
    struct spy_native_frame frames[FRAMES];
    int n;
    enum spy_native_end end;
};

static void wait_for_byte(const struct subject *s)
{
    char byte;
    assert_int_equal(read(s->out, &byte, 1), 1);
}

static void start_subject(struct subject *s, const char *const argv[])
{
    int in[2], out[2];
    memset(s, 0, sizeof *s);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], 0);
        dup2(out[1], 1);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    s->in = in[1];
    s->out = out[0];
    wait_for_byte(s);
    assert_int_equal(spy_target_open(s->pid, &s->target, NULL), 0);
    s->cache = spy_native_cache_new(SPY_NATIVE_CACHE_USUAL);
    s->native = spy_native_new(s->cache, s->target);
    assert_non_null(s->native);
}

static void end_subject(struct subject *s)
{
    spy_native_snapshot_done(&s->snapshot);
    spy_native_free(s->native);
    spy_native_cache_free(s->cache);
    spy_target_free(s->target);
    spy_pause_done(&s->pause);
    kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
    close(s->in);
    close(s->out);
}

static void unwind_snapshot(struct subject *s)
{
    s->n = spy_native_unwind(s->native, &s->snapshot, s->frames, FRAMES, &s->end);
    assert_true(s->n > 0);
}

static void take_sample_of(struct subject *s, pid_t tid)
{
    int sig, r = SPY_ERR_AGAIN;
    for (int i = 0; i < 1000 && r == SPY_ERR_AGAIN; i++)
        r = spy_pause_begin(&s->pause, tid, &sig);
    assert_int_equal(r, 0);
    assert_int_equal(spy_native_capture(s->native, tid, &s->snapshot), 0);
    spy_pause_end(&s->pause, tid, sig);
    unwind_snapshot(s);
}

static void take_sample(struct subject *s)
{
    take_sample_of(s, s->pid);
}

// The thread beside the main thread.
static pid_t other_thread(const struct subject *s)
{
    char path[64];
    pid_t found = -1;
    snprintf(path, sizeof path, "/proc/%d/task", (int)s->pid);
    DIR *folder = opendir(path);
    assert_non_null(folder);
    for (struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        pid_t tid = (pid_t)strtol(e->d_name, NULL, 10); // 0: no number
        found = tid && tid != s->pid ? tid : found;
    }
    closedir(folder);
    return found;
}

static const char *name_of(const struct subject *s, int i);

// The thread has just written its byte, and may still be in write().
static void take_sample_in(struct subject *s, const char *function)
{
    for (int i = 0; i < 1000; i++) {
        take_sample(s);
        if (!strcmp(name_of(s, 0), function))
            return;
        usleep(1000);
    }
    fail_msg("the program never runs in %s", function);
}

static struct spy_native_symbol symbol_of(const struct subject *s, int i)
{
    struct spy_native_symbol symbol;
    assert_int_equal(spy_native_symbol(s->native, s->frames[i].call, &symbol), 0);
    return symbol;
}

static const char *name_of(const struct subject *s, int i)
{
    const char *name = symbol_of(s, i).name;
    return name ? name : "?";
}

static void print_stack(const struct subject *s)
{
    for (int i = 0; i < s->n; i++)
        fprintf(stderr, "%2d %#lx %s%s\n", i, (unsigned long)s->frames[i].address, name_of(s, i),
                s->frames[i].by_frame_pointer ? " (frame pointer)" : "");
    fprintf(stderr, "end %d\n", s->end);
}

static int find_frame(const struct subject *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (!strcmp(name_of(s, i), name))
            return i;
    return -1;
}

// The frames from `at` on have exactly these names; "*" is any.
static void check_names(const struct subject *s, int at, const char *const names[], int n)
{
    bool same = at >= 0 && at + n <= s->n;
    for (int i = 0; same && i < n; i++)
        same = !strcmp(names[i], "*") || !strcmp(name_of(s, at + i), names[i]);
    if (!same)
        print_stack(s);
    assert_true(same);
}
#define CHECK_NAMES(s, at, ...)                                                                    \
    check_names(s, at, (const char *const[]){__VA_ARGS__},                                         \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

#define START(s, ...) start_subject(s, (const char *const[]){__VA_ARGS__, NULL})

static void a_chain_without_frame_pointers_is_whole(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "spin");
    for (int i = 0; i < 100; i++) {
        take_sample_in(&s, "spin");
        CHECK_NAMES(&s, 0, "spin", "inner", "middle", "outer", "main");
        assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
        assert_string_equal(name_of(&s, s.n - 1), "_start");
        assert_int_equal(s.n, 8); // two of libc's between main and _start
        for (int k = 0; k < s.n; k++)
            assert_false(s.frames[k].by_frame_pointer || s.frames[k].is_signal);
    }
    assert_string_equal(symbol_of(&s, 0).module, PROGRAM);
    assert_true(symbol_of(&s, 0).build_id_len > 0);
    end_subject(&s);
}

static void a_chain_without_tables_is_unwound_by_frame_pointers(void **state)
{
    struct subject s;
    (void)state;
    START(&s, TABLELESS, "spin");
    take_sample_in(&s, "spin");
    CHECK_NAMES(&s, 0, "spin", "inner", "middle", "outer", "main");
    assert_true(s.frames[0].by_frame_pointer && s.frames[4].by_frame_pointer);
    end_subject(&s);
}

static void the_interrupted_stack_is_below_the_signal_handler(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "fault");
    take_sample_in(&s, "spin");
    CHECK_NAMES(&s, 0, "spin", "on_signal", "*", "fault", "inner", "middle", "outer", "main");
    assert_true(s.frames[2].is_signal);
    assert_true(s.frames[3].address == s.frames[3].call);
    assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
    end_subject(&s);
}

static void check_elsewhere(const char *mode, const char *const names[], int n)
{
    struct subject s;
    START(&s, PROGRAM, mode);
    take_sample_in(&s, "spin");
    take_sample_in(&s, "spin"); // the first showed that the stack continues elsewhere
    check_names(&s, 0, names, n);
    assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
    assert_int_equal(s.snapshot.n_more, 1);
    end_subject(&s);
}
#define CHECK_ELSEWHERE(mode, ...)                                                                 \
    check_elsewhere(mode, (const char *const[]){__VA_ARGS__},                                      \
                    sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void a_stack_that_continues_elsewhere_is_whole(void **state)
{
    (void)state;
    CHECK_ELSEWHERE("elsewhere", "spin", "on_signal", "*", "fault_elsewhere", "inner", "middle",
                    "outer", "main");
    CHECK_ELSEWHERE("other", "spin", "call_on_stack", "change_stack", "inner", "middle", "outer",
                    "main");
}

static void a_coroutine_ends_at_its_bottom(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "coroutine");
    for (int i = 0; i < 3; i++)
        take_sample_in(&s, "spin");
    CHECK_NAMES(&s, 0, "spin", "*");
    assert_int_equal(s.n, 2);
    assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
    end_subject(&s);
}

static void code_written_by_hand_has_a_caller(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "hand");
    take_sample_in(&s, "count_by_hand");
    CHECK_NAMES(&s, 0, "count_by_hand", "run_by_hand", "inner", "middle", "outer", "main");
    assert_true(s.frames[0].by_frame_pointer);
    end_subject(&s);
}

static void the_vdso_has_names_and_a_caller(void **state)
{
    struct subject s;
    int at = -1;
    (void)state;
    START(&s, PROGRAM, "time");
    for (int i = 0; i < 2000 && at < 0; i++) {
        take_sample(&s);
        assert_true(find_frame(&s, "main") > 0);
        for (int k = 0; at < 0 && k < s.n; k++)
            if (!strcmp(symbol_of(&s, k).module, "[vdso]") && k + 6 < s.n)
                at = k;
    }
    assert_true(at >= 0);
    assert_non_null(strstr(name_of(&s, at), "clock_gettime"));
    at = find_frame(&s, "ask_time");
    CHECK_NAMES(&s, at, "ask_time", "inner", "middle", "outer", "main");
    end_subject(&s);
}

static void a_library_opened_later_is_found(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "open", PLUGIN);
    take_sample(&s);
    assert_int_equal(find_frame(&s, "plugin_run"), -1);
    uint32_t changes = spy_native_changes(s.native);
    assert_int_equal(changes, 1); // from nothing
    usleep(150000);               // maps are read again at most ten times a second
    assert_int_equal(write(s.in, "x", 1), 1);
    wait_for_byte(&s);
    take_sample_in(&s, "spin");
    CHECK_NAMES(&s, 0, "spin", "plugin_inner", "plugin_run", "open_library", "inner", "middle",
                "outer", "main");
    assert_string_equal(symbol_of(&s, 1).module, PLUGIN);
    assert_true(spy_native_changes(s.native) > changes);
    end_subject(&s);
}

// Whoever keeps names by address need not ask again.
static void maps_that_stay_are_no_change(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "deep");
    take_sample(&s);
    uint32_t changes = spy_native_changes(s.native);
    usleep(1100000); // maps are read again once a second
    take_sample(&s);
    assert_int_equal(spy_native_changes(s.native), changes);
    end_subject(&s);
}

static void names_are_shown_as_their_language_writes_them(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "names");
    take_sample_in(&s, "spin");
    CHECK_NAMES(&s, 0, "spin", "settle", "mycrate::foo", "core::fmt::write",
                "shapes::Circle<int>::draw(int)", "inner", "middle", "outer", "main");
    end_subject(&s);
}

static void a_stripped_program_is_read_by_its_debug_file(void **state)
{
    struct subject s;
    (void)state;
    START(&s, STRIPPED, "spin");
    take_sample_in(&s, "spin");
    CHECK_NAMES(&s, 0, "spin", "inner", "middle", "outer", "main");
    assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
    for (int i = 0; i < s.n; i++) // by .debug_frame, which only the debug file has
        assert_false(s.frames[i].by_frame_pointer);
    end_subject(&s);
}

static const char *file_of(const struct spy_native_line *line)
{
    const char *slash = line->file ? strrchr(line->file, '/') : NULL;
    return slash ? slash + 1 : "?";
}

static void check_lines(const char *program)
{
    struct subject s;
    struct spy_native_line lines[SPY_NATIVE_LINES_MAX];
    START(&s, program);
    take_sample_in(&s, "has_inlined");
    assert_int_equal(spy_native_lines(s.native, s.frames[0].call, lines), 3);
    assert_string_equal(lines[0].function, "spin_inlined");
    assert_string_equal(file_of(&lines[0]), "inner.h");
    assert_in_range(lines[0].line, 102, 103); // of its loop
    assert_string_equal(lines[1].function, "call_inlined");
    assert_string_equal(file_of(&lines[1]), "between.h");
    assert_int_equal(lines[1].line, 203);
    assert_string_equal(lines[2].function, "has_inlined");
    assert_string_equal(file_of(&lines[2]), "outer.c");
    assert_int_equal(lines[2].line, 303);
    assert_int_equal(spy_native_lines(s.native, s.frames[1].call, lines), 1);
    assert_string_equal(lines[0].function, "main");
    assert_int_equal(lines[0].line, 312);
    assert_int_equal(spy_native_lines(s.native, 0x1000, lines), 0);
    end_subject(&s);
}

static void inlined_calls_and_lines_are_named(void **state)
{
    (void)state;
    check_lines(INLINED);
    check_lines(INLINED_SPLIT);
}

static void a_deep_stack_is_whole_after_some_samples(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "deep");
    take_sample(&s);
    assert_int_equal(s.end, SPY_NATIVE_CUT);
    for (int i = 0; i < 10 && s.end == SPY_NATIVE_CUT; i++)
        take_sample(&s);
    take_sample_in(&s, "spin");
    assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
    assert_int_equal(find_frame(&s, "main"), 1 + 101 + 3);
    for (int i = 1; i < s.n; i++)
        assert_true(s.frames[i].stack > s.frames[i - 1].stack || i == s.n - 1);
    end_subject(&s);
}

static void wait_for_stop(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, __WALL), pid);
    assert_true(WIFSTOPPED(status));
}

// Each instruction of a few thousand is the innermost once: prologues, epilogues, PLT, libc.
static void check_each_instruction(const char *program, int n_steps)
{
    struct subject s;
    START(&s, program, "work");
    assert_int_equal(ptrace(PTRACE_SEIZE, s.pid, 0, 0), 0);
    assert_int_equal(ptrace(PTRACE_INTERRUPT, s.pid, 0, 0), 0);
    wait_for_stop(s.pid);
    for (int i = 0; i < n_steps; i++) {
        assert_int_equal(spy_native_capture(s.native, s.pid, &s.snapshot), 0);
        unwind_snapshot(&s);
        int at = find_frame(&s, "work");
        if (at < 0 || at > 9)
            print_stack(&s);
        assert_in_range(at, 0, 9);
        CHECK_NAMES(&s, at, "work", "inner", "middle", "outer", "main");
        assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
        assert_int_equal(ptrace(PTRACE_SINGLESTEP, s.pid, 0, 0), 0);
        wait_for_stop(s.pid);
    }
    assert_int_equal(ptrace(PTRACE_DETACH, s.pid, 0, 0), 0);
    end_subject(&s);
}

static void every_instruction_has_a_whole_stack(void **state)
{
    (void)state;
    check_each_instruction(PROGRAM, 4000);
}

// libc's qsort calls back into the program with a frame pointer that is its own, so only what needs
// no frame pointer from libc's frames holds: the program's own.
static void an_instruction_without_tables_has_a_whole_stack(void **state)
{
    (void)state;
    check_each_instruction(TABLELESS, 2000);
}

static void skip_without_musl(void)
{
    if (!*MUSL)
        skip();
}

static void musl_without_tables_is_unwound_by_its_instructions(void **state)
{
    (void)state;
    skip_without_musl();
    check_each_instruction(MUSL, 2000);
}

static void a_handler_of_musl_has_what_it_interrupted(void **state)
{
    struct subject s;
    (void)state;
    skip_without_musl();
    START(&s, MUSL, "fault");
    take_sample_in(&s, "spin");
    CHECK_NAMES(&s, 0, "spin", "on_signal", "*", "fault", "inner", "middle", "outer", "main");
    assert_true(s.frames[2].is_signal);
    assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
    end_subject(&s);
}

// The main thread waits in pthread_join.
static void a_thread_of_musl_is_whole(void **state)
{
    struct subject s;
    (void)state;
    skip_without_musl();
    START(&s, MUSL, "thread");
    take_sample_of(&s, other_thread(&s));
    CHECK_NAMES(&s, find_frame(&s, "spin"), "spin", "run_thread");
    assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
    take_sample(&s);
    CHECK_NAMES(&s, find_frame(&s, "run_in_thread"), "run_in_thread", "inner", "middle", "outer",
                "main");
    assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
    end_subject(&s);
}

static void a_thread_in_python_shows_the_interpreter(void **state)
{
    static const char text[] = "import os, functools\n"
                               "def key(n):\n"
                               "    os.write(1, b'r')\n"
                               "    while True: pass\n"
                               "functools.reduce(lambda a, b: sorted([1], key=key), [1, 2])\n";
    struct subject s;
    (void)state;
    START(&s, "/usr/bin/python3", "-I", "-c", text);
    for (int i = 0; i < 50; i++) {
        take_sample(&s);
        int evaluation = find_frame(&s, "_PyEval_EvalFrameDefault");
        int bottom = find_frame(&s, "Py_BytesMain");
        if (s.end != SPY_NATIVE_OUTERMOST || evaluation < 0 || bottom < evaluation)
            print_stack(&s);
        assert_int_equal(s.end, SPY_NATIVE_OUTERMOST);
        assert_in_range(evaluation, 0, s.n - 1);
        assert_in_range(bottom, evaluation + 1, s.n - 1);
    }
    end_subject(&s);
}

static void code_made_at_run_time_is_named_by_the_perf_map(void **state)
{
    struct subject s;
    char path[64];
    (void)state;
    START(&s, PROGRAM, "made");
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)s.pid);
    take_sample_in(&s, "spin");
    CHECK_NAMES(&s, 0, "spin", "made::code", "run_made_code", "inner", "middle", "outer", "main");
    unlink(path);
    assert_true(s.frames[1].by_frame_pointer);
    assert_string_equal(symbol_of(&s, 1).module, "");
    end_subject(&s);
}

static void copy_file(const char *from, const char *to)
{
    char block[65536];
    ssize_t n;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, block, sizeof block)) > 0)
        assert_int_equal(write(out, block, (size_t)n), n);
    close(in);
    close(out);
}

// Whoever may use map_files still reads the deleted file; nobody reads the file in its place.
static void a_file_that_replaced_a_mapped_one_is_not_read(void **state)
{
    struct subject s;
    char path[] = "/tmp/podspy-native-XXXXXX";
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);
    copy_file(PROGRAM, path);
    START(&s, path, "spin");
    unlink(path);
    copy_file(PLUGIN, path);
    for (int i = 0; i < 20; i++) {
        take_sample(&s);
        assert_int_equal(find_frame(&s, "plugin_run"), -1);
    }
    unlink(path);
    const char *name = symbol_of(&s, 0).name;
    assert_true(!name || !strcmp(name, "spin"));
    end_subject(&s);
}

static void names_outlive_the_target(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "spin");
    take_sample_in(&s, "spin");
    kill(s.pid, SIGKILL);
    CHECK_NAMES(&s, 0, "spin", "inner", "middle", "outer", "main");
    end_subject(&s);
}

static void files_over_the_size_of_the_cache_have_no_names(void **state)
{
    struct subject s;
    (void)state;
    START(&s, TABLELESS, "spin");
    spy_native_free(s.native);
    spy_native_cache_free(s.cache);
    s.cache = spy_native_cache_new(1000);
    s.native = spy_native_new(s.cache, s.target);
    take_sample(&s);
    assert_null(symbol_of(&s, 0).name);
    end_subject(&s);
}

static void a_snapshot_of_nonsense_has_one_frame(void **state)
{
    struct subject s;
    (void)state;
    START(&s, PROGRAM, "spin");
    take_sample(&s);
    s.snapshot.regs.r[SPY_REG_PC] = 0x1000;
    unwind_snapshot(&s);
    assert_int_equal(s.n, 1);
    s.snapshot.len = 0;
    unwind_snapshot(&s);
    assert_int_equal(s.n, 1);
    end_subject(&s);
}

RUN(T(a_chain_without_frame_pointers_is_whole),
    T(a_chain_without_tables_is_unwound_by_frame_pointers),
    T(the_interrupted_stack_is_below_the_signal_handler), T(the_vdso_has_names_and_a_caller),
    T(a_stack_that_continues_elsewhere_is_whole), T(a_coroutine_ends_at_its_bottom),
    T(code_written_by_hand_has_a_caller), T(a_library_opened_later_is_found),
    T(maps_that_stay_are_no_change), T(names_are_shown_as_their_language_writes_them),
    T(inlined_calls_and_lines_are_named), T(a_stripped_program_is_read_by_its_debug_file),
    T(a_deep_stack_is_whole_after_some_samples), T(every_instruction_has_a_whole_stack),
    T(an_instruction_without_tables_has_a_whole_stack),
    T(musl_without_tables_is_unwound_by_its_instructions),
    T(a_handler_of_musl_has_what_it_interrupted), T(a_thread_of_musl_is_whole),
    T(a_thread_in_python_shows_the_interpreter), T(code_made_at_run_time_is_named_by_the_perf_map),
    T(a_file_that_replaced_a_mapped_one_is_not_read), T(names_outlive_the_target),
    T(files_over_the_size_of_the_cache_have_no_names), T(a_snapshot_of_nonsense_has_one_frame))
