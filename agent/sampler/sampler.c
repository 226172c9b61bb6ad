#include "agent/sampler/sampler.h"
#include "agent/sampler/blame.h"
#include "agent/sampler/budget.h"
#include "agent/sampler/follow.h"
#include "agent/sampler/idle.h"
#include "agent/sampler/intern.h"
#include "agent/sampler/kernel.h"
#include "agent/sampler/label_set.h"
#include "agent/sampler/mixed.h"
#include "agent/sampler/native_threads.h"
#include "agent/sampler/priority.h"
#include "agent/sampler/schedule.h"
#include "agent/target/switches.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    COMMAND_MAX = 4096,
    PROFILE_BYTES = 32 << 20,
    FIRST_RETRY_NS = 20000000, // an interpreter takes some tens of milliseconds to start
    SLOW_NS = 2000000,         // a process whose rounds take longer
    SLOW_SHARE = 5,            // gets a fifth of the time
    PATIENCE_NS = 20000000,    // for a thread that is to be held but has no CPU
    FEW = 4,                   // so few processes or threads are cheap to check every round
};
#define LAST_RETRY_NS (5 * SPY_NS_PER_SEC)

struct process {
    pid_t pid;
    uint64_t start_time;
    uint32_t rate;
    enum spy_pausing pausing;
    enum spy_natives natives;
    struct spy_mixed *mixed;            // NULL: no native frames
    struct spy_native_threads *threads; // that Python does not know; NULL: no native frames
    bool hung;                          // a read of it did not end: it is left alone
    bool optional;
    struct spy_label_set labels;
    struct spy_target *target;
    struct spy_python *python;
    char problem[240];
    int problem_code;
    bool leaves_out; // some of its threads are left out, and its series says so
    bool ended;
    unsigned execs;
    uint64_t retry_ns;
    // The current window.
    uint32_t series, epoch;             // the profile's epoch that series is valid in; 0: none
    struct spy_blame_series blame;      // of this window
    uint64_t window_start, window_mono; // one instant on two clocks; 0: not begun
    uint64_t rounds;                    // with those that a check stands for (idle.h)
    uint64_t checks, took_ns;           // rounds really run, and how long they took
    uint64_t last_checks, last_took_ns; // of the last window
    uint32_t every, turn;               // every nth of its rounds is run
    struct spy_idle idle;
    struct spy_py_wish wish; // for its next round
    struct spy_quality quality;
    struct spy_kernel *kernel; // NULL: no memory
    // The latest round that sampled the threads, the epoch of its ids, and the number of rounds
    // since in which nothing had run: they are counted together.
    struct spy_seen_thread *counted;
    size_t n_counted, cap_counted;
    size_t n_waits; // part of n_counted: those that waited for a GIL
    uint32_t counted_epoch;
    uint32_t repeats;
};

struct spy_sampler {
    struct spy_sampler_options options;
    struct spy_schedule schedule; // of all processes
    struct spy_profile *profile;
    uint32_t epoch;          // rises when the profile is replaced
    uint32_t outside;        // stack: "[no Python code]"
    uint32_t changing;       // frame: "[changing]", called by the proven part of a stack
    uint32_t unseen;         // stack: "[GIL holder not seen]"
    struct spy_mixer *mixer; // NULL: no native frames were asked for yet
    struct spy_pause pause;
    struct spy_follow follow;
    struct spy_priority priority; // of the thread that runs the rounds
    struct spy_own_switches self; // the same thread
    uint64_t began;               // when the latest round began
    bool hung;                    // it did not end
    bool unpaced;                 // some process is sampled as fast as possible
    struct spy_budget budget;
    struct spy_sampler_totals totals;
    struct spy_limits *limits;           // NULL: no memory
    struct spy_account account, earlier; // of all closed windows; without the one being read
};

// --- the profile ---

static int renew_profile(struct spy_sampler *s)
{
    struct spy_profile *p = spy_profile_new();
    uint32_t frame, stack, changing, unseen, unseen_stack;
    if (!p)
        return SPY_ERR_NOMEM;
    if (spy_intern_marker(p, "[no Python code]", &frame) < 0 ||
        spy_profile_stack(p, 0, frame, &stack) < 0 ||
        spy_intern_marker(p, "[changing]", &changing) < 0 ||
        spy_intern_marker(p, "[GIL holder not seen]", &unseen) < 0 ||
        spy_profile_stack(p, 0, unseen, &unseen_stack) < 0) {
        spy_profile_free(p);
        return SPY_ERR_NOMEM;
    }
    spy_profile_free(s->profile);
    s->profile = p;
    s->outside = stack;
    s->changing = changing;
    s->unseen = unseen_stack;
    s->epoch++;
    return 0;
}

