// store.h - what the collector keeps. A backend is a table of functions; sqlite/ is one.
//
// The unit is a window: one series over some seconds, with its profile_id, as it came from an
// agent. A window is stored once, however often it is sent. What append returned 0 for is durable.
//
// Times are cut at INT64_MAX (the year 2262); everything else comes back as it was. The store accepts
// windows of any time: ingest refuses windows in the future, as retention, which works by the
// windows' ends, would keep them for long.
//
// Threads: any, at the same time; each call blocks its caller. spy_store_close: once, when no other
// call runs.
#pragma once
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/profile/profile.h"

// A selection of series by labels, and of windows by time. For each label that is given, one of its
// values must match ('*' stands for any text, spy_glob_matches; a series without the label matches
// NULL alone). Windows are selected if they overlap [from_ns, until_ns); a whole window is in or out,
// and a window of no length is an instant.
enum { SPY_SELECT_MAX = 65 };
struct spy_select {
    uint64_t from_ns, until_ns;
    struct spy_select_term {
        const char
            *keys[3];      // labels that may hold it, such as k8s.node.name, host.name; NULL: none
        const char *value; // NULL: that the series has none of these labels
    } terms[SPY_SELECT_MAX]; // terms with the same keys[0] are alternatives
    size_t n;
    size_t rows_max, memory; // bounds of a query: samples and windows read, bytes; 0:
                             // SPY_STORE_READ_MAX (ClickHouse: SPY_STORE_ROWS_MAX), none
    const bool *stop;        // shared/base/stop.h: ends the query; NULL: none
};

// One process, as spy_store_processes lists it.
struct spy_store_process {
    const char *labels_json; // {"k8s.pod.name": "x", ...}
    uint64_t first_ns, last_ns;
    uint64_t period_ns;         // of the latest window
    struct spy_quality quality; // sums
    struct spy_account account; // sums
    uint64_t windows, samples;
    const struct spy_thread_name {
        uint64_t tid;
        const char *name;
    } * threads; // of the latest window
    size_t n_threads;
};
typedef void (*spy_store_process_fn)(void *arg, const struct spy_store_process *process);

enum {
    SPY_STORE_ROWS_MAX = 8 << 20,  // of one profile
    SPY_STORE_READ_MAX = 32 << 20, // by one query: roll-ups of a day for a hundred pods
};
extern const struct spy_profile_caps spy_store_query_caps; // of a profile to query into

struct spy_store;

// Opens the store of this kind ("sqlite") in dir, which exists. SPY_ERR_INVALID: what is there is
// damaged, of another program, or of another version; SPY_ERR_DENIED: another process has it open;
// the message says what to do. SPY_ERR_UNSUPPORTED: there is no such kind. *ret goes with
// spy_store_close.
// memory: bytes for caches and intern tables; at most SPY_STORE_MEMORY_MAX are used.
#define SPY_STORE_MEMORY_MAX ((size_t)400 << 20)
int spy_store_open(const char *kind, const char *dir, uint32_t max_series, size_t memory,
                   struct spy_store **ret, struct spy_err *err);
// Looks for all damage in the store in dir, which no collector may have open, and changes nothing
// in it. Errors as of spy_store_open and spy_store_verify.
int spy_store_verify_dir(const char *kind, const char *dir, struct spy_err *err);
// Copies the store in dir, which a collector may have open and write to meanwhile, to the folder
// `to`, which is made and must not hold a store. The copy is of one instant. Errors as of
// spy_store_open; SPY_ERR_UNSUPPORTED: this kind is backed up by its own server.
int spy_store_backup_dir(const char *kind, const char *dir, const char *to, struct spy_err *err);
void spy_store_close(struct spy_store *s); // NULL-safe

// Stores profiles: each holds one series with a profile_id (as spy_otlp_decode makes them) and stays
// the caller's. All are stored or, on an error, none. *ret_known: how many were stored before (or
// came twice in this call); ret_is_known, n of them or NULL: which. SPY_ERR_LIMIT: the store is full
// (size or max_series, the message says which; err->sys ENOSPC: the disk, and expire still works);
// SPY_ERR_INVALID: a profile cannot be stored; SPY_ERR_IO; SPY_ERR_AGAIN.
int spy_store_append(struct spy_store *s, struct spy_profile *const *profiles, size_t n,
                     size_t *ret_known, bool *ret_is_known, struct spy_err *err);
// Adds what is selected to `into`, all of one instant. The windows of a series are joined as
// spy_series_unite does it. After an error `into` holds a part. SPY_ERR_LIMIT: more than the bounds
// of the selection or the caps of `into`; narrow the selection. SPY_ERR_GONE: stop was set.
int spy_store_query(struct spy_store *s, const struct spy_select *select, struct spy_profile *into,
                    struct spy_err *err);
// One window, or the windows of a series that a roll-up holds, without stacks.
struct spy_store_window {
    uint32_t series;                 // of the profile that spy_store_windows fills
    const struct spy_series *window; // times, period, quality, account; no labels
    uint64_t windows;                // that it stands for
    const struct spy_store_sum {
        uint64_t count, ns;
    } * sums; // by state, SPY_STATE_ALL + 1 of them
};
// Less than 0 ends the listing with that error.
typedef int (*spy_store_window_fn)(void *arg, const struct spy_store_window *window,
                                   struct spy_err *err);
