// profile.h - the one type in the middle: strings, functions, frames, stacks, threads, series,
// samples.
//
// The sampler fills a profile, the upload encodes it, the collector decodes it, the store returns
// one, every format prints one. Everything is a dense table addressed by a 32-bit id. Adding an entry
// that exists returns its id (interning), so ids can be compared for equality.
//
//     string    id 0 is "".                      All strings are valid UTF-8 without NUL.
//     function  {name, filename, start_line, kind}
//     frame     {function, line}                 line 0: not known
//     stack     {parent stack, frame}            id 0 is the root (empty stack); a stack's id is
//                                                that of its innermost frame's node; parents have
//                                                smaller ids
//     thread    {tid, name}                      id 0: not known. tid in the node's numbering
//     series    labels (OpenTelemetry resource attributes of one process), a time window, quality
//     sample    {series, stack, thread, state} -> count, ns
//
// Bounds: adding returns SPY_ERR_LIMIT past the caps given to spy_profile_new_capped, SPY_ERR_NOMEM
// when there is no memory; the profile stays unchanged. Adding an entry that exists allocates nothing
// and cannot fail: that is the hot path. (Text that needs repair is copied first.)
//
// Threads: one profile belongs to one thread at a time. Pointers returned are borrowed and hold
// until the next add.
#pragma once
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include "shared/profile/account.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spy_profile; // opaque

enum spy_frame_kind {
    SPY_FRAME_PYTHON,
    SPY_FRAME_NATIVE,
    SPY_FRAME_MARKER, // not code: "[truncated]", "process 12: gunicorn", "thread 7: main"
    SPY_FRAME_KINDS
};

struct spy_function {
    uint32_t name;       // string: the qualified name where the interpreter has one
    uint32_t filename;   // string: as the code object holds it, in full
    uint32_t start_line; // 0: not known
    uint32_t kind;       // enum spy_frame_kind
};

struct spy_frame {
    uint32_t function;
    uint32_t line; // 0: not known
};

struct spy_stack {
    uint32_t parent; // stack; 0 is the root
    uint32_t frame;
};

struct spy_thread {
    uint64_t tid;
    uint32_t name; // string
};

// A label of a series; key and value are strings. Process ids are written in decimal.
struct spy_label {
    uint32_t key, value;
};

// The state of a sample's thread at that instant: a set of these bits. Neither RUNNING nor RUNNABLE
// means that it waited in a system call (idle).
enum spy_state {
    SPY_STATE_RUNNING = 1,   // on a CPU, or runnable if the two cannot be distinguished
    SPY_STATE_GIL_HOLDS = 2, // held the GIL
    SPY_STATE_GIL_WAITS = 4, // waited for the GIL
    SPY_STATE_GC = 8,        // its interpreter was collecting garbage
    SPY_STATE_RUNNABLE = 16, // ready to run, waited for a CPU; never together with RUNNING
    SPY_STATE_ALL = 31,
};

// Each sample is exactly one of waiting, running, runnable. On the wire and in JSON by name.
enum spy_activity { SPY_WAITING, SPY_RUNNING, SPY_RUNNABLE, SPY_ACTIVITIES };
extern const char *const spy_activity_names[SPY_ACTIVITIES];
static inline enum spy_activity spy_state_activity(uint32_t state)
{
    return state & SPY_STATE_RUNNING    ? SPY_RUNNING
           : state & SPY_STATE_RUNNABLE ? SPY_RUNNABLE
                                        : SPY_WAITING;
}
// Known bits only, and not RUNNING and RUNNABLE at once.
bool spy_state_is_valid(uint32_t state);

// How the samples of one window came to be: the one list of quality counters. Structure, sums, JSON,
// SQL columns, OTLP attributes and footers are made from it: X(name, its words in a footer).
//
// All but `late` count thread-samples. Every attempt is in exactly one of clean, salvaged, paused,
// failed. `lost` counts samples that were dropped after they were taken (spool full), `late` the
// rounds that were skipped because the sampler was behind.
#define SPY_QUALITY(X)                                                                             \
    X(clean, "clean, ")                                                                            \
    X(salvaged, "salvaged, ")                                                                      \
    X(paused, "paused; ")                                                                          \
    X(failed, "failed, ")                                                                          \
    X(lost, "lost; ")                                                                              \
    X(late, "rounds late")
struct spy_quality {
#define SPY_QUALITY_FIELD(name, ...) uint64_t name;
    SPY_QUALITY(SPY_QUALITY_FIELD)
};
#define SPY_QUALITY_ONE(...) +1
enum { SPY_QUALITY_N = 0 SPY_QUALITY(SPY_QUALITY_ONE) };