int spy_sampler_new(const struct spy_sampler_options *options, struct spy_sampler **ret,
                    struct spy_err *err)
{
    struct spy_sampler *s = calloc(1, sizeof *s);
    if (!s || renew_profile(s) < 0) {
        free(s);
        return spy_err_nomem(err);
    }
    s->options = *options;
    if (!s->options.profile_bytes)
        s->options.profile_bytes = PROFILE_BYTES;
    if (!s->options.native_bytes)
        s->options.native_bytes = SPY_NATIVE_CACHE_USUAL;
    spy_schedule_init(&s->schedule);
    spy_priority_init(&s->priority);
    spy_own_switches_init(&s->self);
    spy_follow_init(&s->follow);
    spy_budget_init(&s->budget, options->budget_percent);
    s->limits = spy_limits_new();
    *ret = s;
    return 0;
}

static void detach_process(struct process *p)
{
    spy_native_threads_free(p->threads);
    p->threads = NULL;
    spy_mixed_free(p->mixed);
    p->mixed = NULL;
    spy_python_free(p->python);
    spy_target_free(p->target);
    p->python = NULL;
    p->target = NULL;
    p->counted_epoch = 0;
    p->leaves_out = false;
    p->epoch = 0; // its next interpreter may be another version, which is another series
    spy_idle_init(&p->idle);
    spy_kernel_forget(p->kernel);
}

static void process_free(struct process *p)
{
    detach_process(p);
    spy_kernel_free(p->kernel);
    free(p->counted);
    spy_label_set_free(&p->labels);
    free(p);
}

static struct process *process_at(const struct spy_sampler *s, size_t i)
{
    return s->schedule.heap[i].who;
}

void spy_sampler_free(struct spy_sampler *s)
{
    if (!s)
        return;
    spy_pause_reap(&s->pause);
    spy_pause_done(&s->pause);
    for (size_t i = 0; i < s->schedule.n; i++)
        process_free(process_at(s, i));
    spy_schedule_free(&s->schedule);
    spy_mixer_free(s->mixer);
    spy_limits_free(s->limits);
    spy_profile_free(s->profile);
    spy_own_switches_done(&s->self);
    free(s);
}

// --- the list of processes ---

static struct process *find_process(const struct spy_sampler *s, pid_t pid)
{
    for (size_t i = 0; i < s->schedule.n; i++)
        if (process_at(s, i)->pid == pid)
            return process_at(s, i);
    return NULL;
}

int spy_sampler_add(struct spy_sampler *s, const struct spy_sampler_process *process,
                    struct spy_err *err)
{
    spy_sampler_remove(s, process->pid);
    struct process *p = calloc(1, sizeof *p);
    if (!p)
        return spy_err_nomem(err);
    int r = 0;
    p->pid = process->pid;
    p->start_time = process->start_time;
    p->rate = process->rate;
    s->unpaced = s->unpaced || !p->rate;
    p->pausing = process->pausing;
    p->natives = process->pausing == SPY_PAUSE_NEVER ? SPY_NATIVES_NONE : process->natives;
    p->wish.cpu = -1;
    spy_idle_init(&p->idle);
    p->hung = process->hung;
    p->optional = process->optional;
    p->kernel = spy_kernel_new();
    for (size_t i = 0; i < process->n_labels && r == 0; i++)
        r = spy_label_set_put(&p->labels, process->labels[i][0], process->labels[i][1]);
    if (r < 0) {
        process_free(p);
        return spy_err_set(err, r, 0, "cannot keep the labels of process %d", (int)process->pid);
    }
    r = spy_schedule_add(&s->schedule, p, p->rate, spy_clock_mono_ns(), SPY_SAMPLER_PROCESSES_MAX);
    if (r < 0) {
        process_free(p);
        return r == SPY_ERR_LIMIT ? spy_err_set(err, r, 0, "cannot sample more than %d processes",
                                                SPY_SAMPLER_PROCESSES_MAX)
                                  : spy_err_set(err, r, 0, "out of memory");
    }
    return 0;
}

static void flush_quality(struct spy_sampler *s, struct process *p);

void spy_sampler_remove(struct spy_sampler *s, pid_t pid)
{
    for (size_t i = 0; i < s->schedule.n; i++) {
        struct process *p = process_at(s, i);
        if (p->pid != pid)
            continue;
        flush_quality(s, p);
        process_free(p);
        spy_schedule_remove(&s->schedule, i);
        return;
    }
}

enum spy_priority_kind spy_sampler_priority(const struct spy_sampler *s)
{
    return s->priority.kind;
}

size_t spy_sampler_n_processes(const struct spy_sampler *s)
{
    return s->schedule.n;
}

const char *spy_sampler_problem(const struct spy_sampler *s, pid_t pid)
{
    const struct process *p = find_process(s, pid);
    return p && p->problem[0] ? p->problem : NULL;
}

int spy_sampler_problem_code(const struct spy_sampler *s, pid_t pid)
{
    const struct process *p = find_process(s, pid);
    return p && p->problem[0] ? p->problem_code : 0;
}

bool spy_sampler_attached(const struct spy_sampler *s, pid_t pid)
{
    const struct process *p = find_process(s, pid);
    return p && p->python;
}

