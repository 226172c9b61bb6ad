// podspy doctor -p PID: what native frames need besides. Nothing here is a NO: Python frames can be
// had without.
#include "agent/cli/doctor.h"
#include "agent/native/native.h"
#include "agent/native/perf_map.h"
#include "agent/python/python.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>

SPY_CLEANUP(free_cache, struct spy_native_cache, spy_native_cache_free)
SPY_CLEANUP(free_native, struct spy_native, spy_native_free)

// Copies the stack of a thread while it is held. On a busy machine it may not stop in time.
static int capture_thread(struct spy_native *n, pid_t tid, struct spy_native_snapshot *s)
{
    enum { CAPTURE_TRIES = 20 };
    int signal, r = SPY_ERR_AGAIN;
    struct spy_pause pause = {0};
    for (int i = 0; i < CAPTURE_TRIES && r == SPY_ERR_AGAIN; i++) {
        r = spy_pause_begin(&pause, tid, &signal);
        if (r == SPY_ERR_AGAIN)
            spy_pause_done(&pause); // gives it a second
        if (r == 0) {
            r = spy_native_capture(n, tid, s);
            spy_pause_end(&pause, tid, signal);
        }
    }
    spy_pause_done(&pause);
    return r;
}

struct unnamed {
    size_t n;
    char module[256]; // of the innermost; "": code of no file
};

static struct unnamed count_unnamed(struct spy_native *n, const struct spy_native_frame *frames,
                                    size_t n_frames)
{
    struct unnamed u = {0};
    for (size_t i = 0; i < n_frames; i++) {
        struct spy_native_symbol symbol = {.module = ""};
        if (spy_native_symbol(n, frames[i].call, &symbol) == 0 && symbol.name)
            continue;
        if (u.n++ == 0)
            snprintf(u.module, sizeof u.module, "%s", symbol.module);
    }
    return u;
}

static enum spy_finding report_frames(struct spy_doctor *d, pid_t tid, size_t n,
                                      enum spy_native_end end, const struct unnamed *u)
{
    if (end == SPY_NATIVE_LOST) {
        SPY_DOCTOR_SAY(d, "the stack of thread %d is followed for %zu frames and then lost",
                       (int)tid, n);
        SPY_DOCTOR_CURE(d, "code without unwind tables is below: build it with "
                           "-fno-omit-frame-pointer or -fasynchronous-unwind-tables");
        return SPY_DOCTOR_NOTE;
    }
    if (!u->n) {
        SPY_DOCTOR_SAY(d, "thread %d has %zu, each with its name", (int)tid, n);
        return SPY_DOCTOR_OK;
    }
    SPY_DOCTOR_SAY(d, "thread %d has %zu, %zu without a name, the innermost of them in %s",
                   (int)tid, n, u->n, u->module[0] ? u->module : "code made at run time");
    SPY_DOCTOR_CURE(d, "%s",
                    u->module[0]
                        ? "install the debug symbols of that file where the process runs (Debian: "
                          "its -dbg or -dbgsym package; Fedora: dnf debuginfo-install)"
                        : "start the program so that it writes /tmp/perf-PID.map (Python 3.12 and "
                          "later: -X perf)");
    return SPY_DOCTOR_NOTE;
}

static enum spy_finding report_no_frames(struct spy_doctor *d, pid_t tid, int r)
{
    SPY_DOCTOR_SAY(d, "cannot copy the stack of thread %d: %s", (int)tid, spy_code_name(r));
    SPY_DOCTOR_CURE(d, "%s",
                    r == SPY_ERR_DENIED ? "let podspy use ptrace on it: see the line \"pausing\""
                    : r == SPY_ERR_UNSUPPORTED
                        ? "it is a 32-bit program: record and dump show its Python frames"
                        : "try again; a thread that waits for a disk cannot be held");
    return SPY_DOCTOR_NOTE;
}

static enum spy_finding check_native_frames(struct spy_doctor *d)
{
    _cleanup_(free_cache) struct spy_native_cache *cache =
        spy_native_cache_new(SPY_NATIVE_CACHE_USUAL);
    _cleanup_(free_native) struct spy_native *native =
        cache ? spy_native_new(cache, d->target) : NULL;
    _cleanup_(spy_native_snapshot_done) struct spy_native_snapshot copy = {0};
    _cleanup_free_ struct spy_native_frame *frames = calloc(SPY_NATIVE_FRAMES_MAX, sizeof *frames);
    pid_t tid = spy_py_thread_tid(spy_python_thread(d->python, 0));
    enum spy_native_end end = SPY_NATIVE_LOST;
    int r = native && frames ? capture_thread(native, tid, &copy) : SPY_ERR_NOMEM;
    spy_hung_mark_begin(&d->reads->mark, d->pid);
    if (r == 0)
        r = spy_native_unwind(native, &copy, frames, SPY_NATIVE_FRAMES_MAX, &end);
    struct unnamed u = {0};
    if (r > 0)
        u = count_unnamed(native, frames, (size_t)r);
    spy_hung_mark_end(&d->reads->mark);
    return r > 0 ? report_frames(d, tid, (size_t)r, end, &u) : report_no_frames(d, tid, r);
}

static enum spy_finding check_perf_map(struct spy_doctor *d)
{
    _cleanup_(spy_perf_map_done) struct spy_perf_map map = {0};
    if (spy_perf_map_renew(&map, d->target))
        SPY_DOCTOR_SAY(d, "names %zu functions that were made at run time", map.n);
    else
        SPY_DOCTOR_SAY(d, "none, which only code made at run time needs (JIT, -X perf)");
    return SPY_DOCTOR_OK;
}

const struct spy_doctor_check spy_doctor_native[] = {
    {"native frames", check_native_frames},
    {"perf map", check_perf_map},
};
const size_t spy_doctor_n_native = SPY_COUNT(spy_doctor_native);
