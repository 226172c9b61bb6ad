// batch.h - appenders that wait for each other: one of them writes the batches of all. For the files
// of a backend.
//
// A commit costs the same for one batch and for a hundred. So batches queue; the first appender that
// finds nobody writing takes a group of them, writes it, and continues until its own is done.
#pragma once
#include "shared/base/err.h"
#include "shared/profile/profile.h"
#include <pthread.h>

enum { SPY_BATCH_GROUP_MAX = 256 };

// One call of append. It lives on the appender's stack.
struct spy_batch {
    struct spy_profile *const *profiles; // borrowed
    void **prepared;                     // the backend's, for each profile; its appender frees it
    size_t n, known;                     // known: were stored before
    bool *is_known;                      // for each profile; NULL: not wanted
    size_t bytes;                        // that the profiles hold
    int result;
    struct spy_err err;
    bool done;
    struct spy_batch *next;
};
// Writes a group, linked by next, and sets result, err and known of each batch. No lock of the queue
// is held; one call at a time.
typedef void (*spy_batch_write_fn)(void *store, struct spy_batch *group);

struct spy_batch_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct spy_batch *first, **last;
    bool writing;
    size_t group_bytes;   // that a group's profiles hold, but for its last batch
    int last_result;      // atomic, as the next: of the latest group that was noted
    uint64_t last_failed; // when a group failed last, by CLOCK_MONOTONIC
};

void spy_batch_queue_init(struct spy_batch_queue *q, size_t group_bytes);
void spy_batch_queue_destroy(struct spy_batch_queue *q);
// Returns when the batch was written: its result, and *err where that is one.
int spy_batch_write(struct spy_batch_queue *q, struct spy_batch *b, spy_batch_write_fn write,
                    void *store, struct spy_err *err);
// Notes how a written group fared, for readiness. Batches that were refused for what they hold
// (invalid, or a series too many) say nothing of the store.
void spy_batch_note(struct spy_batch_queue *q, const struct spy_batch *group);
// The result of the latest group that was noted; *ret_is_recent: it failed within so many ns. Any
// thread.
int spy_batch_last_result(const struct spy_batch_queue *q, uint64_t within_ns, bool *ret_is_recent);
// Whether a batch with this result found no space, on the disk or in the file.
bool spy_batch_is_out_of_space(int r, const struct spy_err *err);
// Whether the profile can be stored: it has one series, with a profile_id. SPY_ERR_INVALID.
int spy_batch_check_profile(const struct spy_profile *p, struct spy_err *err);