bool spy_sampler_ended(const struct spy_sampler *s, pid_t pid)
{
    const struct process *p = find_process(s, pid);
    return !p || p->ended;
}

unsigned spy_sampler_execs(const struct spy_sampler *s, pid_t pid)
{
    const struct process *p = find_process(s, pid);
    return p ? p->execs : 0;
}

uint64_t spy_sampler_start_time(const struct spy_sampler *s, pid_t pid)
{
    const struct process *p = find_process(s, pid);
    return p ? p->start_time : 0;
}

struct spy_python *spy_sampler_python(const struct spy_sampler *s, pid_t pid)
{
    const struct process *p = find_process(s, pid);
    return p ? p->python : NULL;
}

// --- windows ---

static int intern_series(struct spy_sampler *s, struct process *p)
{
    if (p->epoch == s->epoch)
        return 0;
    int r = spy_label_set_intern(&p->labels, s->profile, NULL, &p->series);
    if (r == 0)
        p->epoch = s->epoch;
    return r;
}

static void begin_window(const struct spy_sampler *s, struct process *p)
{
    if (p->window_start)
        return;
    // Taken from the last window: within one window, all rounds stand for the same time.
    uint64_t took = p->last_checks ? p->last_took_ns / p->last_checks : 0;
    bool slow = took > SLOW_NS && s->schedule.n > 1 && p->rate;
    p->every = slow ? (uint32_t)(took * SLOW_SHARE * p->rate / SPY_NS_PER_SEC) : 1;
    p->window_start = spy_clock_real_ns();
    p->window_mono = spy_clock_mono_ns();
    if (p->python && !spy_kernel_has_begun(p->kernel))
        spy_kernel_begin(p->kernel, p->target, s->limits, p->window_mono);
}

// What the kernel counted in this part of a window. If a sum is not known of one part, it is not
// known of the whole window. A part without samples does not count.
static struct spy_account take_account(const struct spy_sampler *s, struct spy_series *e,
                                       const struct process *p, uint64_t end_mono,
                                       uint64_t duration)
{
    struct spy_account part = {0}, *all = &e->account;
    if (!s->hung) // then this is another thread
        spy_kernel_take(p->kernel, p->target, s->limits, end_mono, duration, &part);
    if (!p->rounds || s->options.blame == SPY_BLAME_ALONE)
        return (struct spy_account){0};
    for (int c = 0; e->period_ns && c < SPY_COUNTERS; c++)
        if (!spy_account_knows(all, c) || !spy_account_knows(&part, c))
            all->counted[c] = part.counted[c] = (struct spy_counted){0};
    return part;
}

// Adds this part of the window to its series. The duration is taken from CLOCK_MONOTONIC, because
// sample weights derive from it.
static void add_part(const struct spy_sampler *s, struct spy_series *e, struct process *p)
{
    uint64_t end_mono = s->hung ? s->began : spy_clock_mono_ns();
    uint64_t duration = end_mono > p->window_mono ? end_mono - p->window_mono : 0;
    struct spy_series part = {
        // Parts follow each other; a clock that was set back must not stretch the window.
        .start_ns = p->window_start > e->start_ns ? p->window_start : e->start_ns,
        .duration_ns = duration,
        .period_ns = p->rounds ? duration / p->rounds : 0,
        .quality = p->quality,
        .account = take_account(s, e, p, end_mono, duration),
    };
    spy_series_unite(e, &part);
    spy_blame_end_part(s->profile, s->epoch, &part, &p->blame);
}

static void note_counted(struct spy_sampler *s, struct process *p, unsigned how, uint64_t n)
{
    uint64_t paused = how == SPY_PY_PAUSED ? n : 0, clean = how == SPY_PY_CLEAN ? n : 0;
    uint64_t salvaged = n - paused - clean;
    p->quality.paused += paused;
    p->quality.clean += clean;
    p->quality.salvaged += salvaged;
    s->totals.samples += n;
    s->totals.paused += paused;
    s->totals.clean += clean;
    s->totals.salvaged += salvaged;
}

static void note_failed(struct spy_sampler *s, struct process *p, uint64_t n)
{
    p->quality.failed += n;
    s->totals.failed += n;
}

// The profile is full (SPY_ERR_LIMIT), or there is no memory.
static void note_no_room(struct spy_sampler *s, struct process *p, int r, uint64_t n)
{
    s->totals.no_room += r == SPY_ERR_LIMIT ? n : 0;
    note_failed(s, p, n);
}

static void note_late(struct spy_sampler *s, struct process *p, uint64_t n)
{
    p->quality.late += n;
    s->totals.late += n;
}

static int count_samples(struct spy_sampler *s, const struct process *p,
                         const struct spy_seen_thread *c, uint64_t n)
{
    if (s->options.blame == SPY_BLAME_ALONE)
        return 0;
    int r = spy_profile_add(s->profile, p->series, c->stack, c->thread, c->state, n, 0);
    if (r == 0 && s->options.timeline)
        spy_timeline_add(s->options.timeline, p->series, c->stack, c->thread, c->state, n,
                         s->began);
    return r;
}