// Adds s to d. Sums saturate.
void spy_quality_add(struct spy_quality *d, const struct spy_quality *s);
// Whether all counters are 0.
bool spy_quality_is_zero(const struct spy_quality *q);

struct spy_series {
    uint32_t first_label, n_labels; // into spy_profile_label_at; sorted by key text
    uint8_t profile_id[16];         // all zero: none yet. One window of one series bears one id
    uint64_t start_ns;              // Unix time; 0: empty window
    uint64_t duration_ns;
    uint64_t period_ns; // effective: duration / rounds taken; 0: not known
    struct spy_quality quality;
    struct spy_account account; // samples compared with the kernel's CPU time
};

struct spy_sample {
    uint32_t series, stack, thread;
    uint32_t state; // enum spy_state bits
    uint64_t count; // samples
    uint64_t ns;    // wall time they stand for: count * period of their window
};

struct spy_profile_caps {
    uint32_t strings, functions, frames, stacks, threads, series, samples; // entries; 0: no bound
    uint64_t string_bytes;
};

struct spy_profile *spy_profile_new(void); // no caps beyond 2^28 entries; NULL: no memory
struct spy_profile *spy_profile_new_capped(const struct spy_profile_caps *caps);
// Makes room for so many entries at once, within the caps: for who knows what is to come. 0 or
// SPY_ERR_NOMEM. (string_bytes too; series are not.)
int spy_profile_reserve(struct spy_profile *p, const struct spy_profile_caps *n);
void spy_profile_free(struct spy_profile *p);
SPY_CLEANUP(spy_profile_done, struct spy_profile, spy_profile_free)
#define _cleanup_profile_ _cleanup_(spy_profile_done)

// Interning. Each returns 0 and sets *ret, or SPY_ERR_LIMIT, SPY_ERR_NOMEM, SPY_ERR_INVALID (an id
// that does not exist). Text that is not valid UTF-8, or holds NUL, gets U+FFFD in its place.
int spy_profile_string(struct spy_profile *p, const char *s, size_t len, uint32_t *ret);
int spy_profile_cstr(struct spy_profile *p, const char *s, uint32_t *ret);
int spy_profile_function(struct spy_profile *p, const struct spy_function *f, uint32_t *ret);
int spy_profile_frame(struct spy_profile *p, struct spy_frame f, uint32_t *ret);
int spy_profile_stack(struct spy_profile *p, uint32_t parent, uint32_t frame, uint32_t *ret);
int spy_profile_thread(struct spy_profile *p, uint64_t tid, uint32_t name, uint32_t *ret);
// Two series with the same labels (in any order) are one; at most SPY_LABELS_MAX labels, no key
// twice.
enum { SPY_LABELS_MAX = 64 };
int spy_profile_series(struct spy_profile *p, const struct spy_label *labels, size_t n,
                       uint32_t *ret);
// Adds to the sample with this key. count and ns saturate. SPY_ERR_INVALID also for a state that is
// not valid.
int spy_profile_add(struct spy_profile *p, uint32_t series, uint32_t stack, uint32_t thread,
                    uint32_t state, uint64_t count, uint64_t ns);

// Gives each sample another stack of this profile, or removes it: fn returns the stack's id, or
// SPY_STACK_NONE. Samples that then have the same key are added up. SPY_ERR_NOMEM (the samples are
// gone then), SPY_ERR_INVALID for an id that does not exist.
enum { SPY_STACK_NONE = UINT32_MAX };
typedef uint32_t (*spy_restack_fn)(void *arg, const struct spy_sample *sample);
int spy_profile_restack(struct spy_profile *p, spy_restack_fn fn, void *arg);

