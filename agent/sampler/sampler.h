// sampler.h - rounds over many processes, counted into one profile.
//
// Each process is sampled at its own rate: a round looks at every thread of it once. The gaps are
// jittered, and processes of one rate share their moments (schedule.h). Rounds that come too late
// are skipped and counted, never bunched; the effective period of a window is its length over its
// rounds.
//
// Of a process of which nothing has run since the last round, every thread is where it was: such
// rounds are noted with a look at how often each thread was given a CPU, and counted together
// later. Of more than a few, one that has rested for long is looked at in some of its
// rounds only, which stand for the others (rest.h).
//
// All are read by one thread. So that a slow one does not hold up the others, one whose looks took
// more than 2 ms in the window before takes part in so few that they get a fifth of the time; those
// it leaves out are counted as late.
//
// Of a process with more than SPY_PY_THREADS_MAX threads, those that have not run for the longest
// are left out: each round counts them as failed, and the label podspy.problem of the series says
// so.
//
// A process that cannot be attached to yet (it is still starting, it is a zombie, it is not Python)
// is tried again, ever more rarely, and its series says why in the label podspy.problem. One that
// called exec gets a series of its own for what it has become.
//
// The budget: once a second the sampler compares its own CPU time with budget_percent of one core
// and stretches all periods, or relaxes them again. The first look at a process costs many times
// what later ones do; up to two seconds of CPU time for first looks, and as much again over time as
// the budget is, are left out of account.
//
// The thread that runs the rounds gets a CPU as soon as they are due where the system permits
// (priority.h), and only while it runs them.
//
// After the first rounds a round allocates nothing, unless it meets new code or new stacks.
// Threads: all calls from one thread.
#pragma once
#include "agent/python/python.h"
#include "agent/sampler/priority.h"
#include "agent/sampler/watch.h"
#include "shared/profile/profile.h"
#include "shared/profile/timeline.h"

struct spy_sampler;

struct spy_sampler_options {
    double budget_percent;   // of one core; 0: no budget
    size_t profile_bytes;    // the profile's tables are made anew past this; 0: 32 MiB
    struct spy_watch *watch; // borrowed; NULL: nobody looks whether reads end
    // Gets the order of the samples; borrowed; NULL: they are only counted. For one window.
    struct spy_timeline *timeline;
    // The command line of a process as its label process.command has it, or "". Asked whenever a
    // process is attached to, so that after an exec the new program's samples never stand under the
    // old one's command line. NULL: labels stay as they were given.
    void (*command_of)(pid_t pid, char *out, size_t size);
};

// The thread that calls is the one that will run the rounds.
int spy_sampler_new(const struct spy_sampler_options *options, struct spy_sampler **ret,
                    struct spy_err *err);
void spy_sampler_free(struct spy_sampler *s);

enum spy_sampler_pausing {
    SPY_SAMPLER_NEVER_PAUSE,
    SPY_SAMPLER_MAY_PAUSE,
    SPY_SAMPLER_ALWAYS_PAUSE,
};

struct spy_sampler_process {
    pid_t pid;
    // In clock ticks since boot (/proc/PID/stat, proc(5)). A process that has the number but began
    // at another time is not the one that is meant and is not read. 0: whoever has the number.
    uint64_t start_time;
    uint32_t rate; // samples a second, 1 to 1000; 0: as fast as it goes
    enum spy_sampler_pausing pausing;
    bool blocked; // a read of its memory did not end: it is listed with that reason, and not read
    // Labels of its series: pairs of key and value, copied; without process.runtime.*, which the
    // sampler adds once it is attached.
    const char *const (*labels)[2];
    size_t n_labels;
};

// Adds a process; it is attached to at the next rounds. SPY_ERR_LIMIT past
// SPY_SAMPLER_PROCESSES_MAX, SPY_ERR_NOMEM. A pid that is known already is replaced (it called
// exec).
enum { SPY_SAMPLER_PROCESSES_MAX = 4096 };
int spy_sampler_add(struct spy_sampler *s, const struct spy_sampler_process *process,
                    struct spy_err *err);
void spy_sampler_remove(struct spy_sampler *s, pid_t pid);
// How the thread gets its CPU.
enum spy_priority_kind spy_sampler_priority(const struct spy_sampler *s);
size_t spy_sampler_n_processes(const struct spy_sampler *s);

// Why pid has no samples, or NULL when it is attached or not known. Borrowed until the next call.
const char *spy_sampler_problem(const struct spy_sampler *s, pid_t pid);
// True once pid was attached to; and once it ended.
bool spy_sampler_attached(const struct spy_sampler *s, pid_t pid);
bool spy_sampler_ended(const struct spy_sampler *s, pid_t pid);
// How often it was found to have called exec since it was added. One whose interpreter is then at
// the same addresses as before is not found so.
unsigned spy_sampler_execs(const struct spy_sampler *s, pid_t pid);
// As it was added with; 0: not known.
uint64_t spy_sampler_start_time(const struct spy_sampler *s, pid_t pid);
// The interpreter of an attached process, or NULL; borrowed.
struct spy_python *spy_sampler_python(const struct spy_sampler *s, pid_t pid);

// Takes the rounds that are due and sleeps in between until CLOCK_MONOTONIC is deadline_ns or *stop
// is not 0 (a signal handler sets it). stop may be NULL.
void spy_sampler_run(struct spy_sampler *s, uint64_t deadline_ns, const _Atomic int *stop);

// Closes the window: series get their start, duration, period, quality and account, samples their
// time. The profile is the sampler's; read it, then call spy_sampler_reset before the next run.
struct spy_profile *spy_sampler_close(struct spy_sampler *s);
// A read was claimed (watch.h): the window ends where that round began.
void spy_sampler_hung(struct spy_sampler *s);
void spy_sampler_reset(struct spy_sampler *s);

// Sums over the whole life, for messages: thread-samples counted, attempts that failed, rounds
// skipped.
struct spy_sampler_totals {
    uint64_t samples, failed, late;
    uint64_t clean, salvaged, paused; // their sum is `samples`
    uint64_t left_out;                // of those that failed: threads past SPY_PY_THREADS_MAX
    uint64_t behind_ns;               // how late the latest round began
};
struct spy_sampler_totals spy_sampler_totals(struct spy_sampler *s);
// Sums over all windows that were closed: what samples say of CPU time and what the kernel counted.
const struct spy_account *spy_sampler_account(const struct spy_sampler *s);