// The threads in p->counted stood for n rounds.
static void count_blame(struct spy_sampler *s, struct process *p, uint64_t n)
{
    const struct spy_blame_to to = {.profile = s->profile,
                                    .epoch = s->epoch,
                                    .unseen = s->unseen,
                                    .labels = &p->labels,
                                    .timeline = s->options.timeline,
                                    .now_ns = s->began};
    struct spy_blamed got = {0};
    if (!p->n_waits || s->options.blame == SPY_BLAME_NOBODY)
        return;
    int r = spy_blame_count(&to, p->counted, p->n_counted, n, &p->blame, &got);
    s->totals.waits += got.waits;
    s->totals.unseen += got.unseen;
    if (got.lost)
        note_no_room(s, p, r, got.lost);
}

// Counts the rounds in which nothing had run since the latest that sampled the threads. Called
// before a thread's next sample is counted, so that they are in its timeline where they belong.
static void count_repeats(struct spy_sampler *s, struct process *p)
{
    if (p->repeats)
        count_blame(s, p, p->repeats);
    for (size_t i = 0; i < p->n_counted && p->repeats; i++) {
        const struct spy_seen_thread *c = &p->counted[i];
        if (count_samples(s, p, c, p->repeats) == 0)
            note_counted(s, p, c->how, p->repeats);
        else
            note_failed(s, p, p->repeats);
    }
    p->repeats = 0;
}

static bool has_counted(const struct process *p)
{
    return p->rounds || p->quality.failed || p->quality.late || (p->optional && !p->python);
}

// Moves what the process counted into its series. One window of a series may get several parts:
// after an exec, or from a new process with the same labels.
static void flush_quality(struct spy_sampler *s, struct process *p)
{
    count_repeats(s, p);
    if (p->window_start && has_counted(p) && intern_series(s, p) == 0)
        add_part(s, spy_profile_series_at(s->profile, p->series), p);
    p->last_checks = p->checks;
    p->last_took_ns = p->took_ns;
    p->window_start = p->rounds = p->checks = p->took_ns = 0;
    p->quality = (struct spy_quality){0};
}

struct spy_profile *spy_sampler_close(struct spy_sampler *s)
{
    for (size_t i = 0; i < s->schedule.n; i++) {
        struct process *p = process_at(s, i);
        if (p->python && p->window_start && !has_counted(p))
            continue; // no round yet: its window continues
        flush_quality(s, p);
        // The time until its next round belongs to the next window, however far that is.
        if (p->python)
            begin_window(s, p);
    }
    spy_profile_weigh(s->profile);
    s->account = s->earlier;
    for (uint32_t i = 0; i < spy_profile_n_series(s->profile); i++)
        spy_account_unite(&s->account, &spy_profile_series_get(s->profile, i)->account);
    return s->profile;
}

void spy_sampler_reset(struct spy_sampler *s)
{
    s->earlier = s->account;
    if (spy_profile_memory(s->profile) > s->options.profile_bytes)
        renew_profile(s); // without memory, the old one stays in use
    spy_profile_reset_window(s->profile);
}

void spy_sampler_set_hung(struct spy_sampler *s)
{
    s->hung = true;
}

struct spy_sampler_totals spy_sampler_totals(struct spy_sampler *s)
{
    for (size_t i = 0; i < s->schedule.n; i++)
        count_repeats(s, process_at(s, i));
    return s->totals;
}

const struct spy_account *spy_sampler_account(const struct spy_sampler *s)
{
    return &s->account;
}

// --- one round ---

// The pid may have been given to another process since this one was found.
static int check_start_time(struct process *p, struct spy_err *err)
{
    uint64_t start_time;
    if (!p->start_time)
        return 0;
    int r = spy_target_start_time(p->target, &start_time);
    if (r == 0 && start_time == p->start_time)
        return 0;
    p->ended = true;
    return spy_err_set(err, SPY_ERR_GONE, 0, "process %d has ended%s", (int)p->pid,
                       r == 0 ? ", and its pid is another's" : "");
}

static int find_python(struct spy_sampler *s, struct process *p, struct spy_err *err)
{
    spy_hung_mark_begin(s->options.mark, p->pid);
    int r = spy_python_attach(p->target, &p->python, err);
    if (r == 0)
        r = spy_python_refresh(p->python);
    spy_hung_mark_end(s->options.mark);
    return r;
}

// A real-time thread that never sleeps between rounds would have a CPU to itself.
static void raise_priority(struct spy_sampler *s)
{
    if (!s->unpaced || s->priority.kind != SPY_PRIORITY_FIFO)
        spy_priority_raise(&s->priority);
}

