// upload.h - closed windows to the collector: OTLP, zstd, a bounded spool on disk, HTTPS, retry.
//
// spy_upload_window encodes the window, writes it to the spool and returns. A thread of the upload's
// own sends the spooled windows, oldest first, and deletes each only after the collector's 200. So
// the sampler never waits for the network, and a window is sent again until it is acknowledged; the
// collector stores each profile_id once.
//
// The spool never grows past its bound: the oldest windows are dropped, counted, and the loss is
// reported as quality.lost of the same series in the next window that is spooled; a series whose
// process is gone gets a window without samples. Losses outlive a restart. Files left by an earlier
// run are sent too. A damaged spool file is set aside (renamed *.bad), counted, and never blocks
// the rest.
//
// Failures: unreachable, 429 and 5xx are retried with exponential backoff (1 s to 60 s) and full
// jitter, honouring Retry-After; 401 and 403 likewise, with one log line a minute, since the token
// file may be about to change: a change of the token, CA or client certificate file ends the wait
// at once. 400, 413, 415 and 422 are final for that window: it
// is dropped, counted as rejected and as lost, and logged with the collector's reason; with
// SPY_PUSH_AUTO only after it was refused in gzip as well. Any other
// answer (a redirect, 404, a page of something else) is not a collector's: as unreachable.
//
// Threads: all functions from one thread; the upload's own thread is internal.
#pragma once
#include "agent/upload/push.h"
#include "shared/base/err.h"
#include "shared/base/metrics.h"
#include "shared/profile/profile.h"

struct spy_upload_options {
    const char *url; // of the collector, without path; https:// or, for loopback only, http://
    const char *ca_file, *token_file, *cert_file, *key_file; // NULL: not used
    const char *spool_dir;
    uint64_t spool_bytes;
    uint64_t timeout_ns;                   // of one request; 0: 30 s
    enum spy_push_compression compression; // of requests; the spool is in zstd
    uint64_t body_bytes; // of one request, compressed; 0: 16 MiB, the collector's limits.body_mib
};

struct spy_upload;

// Makes the spool folder (0700), adopts what is in it and starts the thread. SPY_ERR_USAGE: the URL
// or the files; SPY_ERR_AGAIN: another agent uses the folder. The strings are copied.
int spy_upload_new(const struct spy_upload_options *options, struct spy_upload **ret,
                   struct spy_err *err);
// Gives each series that has samples or any quality count a random profile_id, encodes, compresses
// and spools the window: one request, or several of whole series where one would be larger than
// body_bytes. p is borrowed for the call; its series' profile_id and quality.lost are set, and
// series are added for losses of processes that it does not have. On failure (the disk, memory, one
// series larger than a request) the rest is counted as lost and reported later.
int spy_upload_window(struct spy_upload *u, struct spy_profile *p, struct spy_err *err);
// Waits until the spool is empty or timeout_ns has passed; a wait for the next try is cut short,
// but for Retry-After. 0 or SPY_ERR_AGAIN.
int spy_upload_flush(struct spy_upload *u, uint64_t timeout_ns);
// Stops the thread; spooled windows stay for the next run.
void spy_upload_free(struct spy_upload *u);

extern const struct spy_metric spy_upload_metrics[];
extern const size_t spy_upload_n_metrics;
