// spool.h - windows that wait for the collector: files in one folder, and what was lost of them.
// Inside of agent/upload.
//
//     lock                          held (flock) while an agent uses the folder
//     00000000000000000042.window   one request; the order of the names is the order of age
//     *.window.bad                  damaged, set aside; at most SPY_SPOOL_BAD_MAX, oldest deleted
//     losses                        samples lost and not yet reported, and the last file dropped
//
// A file appears by rename after fsync, so a name that is there is a whole file; temporary files of
// a run that was killed are deleted when the spool is opened.
//
// Bound: the sum of all files, each rounded up to 4 KiB, never passes max_bytes. To make room,
// files set aside go first, then the oldest windows. What a dropped window held becomes a loss.
//
// No loss is forgotten and none is counted twice, also when the process is killed between any two
// steps: `losses` names the file that was dropped last (if it is still there when the spool is
// opened, it is deleted), and bears a generation that is written into each window that reports
// losses (if `losses` still has that generation when the spool is opened, what the window reports
// is taken off).
//
// Not thread safe: the upload holds its mutex.
#pragma once
#include "agent/upload/losses.h"
#include "agent/upload/spool_file.h"

struct spy_spool;

enum { SPY_SPOOL_BAD_MAX = 8 };

// Counted over the life of the process; the upload's metrics point here.
extern struct spy_spool_counts {
    int64_t dropped, damaged, lost_samples; // counters
    int64_t windows, bytes;                 // gauges
} spy_spool_counts;

// Makes dir (0700), locks it, adopts what is in it. SPY_ERR_AGAIN: another agent uses it;
// SPY_ERR_DENIED: it belongs to another user; SPY_ERR_IO and others.
int spy_spool_open(const char *dir, uint64_t max_bytes, struct spy_spool **ret,
                   struct spy_err *err);
void spy_spool_close(struct spy_spool *s);

// Adds a request as the newest. rows describe its series; the losses they report are taken off
// the losses once the file is there. SPY_ERR_LIMIT: it does not fit even in an empty spool;
// SPY_ERR_IO: the disk; then nothing has changed (but older windows may have been dropped) and the
// caller says spy_spool_lose.
int spy_spool_append(struct spy_spool *s, const struct spy_spool_row *rows, size_t n,
                     const void *body, size_t len, struct spy_err *err);
// The samples of this row never got into the spool: counts them as lost. On disk after
// spy_spool_save.
void spy_spool_lose(struct spy_spool *s, const struct spy_spool_row *row);
void spy_spool_save(struct spy_spool *s);

// Appends the oldest request to body; it is then in flight and not dropped until it is settled.
// Damaged files met on the way are set aside. SPY_ERR_NOTFOUND: the spool is empty.
int spy_spool_next(struct spy_spool *s, uint64_t *ret_seq, struct spy_buf *body,
                   struct spy_err *err);
enum spy_spool_outcome {
    SPY_SPOOL_KEEP, // send it again
    SPY_SPOOL_SENT, // acknowledged: deleted
    SPY_SPOOL_LOST, // refused for good: deleted, its samples are a loss
};
void spy_spool_settle(struct spy_spool *s, uint64_t seq, enum spy_spool_outcome outcome);

size_t spy_spool_n(const struct spy_spool *s); // windows that wait, the one in flight too
// Losses that no window reports yet. Borrowed until the next call that changes the spool.
const struct spy_losses *spy_spool_losses(const struct spy_spool *s);