// The process may have called exec since its labels were made: a launcher became the interpreter,
// or one program another. Done after the interpreter was found, because a process has no arguments
// for a moment during exec.
static void renew_command(struct spy_sampler *s, struct process *p)
{
    char command[COMMAND_MAX] = "";
    if (!s->options.command_of)
        return;
    spy_hung_mark_begin(s->options.mark, p->pid); // the arguments lie in its memory
    s->options.command_of(p->pid, command, sizeof command);
    spy_hung_mark_end(s->options.mark);
    if (!*command || !strcmp(command, spy_label_set_get(&p->labels, SPY_LABEL_COMMAND)))
        return;
    flush_quality(s, p);
    spy_label_set_put(&p->labels, SPY_LABEL_COMMAND, command);
    p->epoch = 0;
}

static int prepare_natives(struct spy_sampler *s, struct process *p, struct spy_err *err)
{
    if (!p->natives)
        return 0;
    if (!s->mixer)
        s->mixer = spy_mixer_new(s->options.native_bytes);
    if (s->mixer)
        p->mixed = spy_mixed_new(s->mixer, p->target, p->python, s->options.inlines);
    return p->mixed ? 0 : spy_err_nomem(err);
}

static int attach_python(struct spy_sampler *s, struct process *p)
{
    struct spy_err err = {0};
    int r = spy_target_open(p->pid, &p->target, &err);
    if (r == 0)
        r = check_start_time(p, &err);
    if (r == 0 && p->hung)
        r = spy_err_set(&err, SPY_ERR_AGAIN, 0,
                        "a read of the memory of process %d did not end (a file system that hangs, "
                        "or userfaultfd): it is left alone until it is restarted",
                        (int)p->pid);
    if (r == 0 && p->natives && !(p->threads = spy_native_threads_new(p->target)))
        r = spy_err_nomem(&err);
    if (r == 0)
        r = find_python(s, p, &err);
    if (r == 0 && !spy_python_n_threads(p->python))
        r = spy_err_set(&err, SPY_ERR_AGAIN, 0, "the Python in process %d has no thread yet",
                        (int)p->pid);
    if (!p->hung)
        renew_command(s, p);
    if (r == 0)
        r = prepare_natives(s, p, &err);
    if (r == 0) {
        const struct spy_py_runtime *rt = spy_python_runtime(p->python);
        flush_quality(s,
                      p); // failures up to here, and their time, belong to the series that says why
        p->epoch = 0;
        spy_label_set_drop(&p->labels, SPY_LABEL_PROBLEM);
        spy_label_set_put(&p->labels, SPY_LABEL_RUNTIME, "cpython");
        spy_label_set_put(&p->labels, SPY_LABEL_RUNTIME_VERSION, rt->version);
        p->problem[0] = 0;
        p->retry_ns = 0;
        p->window_start = 0; // failed tries keep their count, but not their time
        return 0;
    }
    p->ended = p->ended || (p->target && !spy_target_alive(p->target)) ||
               (!p->target && r == SPY_ERR_GONE);
    detach_process(p);
    p->problem_code = r;
    p->retry_ns = p->retry_ns ? p->retry_ns * 2 : FIRST_RETRY_NS;
    p->retry_ns = p->retry_ns < LAST_RETRY_NS ? p->retry_ns : LAST_RETRY_NS;
    if (strcmp(p->problem, err.msg)) { // from here on, failures have this reason
        flush_quality(s, p);
        snprintf(p->problem, sizeof p->problem, "%s", err.msg[0] ? err.msg : spy_code_name(r));
        spy_label_set_put(&p->labels, SPY_LABEL_PROBLEM, p->problem);
        p->epoch = 0;
    }
    begin_window(s, p);
    if (!p->optional)
        note_failed(s, p, 1);
    return r;
}

// Finding an interpreter takes long, and no timer waits for it.
static int attach_as_ordinary(struct spy_sampler *s, struct process *p)
{
    spy_follow_leave(&s->follow);
    spy_priority_lower(&s->priority);
    int r = attach_python(s, p);
    raise_priority(s);
    return r;
}

static struct spy_intern interner_of(const struct spy_sampler *s, const struct process *p)
{
    return (struct spy_intern){.profile = s->profile,
                               .epoch = s->epoch,
                               .outside = s->outside,
                               .codes = spy_python_codes(p->python),
                               .packages = s->options.packages,
                               .mark = s->options.mark,
                               .target = p->target};
}

// The words kept with a thread: the epoch and the number of changes of its name, its id in the
// profile, the id of its last stack, and how many frames that has or NO_STACK.
enum { USER_EPOCH, USER_THREAD, USER_STACK, USER_FRAMES };
#define NO_STACK UINT64_MAX
// Instead of the number of frames: the stack has native frames, of a thread that ran, or waited.
#define MIXED_STACK         (UINT64_MAX - 1)
#define MIXED_WAITING_STACK (UINT64_MAX - 2)

