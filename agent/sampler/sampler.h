// sampler.h - samples many processes in rounds and counts the samples in one profile.
//
// Each process has its own rate: a round samples every thread of it once. Gaps are jittered, and
// processes of one rate share their moments (schedule.h). Rounds that come too late are skipped and
// counted, never caught up; the effective period of a window is its length over its rounds.
//
// If no thread of a process has run since the last round, its stacks are unchanged. Such a round
// costs one schedstat read per thread; these rounds are added to the profile together later. Where
// there are more than a few threads or processes, a process that has been idle for long is checked
// in only some of its rounds, which stand for the others (idle.h).
//
// One thread reads all processes. So that a slow process does not hold up the others, a process
// whose rounds averaged over 2 ms in the last window is sampled less often, and takes at most a
// fifth of the time; the rounds it skips count as late.
//
// In a process with more than SPY_PY_THREADS_MAX threads, those that have not run for the longest
// are left out: each round counts them as failed, and the series says so in the label
// podspy.problem.
//
// A process that cannot be attached to yet (it is starting, a zombie, or not Python) is retried
// with a growing delay, and its series says why in the label podspy.problem. A process that called
// exec gets a new series for its new program.
//
// The budget: once a second the sampler compares its own CPU time with budget_percent of one core
// and stretches all periods, or relaxes them again. Attaching costs many times what later rounds
// do; up to two seconds of CPU time for it are not counted, and more as time passes, at the
// budget's rate.
//
// Where the system permits, the sampling thread gets a CPU as soon as a round is due (priority.h),
// but only while it runs rounds.
//
// After the first rounds, a round allocates nothing unless it meets new code or new stacks.
// Threads: all calls from one thread.
#pragma once
#include "agent/python/package.h"
#include "agent/python/python.h"
#include "agent/sampler/hung_mark.h"
#include "agent/sampler/priority.h"
#include "shared/profile/profile.h"
#include "shared/profile/timeline.h"

struct spy_sampler;

// Who is blamed for time spent waiting for the GIL (blame.h): nobody; the holders, in a series of
// their own beside each process's; the same, and the process's own series stay without samples.
enum spy_blame { SPY_BLAME_NOBODY, SPY_BLAME_HOLDERS, SPY_BLAME_ALONE };

struct spy_sampler_options {
    double budget_percent; // of one core; 0: no budget
    size_t native_bytes;   // of tables and symbols for native frames; 0: as native.h has it
    bool inlines;          // in native frames, see mixed.h
    size_t profile_bytes;  // a larger profile is replaced by an empty one; 0: 32 MiB
    // Past this, the profile takes no new stacks, threads and processes: their samples count as
    // failed (totals.no_room). For windows without an end; 0: no bound.
    size_t window_bytes;
    struct spy_hung_mark *mark; // borrowed; NULL: nobody detects hung reads
    // Records the order of the samples; borrowed; NULL: they are only counted. For one window.
    struct spy_timeline *timeline;
    // Writes the command line of a process, for its label process.command, or "". Called whenever a
    // process is attached to, so that after an exec the new program's samples never appear under
    // the old command line. NULL: labels stay as they were given.
    void (*command_of)(pid_t pid, char *out, size_t size);
    // Learns the package of each file that is new to the profile, while its process lives; borrowed.
    // NULL: nobody asks. An agent, which must not look into files of others, has none.
    struct spy_packages *packages;
    enum spy_blame blame;
};

// The calling thread is the sampling thread, which will run the rounds.
int spy_sampler_new(const struct spy_sampler_options *options, struct spy_sampler **ret,
                    struct spy_err *err);
void spy_sampler_free(struct spy_sampler *s);

// Whether native frames are sampled: of threads that run, or of all.
enum spy_natives { SPY_NATIVES_NONE, SPY_NATIVES_RUNNING, SPY_NATIVES_ALL };
// What --native and --idle ask for: threads that are not shown need not be held.
static inline enum spy_natives spy_natives_of(bool native, bool idle)
{
    return !native ? SPY_NATIVES_NONE : idle ? SPY_NATIVES_ALL : SPY_NATIVES_RUNNING;
}