// Reading. Ids below the count are valid.
uint32_t spy_profile_n_strings(const struct spy_profile *p);
uint32_t spy_profile_n_functions(const struct spy_profile *p);
uint32_t spy_profile_n_frames(const struct spy_profile *p);
uint32_t spy_profile_n_stacks(const struct spy_profile *p);
uint32_t spy_profile_n_threads(const struct spy_profile *p);
uint32_t spy_profile_n_series(const struct spy_profile *p);
uint32_t spy_profile_n_samples(const struct spy_profile *p);
const char *spy_profile_text(const struct spy_profile *p, uint32_t string); // NUL-terminated
size_t spy_profile_text_len(const struct spy_profile *p, uint32_t string);
const struct spy_function *spy_profile_function_at(const struct spy_profile *p, uint32_t id);
const struct spy_frame *spy_profile_frame_at(const struct spy_profile *p, uint32_t id);
const struct spy_stack *spy_profile_stack_at(const struct spy_profile *p, uint32_t id);
const struct spy_thread *spy_profile_thread_at(const struct spy_profile *p, uint32_t id);
const struct spy_label *spy_profile_label_at(const struct spy_profile *p, uint32_t index);
const struct spy_sample *spy_profile_sample_at(const struct spy_profile *p, uint32_t id);
// Writable: the owner sets window and quality in place (labels stay as they are).
struct spy_series *spy_profile_series_at(struct spy_profile *p, uint32_t id);
const struct spy_series *spy_profile_series_get(const struct spy_profile *p, uint32_t id);
// The text of a label of a series, or NULL.
const char *spy_profile_series_label(const struct spy_profile *p, uint32_t series, const char *key);
// Memory held, in bytes, for budgets.
size_t spy_profile_memory(const struct spy_profile *p);
// From here on, new entries fit only where there is memory already: more are SPY_ERR_LIMIT.
void spy_profile_stop_growing(struct spy_profile *p);

// Sets the time of every sample, ns = count * period_ns of its series, and the accounts
// (spy_profile_note_seen). For the sampler, at the end of a window.
void spy_profile_weigh(struct spy_profile *p);
// Sets running_ns and runnable_ns of the accounts, each where the kernel's count beside it is known.
// For those who make windows: the profile must hold one window of each series.
void spy_profile_note_seen(struct spy_profile *p);

// The account of the whole profile. Processes that ran at the same time share its wall time, and
// those of one container (container.id) share its limit, which is counted once. SPY_ERR_NOMEM.
int spy_profile_account(const struct spy_profile *p, struct spy_account *ret);

// Adds the counts of all samples of `from` to samples of one series of `into`: as their count or, with
// as_ns, as their ns, so that one profile holds two that are compared. Everything else is interned;
// the time of the samples and the series of `from` are left out. Errors as of adding; `into` then
// holds a part.
int spy_profile_merge(struct spy_profile *into, const struct spy_profile *from, uint32_t series,
                      bool as_ns);

// Adds all of `from`: its samples, and its series as spy_series_unite joins them. The same errors.
int spy_profile_unite(struct spy_profile *into, const struct spy_profile *from);

// Ends a window: removes the samples and the series' windows, profile ids and quality. All other
// tables and ids stay, so that caches of ids stay valid and the next window allocates nothing.
void spy_profile_reset_window(struct spy_profile *p);

// Adds the window, quality and account of s to those of d: the windows are united, period becomes
// the time of both over the rounds of both, sums saturate. A gap between windows is united with
// them, and counts as time of d at the next call. Labels are not compared. profile_id stays only
// while d has a single window.
void spy_series_unite(struct spy_series *d, const struct spy_series *s);

// The OpenTelemetry and podspy label keys, spelled once.
#define SPY_LABEL_CLUSTER         "k8s.cluster.name"
#define SPY_LABEL_NAMESPACE       "k8s.namespace.name"
#define SPY_LABEL_POD             "k8s.pod.name"
#define SPY_LABEL_POD_UID         "k8s.pod.uid"
#define SPY_LABEL_CONTAINER       "k8s.container.name"
#define SPY_LABEL_NODE            "k8s.node.name"
#define SPY_LABEL_CONTAINER_ID    "container.id"
#define SPY_LABEL_IMAGE           "container.image.name"
#define SPY_LABEL_SERVICE         "service.name"
#define SPY_LABEL_HOST            "host.name"
#define SPY_LABEL_PID             "process.pid"
#define SPY_LABEL_COMMAND         "process.command"
#define SPY_LABEL_RUNTIME         "process.runtime.name"
#define SPY_LABEL_RUNTIME_VERSION "process.runtime.version"
#define SPY_LABEL_NS_PID          "podspy.process.ns_pid"
#define SPY_LABEL_PARENT_PID      "podspy.process.parent_pid"
// What the samples count, if not CPU or wall time ("off_cpu"): such series are kept apart.
#define SPY_LABEL_SAMPLE_TYPE "podspy.sample.type"
// Its value where samples count how long others waited for the GIL: the stack and the state are the
// holder's, the thread is the waiter.
#define SPY_TYPE_GIL_BLAME "gil_blame"
// Why a process that is opted in has no samples; its series then has only failures.
#define SPY_LABEL_PROBLEM "podspy.problem"