static int intern_thread(struct spy_sampler *s, struct spy_py_thread *th)
{
    uint64_t *user = spy_py_thread_user(th);
    uint32_t name, id;
    uint64_t epoch = (uint64_t)spy_py_thread_name_changes(th) << 32 | s->epoch;
    if (user[USER_EPOCH] == epoch)
        return 0;
    int r = spy_profile_cstr(s->profile, spy_py_thread_name(th), &name);
    if (r == 0)
        r = spy_profile_thread(s->profile, (uint64_t)spy_py_thread_tid(th), name, &id);
    if (r < 0)
        return r;
    user[USER_EPOCH] = epoch;
    user[USER_THREAD] = id;
    user[USER_FRAMES] = NO_STACK;
    return 0;
}

// True if the thread waits as it did when its native frames were merged.
static bool has_mixed_wait(struct spy_py_thread *th, const struct spy_py_stack *st)
{
    return !st->running && !st->runnable && st->unchanged &&
           spy_py_thread_user(th)[USER_FRAMES] == MIXED_WAITING_STACK;
}

static void note_unmerged(struct spy_sampler *s, int r, uint64_t rounds)
{
    s->totals.unmerged += r < 0 ? rounds : 0;
    s->totals.not_held += r == SPY_ERR_AGAIN || r == SPY_ERR_DENIED ? rounds : 0;
    s->totals.no_loop += r == SPY_ERR_NOTFOUND ? rounds : 0;
}

// True if the thread's stack in the profile has its native frames now. What cannot be merged is
// counted, and shown by its Python frames.
static bool intern_mixed_stack(struct spy_sampler *s, struct process *p, struct spy_py_thread *th,
                               const struct spy_py_stack *st)
{
    const struct spy_mixed_frame *frames;
    uint64_t *user = spy_py_thread_user(th);
    bool waits = !st->running && !st->runnable;
    uint32_t stack;
    if (!p->mixed || (!st->running && p->natives != SPY_NATIVES_ALL))
        return false;
    s->totals.native += p->idle.rounds;
    if (has_mixed_wait(th, st))
        return true;
    struct spy_intern in = interner_of(s, p);
    int n = SPY_ERR_AGAIN;
    if (st->how == SPY_PY_PAUSED)
        n = spy_mixed_merge(p->mixed, p->python, th, st, &frames);
    int r = n < 0 ? n : spy_intern_mixed(&in, p->mixed, st, frames, n, &stack);
    if (r == 0) {
        user[USER_STACK] = stack;
        user[USER_FRAMES] = waits ? MIXED_WAITING_STACK : MIXED_STACK;
    }
    note_unmerged(s, r, p->idle.rounds);
    return r == 0;
}

static int count_thread_stack(struct spy_sampler *s, struct process *p, struct spy_py_thread *th,
                              const struct spy_py_stack *st)
{
    uint64_t *user = spy_py_thread_user(th);
    struct spy_intern in = interner_of(s, p);
    int r = intern_thread(s, th);
    bool mixed = r == 0 && intern_mixed_stack(s, p, th, st);
    if (r == 0 && !mixed && !(st->unchanged && user[USER_FRAMES] == st->n)) {
        uint32_t stack = 0;
        size_t same = user[USER_FRAMES] >= MIXED_WAITING_STACK ? 0 : st->n_same;
        if (same)
            stack = spy_intern_outer(&in, (uint32_t)user[USER_STACK], user[USER_FRAMES], same);
        r = spy_intern_stack(&in, st, stack, same, &stack);
        user[USER_STACK] = stack;
        user[USER_FRAMES] = r == 0 ? st->n : NO_STACK;
    }
    uint32_t shown = (uint32_t)user[USER_STACK];
    if (r == 0 && st->how == SPY_PY_SALVAGED)
        r = spy_profile_stack(s->profile, shown, s->changing, &shown);
    struct spy_seen_thread c = {spy_py_thread_gil(th), shown, (uint32_t)user[USER_THREAD],
                                (uint16_t)spy_intern_state(st), (uint16_t)st->how};
    if (r == 0)
        r = count_samples(s, p, &c, p->idle.rounds);
    if (r == 0) {
        p->counted[p->n_counted++] = c;
        p->n_waits += st->waits_gil;
    }
    return r;
}

// Samples the thread; where native frames are wanted, while it is held. A thread that waits is held
// only if its last stack will not do.
static int sample_stack(struct spy_sampler *s, struct process *p, struct spy_py_thread *th,
                        struct spy_py_options *o, struct spy_py_stack *ret)
{
    s->pause.patience_ns = p->mixed && s->schedule.n <= FEW ? PATIENCE_NS : 0;
    if (!p->mixed)
        return spy_python_sample(p->python, th, o, ret);
    o->pausing = SPY_PAUSE_ALWAYS;
    o->hold = spy_mixed_hold(p->mixed);
    spy_mixed_prepare(p->mixed, p->natives == SPY_NATIVES_ALL, false);
    int r = spy_python_sample(p->python, th, o, ret);
    if (r < 0 || ret->running || ret->runnable || p->natives != SPY_NATIVES_ALL ||
        has_mixed_wait(th, ret))
        return r;
    spy_py_thread_user(th)[USER_FRAMES] = NO_STACK; // n_same counts from the stack just given
    spy_mixed_prepare(p->mixed, true, true);
    return spy_python_sample(p->python, th, o, ret);
}