// Calls fn for what spy_store_query would add, once for each window or roll-up, in no order, all of
// one instant. Steps of step_ns begin at from_ns: a roll-up is used where all of its windows begin
// and end in one step (if no window is longer than a minute), and where windows were dropped. `into`
// gets the series that are found, with their labels alone. fn may not call the store. rows_max bounds
// what is read, memory what is held. Errors as of spy_store_query, and those of fn.
int spy_store_windows(struct spy_store *s, const struct spy_select *select, uint64_t step_ns,
                      struct spy_profile *into, spy_store_window_fn fn, void *arg,
                      struct spy_err *err);
// Calls fn for each selected process, latest first; at most 10000. Each is described by the selected
// windows only. fn may not call the store. SPY_ERR_GONE: stop was set.
int spy_store_processes(struct spy_store *s, const struct spy_select *select,
                        spy_store_process_fn fn, void *arg, struct spy_err *err);
// How long the roll-ups are kept. A roll-up is the sum of a series' windows of one minute or hour, by
// their ends. 0: that level is not made. Before the first spy_store_expire; without it there are no
// roll-ups. Windows that expire stay in the roll-ups.
struct spy_store_levels {
    uint64_t minutes_ns, hours_ns;
};
void spy_store_keep(struct spy_store *s, const struct spy_store_levels *levels);
// Drops the windows that end more than raw_ns before now_ns, and the oldest windows while the store
// holds more than max_bytes; then what only they referred to. A label, stack or string may stay for
// a quarter of an hour of windows' time longer. From the first call on, all files together are held
// to max_bytes, by append as well, which drops the oldest windows where it finds no room: so call it
// at the start and then every minute or so. Queries that stand in its way are ended then
// (SPY_ERR_AGAIN). Expiry works on a full disk: the store holds room for it (16 MiB in each file).
// Space is used again before a file grows; the file shrinks when an eighth of it is free.
int spy_store_expire(struct spy_store *s, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                     struct spy_err *err);
// The time to pass to spy_store_expire: real_ns, or an earlier one where the system's clock is ahead
// of what was seen (retention_clock.h). mono_ns: spy_clock_boot_ns.
int spy_store_now(struct spy_store *s, uint64_t real_ns, uint64_t mono_ns, uint64_t *ret_ns,
                  struct spy_err *err);
// Checks that the store can be written, by writing a row; while another call writes, returns the
// result of the latest write. Fails for some seconds after an append that failed, unless the append
// was refused for what it holds (invalid, or a series too many).
int spy_store_check(struct spy_store *s, struct spy_err *err);
// Looks for damage. max_secs 0: in all there is; else as far as that time allows, without harm to
// others. SPY_ERR_IO: damage was found; the message says where and what to do.
int spy_store_verify(struct spy_store *s, unsigned max_secs, struct spy_err *err);

// --- for the files of a backend ---

// A backend ends its main file with a row of this type, and store.c lists the rows. The functions
// are the ones above.
struct spy_store_backend {
    const char *kind;
    int (*open)(const char *dir, uint32_t max_series, size_t memory, struct spy_store **ret,
                struct spy_err *err);
    int (*verify_dir)(const char *dir, struct spy_err *err);
    void (*close)(struct spy_store *s);
    int (*append)(struct spy_store *s, struct spy_profile *const *profiles, size_t n,
                  size_t *ret_known, bool *ret_is_known, struct spy_err *err);
    int (*query)(struct spy_store *s, const struct spy_select *select, struct spy_profile *into,
                 struct spy_err *err);
    int (*windows)(struct spy_store *s, const struct spy_select *select, uint64_t step_ns,
                   struct spy_profile *into, spy_store_window_fn fn, void *arg,
                   struct spy_err *err);
    int (*processes)(struct spy_store *s, const struct spy_select *select, spy_store_process_fn fn,
                     void *arg, struct spy_err *err);
    int (*expire)(struct spy_store *s, uint64_t now_ns, uint64_t raw_ns, uint64_t max_bytes,
                  struct spy_err *err);
    int (*now)(struct spy_store *s, uint64_t real_ns, uint64_t mono_ns, uint64_t *ret_ns,
               struct spy_err *err);
    int (*check)(struct spy_store *s, struct spy_err *err);
    int (*verify)(struct spy_store *s, unsigned max_secs, struct spy_err *err);
    void (*keep)(struct spy_store *s, const struct spy_store_levels *levels); // NULL: no roll-ups
    int (*backup_dir)(const char *dir, const char *to, struct spy_err *err);  // NULL: unsupported
};
struct spy_store { // the first member of a backend's own structure
    const struct spy_store_backend *backend;
};
// sqlite/sqlite.c; keeps everything in dir/podspy.db.
extern const struct spy_store_backend spy_store_sqlite;
// clickhouse/clickhouse.c; keeps everything in a ClickHouse. dir: its place (clickhouse/place.h).
extern const struct spy_store_backend spy_store_clickhouse;