struct spy_sampler_process {
    pid_t pid;
    // In clock ticks since boot (/proc/PID/stat, proc(5)). A process with this pid that started at
    // another time is a different one and is not read. 0: any process with this pid.
    uint64_t start_time;
    uint32_t rate;            // samples a second, 1 to 10000; 0: as fast as possible
    enum spy_pausing pausing; // NEVER: no native frames either
    enum spy_natives natives;
    bool hung; // a read of its memory hung: it is listed with that reason, and not read
    // It need not be Python: an attempt to attach to it that fails is not a failed sample.
    bool optional;
    // Labels of its series: pairs of key and value, copied; without process.runtime.*, which the
    // sampler adds once it is attached.
    const char *const (*labels)[2];
    size_t n_labels;
};

// Adds a process; the next rounds attach to it. A pid that is known already is replaced (it called
// exec). SPY_ERR_LIMIT past SPY_SAMPLER_PROCESSES_MAX, SPY_ERR_NOMEM.
enum { SPY_SAMPLER_PROCESSES_MAX = 4096 };
int spy_sampler_add(struct spy_sampler *s, const struct spy_sampler_process *process,
                    struct spy_err *err);
void spy_sampler_remove(struct spy_sampler *s, pid_t pid);
// How the sampling thread gets its CPU.
enum spy_priority_kind spy_sampler_priority(const struct spy_sampler *s);
size_t spy_sampler_n_processes(const struct spy_sampler *s);

// Why pid has no samples; NULL if it is attached or unknown. Borrowed until the next call.
const char *spy_sampler_problem(const struct spy_sampler *s, pid_t pid);
// The code of that problem, spy_python_attach's; 0: none.
int spy_sampler_problem_code(const struct spy_sampler *s, pid_t pid);
bool spy_sampler_attached(const struct spy_sampler *s, pid_t pid); // true once attached to
bool spy_sampler_ended(const struct spy_sampler *s, pid_t pid);    // true once it has ended
// How many calls of exec were noticed since it was added. An exec after which the interpreter is at
// the same addresses as before is not noticed.
unsigned spy_sampler_execs(const struct spy_sampler *s, pid_t pid);
// As given to spy_sampler_add; 0: not known.
uint64_t spy_sampler_start_time(const struct spy_sampler *s, pid_t pid);
// The interpreter of an attached process, or NULL; borrowed.
struct spy_python *spy_sampler_python(const struct spy_sampler *s, pid_t pid);

// Runs the rounds that are due and sleeps between them, until CLOCK_MONOTONIC reaches deadline_ns
// or *stop is not 0 (a signal handler sets it). stop may be NULL. If a round is due and the deadline
// has not passed at the call, at least one round is run, however short the time.
void spy_sampler_run(struct spy_sampler *s, uint64_t deadline_ns, const _Atomic int *stop);

// Closes the window: series get their start, duration, period, quality and account, samples their
// time. The profile is the sampler's: read it before the next run. If spy_sampler_reset is called
// before that run, a new window begins; else the window continues.
struct spy_profile *spy_sampler_close(struct spy_sampler *s);
// The sampling thread hangs in a read that was claimed (hung_mark.h): the window ends where that
// round began.
void spy_sampler_set_hung(struct spy_sampler *s);
void spy_sampler_reset(struct spy_sampler *s);

// Sums over the sampler's life, for messages: thread samples counted, attempts that failed, rounds
// taken and skipped.
struct spy_sampler_totals {
    uint64_t samples, failed;
    uint64_t rounds, late;            // taken, skipped
    uint64_t clean, salvaged, paused; // their sum is `samples`
    uint64_t native, unmerged;        // part of samples: native frames were asked for; and failed
    uint64_t not_held;  // part of unmerged: the thread did not stop in time, or may not be stopped
    uint64_t no_loop;   // part of unmerged: no C frame is the interpreter's loop by name
    uint64_t left_out;  // part of failed: threads past SPY_PY_THREADS_MAX
    uint64_t no_room;   // part of failed: the profile was full (window_bytes)
    uint64_t waits;     // part of samples: the thread waited for a GIL; with blame only
    uint64_t unseen;    // part of waits: its holder was not seen
    uint64_t behind_ns; // how late the latest round began
};
struct spy_sampler_totals spy_sampler_totals(struct spy_sampler *s);
// Sums over all closed windows: CPU time by samples, and what the kernel counted.
const struct spy_account *spy_sampler_account(const struct spy_sampler *s);