// A thread that stopped for an earlier round, too late for it, would count as waiting.
static void release_strays(struct spy_sampler *s)
{
    if (s->pause.n_strays)
        spy_pause_reap(&s->pause);
}

static void sample_thread(struct spy_sampler *s, struct process *p, struct spy_py_thread *th)
{
    struct spy_py_options o = {.pausing = p->pausing,
                               .pause = &s->pause,
                               .self = &s->self,
                               .follows = s->follow.is_on,
                               .cpu = spy_follow_cpu(&s->follow)};
    struct spy_py_stack st;
    release_strays(s);
    spy_hung_mark_begin(s->options.mark, p->pid);
    int r = sample_stack(s, p, th, &o, &st);
    spy_hung_mark_end(s->options.mark);
    if (r == SPY_ERR_GONE)
        return; // the thread has ended: there was nothing to sample
    if (r < 0) {
        p->counted_epoch = 0; // the next round samples it again
        note_failed(s, p, p->idle.rounds);
        return;
    }
    r = count_thread_stack(s, p, th, &st);
    if (r < 0) {
        p->counted_epoch = 0;
        note_no_room(s, p, r, p->idle.rounds);
        return;
    }
    note_counted(s, p, st.how, p->idle.rounds);
}

// Samples a thread that Python does not know.
static void sample_native_thread(struct spy_sampler *s, struct process *p, size_t i)
{
    struct spy_intern in = interner_of(s, p);
    struct spy_native_sample got;
    release_strays(s);
    s->pause.patience_ns = s->schedule.n <= FEW ? PATIENCE_NS : 0;
    int r = spy_native_threads_sample(p->threads, i, &in, p->mixed, &s->pause, &s->self,
                                      p->natives == SPY_NATIVES_ALL, &got);
    if (r == SPY_ERR_GONE)
        return;
    s->totals.native += got.is_wanted ? p->idle.rounds : 0;
    note_unmerged(s, got.unmerged, p->idle.rounds);
    struct spy_seen_thread c = {0, got.stack, got.thread, (uint16_t)got.state, SPY_PY_PAUSED};
    if (r == 0)
        r = count_samples(s, p, &c, p->idle.rounds);
    if (r == 0) {
        p->counted[p->n_counted++] = c;
        note_counted(s, p, c.how, p->idle.rounds);
    } else {
        p->counted_epoch = 0;
        note_no_room(s, p, r, p->idle.rounds);
    }
}

static void count_left_out(struct spy_sampler *s, struct process *p)
{
    size_t n = spy_python_n_left_out(p->python);
    if (!n != !p->leaves_out) { // from here on, samples belong to another series
        char text[160];
        snprintf(text, sizeof text,
                 "it has more than %d threads: the others, those that have not run for the "
                 "longest, are left out and counted as failed",
                 SPY_PY_THREADS_MAX);
        flush_quality(s, p);
        p->leaves_out = n;
        p->epoch = 0;
        if (!n)
            spy_label_set_drop(&p->labels, SPY_LABEL_PROBLEM);
        else
            spy_label_set_put(&p->labels, SPY_LABEL_PROBLEM, text);
    }
    n *= p->idle.rounds;
    note_failed(s, p, n);
    s->totals.left_out += n;
}

// A process whose rounds take long (it has thousands of threads, or its memory is swapped out)
// leaves time to the others and runs only every nth of its rounds. Which rounds it skips does not
// depend on what the process is doing.
static bool skips_round(struct spy_sampler *s, struct process *p)
{
    if (!p->rounds || p->every < 2 || ++p->turn % p->every == 0)
        return false;
    note_late(s, p, p->idle.rounds);
    return true;
}

static void bound_window(struct spy_sampler *s)
{
    size_t max = s->options.window_bytes;
    if (max && spy_profile_memory(s->profile) > max)
        spy_profile_stop_growing(s->profile);
}

static bool is_quiet(const struct spy_sampler *s, struct process *p)
{
    return p->counted_epoch == s->epoch && spy_python_is_quiet(p->python) &&
           spy_native_threads_are_quiet(p->threads);
}

static void sample_threads(struct spy_sampler *s, struct process *p)
{
    enum { MOST = SPY_PY_THREADS_MAX + SPY_NATIVE_THREADS_MAX };
    size_t n = spy_python_n_threads(p->python);
    size_t n_native = spy_native_threads_n(p->threads);
    p->n_counted = p->n_waits = 0;
    p->counted_epoch = s->epoch;
    if (spy_grow(&p->counted, &p->cap_counted, n + n_native, sizeof *p->counted, MOST) < 0) {
        p->counted_epoch = 0;
        note_failed(s, p, n * p->idle.rounds);
        return;
    }
    for (size_t i = 0; i < n; i++)
        sample_thread(s, p, spy_python_thread(p->python, i));
    for (size_t i = 0; i < n_native; i++)
        sample_native_thread(s, p, i);
    count_blame(s, p, p->idle.rounds);
}

static void run_round(struct spy_sampler *s, struct process *p)
{
    bound_window(s);
    if (p->python ? skips_round(s, p) : attach_as_ordinary(s, p) < 0)
        return;
    spy_hung_mark_begin(s->options.mark, p->pid);
    int r = spy_python_refresh(p->python);
    spy_hung_mark_end(s->options.mark);
    if (r == SPY_ERR_GONE) {
        // It ended or called exec: what was known of its memory is void.
        p->ended = !spy_target_alive(p->target);
        flush_quality(s, p);
        detach_process(p);
        p->execs += !p->ended;
        p->retry_ns = 0;
        return;
    }
    count_left_out(s, p);
    begin_window(s, p);
    spy_kernel_poll(p->kernel, p->target, s->began, s->schedule.n <= FEW);
    r = intern_series(s, p);
    if (r < 0) {
        note_no_room(s, p, r, spy_python_n_threads(p->python) * p->idle.rounds);
        return;
    }
    p->rounds += p->idle.rounds;
    s->totals.rounds += p->idle.rounds;
    p->checks++;
    spy_native_threads_refresh(p->threads, p->python, s->began);
    bool quiet = is_quiet(s, p);
    spy_idle_note(&p->idle, quiet);
    p->wish.cpu = -1;
    if (quiet) {
        p->repeats += p->idle.rounds;
        return;
    }
    count_repeats(s, p);
    sample_threads(s, p);
    p->wish = spy_python_take_wish(p->python);
}

// --- time ---

_Static_assert(2 * SPY_IDLE_MOST - 1 <= SPY_SCHEDULE_AHEAD,
               "a check may be further ahead than ticks");

static uint32_t next_check(struct spy_sampler *s, struct process *p)
{
    bool worth = s->schedule.n > FEW || spy_python_n_threads(p->python) > FEW;
    uint32_t rate = (uint32_t)(p->rate / s->schedule.stretch);
    return spy_idle_next(&p->idle, rate, worth, &s->schedule.rand);
}

static void plan_next(struct spy_sampler *s, struct process *p, uint64_t began)
{
    uint64_t now = spy_clock_mono_ns();
    if (p->python) {
        p->took_ns += now - began;
        note_late(s, p, spy_schedule_on_tick(&s->schedule, began, next_check(s, p)));
    } else {
        uint64_t wait = p->retry_ns ? p->retry_ns : FIRST_RETRY_NS;
        spy_schedule_off_tick(&s->schedule, p->ended ? UINT64_MAX : now + wait);
    }
}

// A stray stops when it can and then waits to be released: while there are strays, wake up for
// them.
static void sleep_until(struct spy_sampler *s, uint64_t until, uint64_t now)
{
    enum { REAP_EVERY_NS = 500000 };
    if (s->pause.n_strays && until - now > REAP_EVERY_NS)
        until = now + REAP_EVERY_NS;
    if (s->schedule.n)
        spy_follow_sleep(&s->follow, process_at(s, 0)->wish, now);
    spy_clock_sleep_until(until);
    spy_own_switches_woke(&s->self, spy_clock_mono_ns());
    spy_follow_woke(&s->follow, until, s->self.woke_ns);
    spy_pause_reap(&s->pause);
}

// A round that was due at the call is run even if the deadline has passed since: raising the
// priority takes some microseconds, and a caller with a short deadline would never get a round.
static void run_rounds(struct spy_sampler *s, uint64_t called_ns, uint64_t deadline_ns,
                       const _Atomic int *stop)
{
    uint64_t now = called_ns;
    for (; !stop || !*stop; now = spy_clock_mono_ns()) {
        uint64_t due = s->schedule.n ? s->schedule.heap[0].at : UINT64_MAX;
        if (due > now && now < deadline_ns) {
            sleep_until(s, due < deadline_ns ? due : deadline_ns, now);
            continue;
        }
        if (now >= deadline_ns)
            return;
        struct process *p = process_at(s, 0);
        s->totals.behind_ns = now - due;
        s->began = now;
        uint64_t cpu = p->python ? 0 : spy_clock_cpu_ns();
        run_round(s, p);
        s->budget.attach_cpu += cpu ? spy_clock_cpu_ns() - cpu : 0;
        spy_pause_reap(&s->pause);
        plan_next(s, p, now);
        s->schedule.stretch = spy_budget_stretch(&s->budget, s->schedule.stretch, now);
    }
}

void spy_sampler_run(struct spy_sampler *s, uint64_t deadline_ns, const _Atomic int *stop)
{
    uint64_t called = spy_clock_mono_ns();
    raise_priority(s);
    run_rounds(s, called, deadline_ns, stop);
    spy_follow_leave(&s->follow);
    spy_priority_lower(&s->priority);
}
