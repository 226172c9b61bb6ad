// server.h - what the files of the server share. Inside of collector/http.
#pragma once
#include "collector/http/capacity.h"
#include "collector/http/deadlines.h"
#include "collector/http/http.h"
#include "collector/http/linger.h"
#include <microhttpd.h>
#include <pthread.h>
#include <sys/socket.h>

enum { SPY_LANE_WORKERS = 16 }; // at most

struct spy_listener {
    struct spy_http *http;
    struct MHD_Daemon *daemon;
    bool local;
    unsigned port;
    struct spy_capacity capacity;
};

// The steps of a request. A worker takes a job from DECIDING to ALLOWED and from READING to DONE;
// each may end in REFUSED.
enum spy_job_state {
    SPY_JOB_CHECKING, // its headers
    SPY_JOB_DECIDING, // a worker asks the route's allow
    SPY_JOB_ALLOWED,  // by a worker; libmicrohttpd has yet to continue
    SPY_JOB_READING,  // its body, if it has one; then the handler runs
    SPY_JOB_REFUSED,  // res holds the refusal
    SPY_JOB_DONE,     // res holds what the handler made
};

// One request, from its headers until its answer is sent.
struct spy_job {
    struct spy_listener *listener;
    struct MHD_Connection *connection;
    const struct sockaddr *client; // of the connection; NULL: not known
    const struct spy_http_route *route;
    struct spy_http_request req;
    struct spy_http_response res;
    struct spy_param params[SPY_HTTP_PARAMS];
    char method[16], path[256];
    struct spy_buf body;
    size_t answer_len; // its part of spy_http.answers
    enum spy_job_state state;
    enum spy_http_lane lane;
    bool gone; // shared/base/stop.h: the client has gone, or the server ends
    bool cut;  // the connection ends with the answer
    struct spy_job *next;
};

// Requests that wait, and the threads that take them.
struct spy_lane {
    struct spy_http *http;
    const struct spy_lane_kind *kind;
    struct spy_job *first, *last;
    unsigned n_queued, n_workers;
    pthread_cond_t wake; // a job waits, or stop
    struct spy_worker {
        struct spy_lane *lane;
        struct spy_job *job; // its current job
        pthread_t thread;
    } workers[SPY_LANE_WORKERS];
};

struct spy_http {
    struct spy_http_options options;
    struct spy_listener tls, plain;
    struct spy_deadlines *deadlines;
    struct spy_linger *linger;
    pthread_mutex_t lock; // of all below
    pthread_cond_t idle;  // n_jobs is 0
    struct spy_lane lanes[SPY_HTTP_LANES];
    unsigned n_jobs;
    bool closing; // answers end their connections, and waiting questions are refused
    bool stop;
    size_t bodies, large_bodies, answers; // bytes held
};

// The lanes' threads. In lane.c.
int spy_lanes_start(struct spy_http *h, struct spy_err *err);
enum spy_lane_put {
    SPY_LANE_TAKEN,
    SPY_LANE_FULL,   // too many wait, or the server ends
    SPY_LANE_CROWDED // too many of the same client wait
};
// Gives the job to a worker. h->lock is held.
enum spy_lane_put spy_lane_put(struct spy_http *h, struct spy_job *j, enum spy_http_lane lane);
// Finishes the requests in progress, within SPY_HTTP_GRACE_SECS, and ends the threads.
// True once spy_lanes_finish has begun.
bool spy_lanes_are_closing(struct spy_http *h);
void spy_lanes_finish(struct spy_http *h);

// libmicrohttpd's callbacks; arg is a struct spy_listener. In job.c.
enum MHD_Result spy_job_on_request(void *arg, struct MHD_Connection *c, const char *url,
                                   const char *method, const char *version, const char *data,
                                   size_t *len, void **state);
void spy_job_on_completed(void *arg, struct MHD_Connection *c, void **state,
                          enum MHD_RequestTerminationCode why);
// Runs the handler; drop: refuses the request instead, because the server ends or the client has
// gone. Called by a worker. True: the job belongs in the lane of large questions.
bool spy_job_run(struct spy_job *j, bool drop);
// Lets the job's connection send its answer: what the handler made if put is SPY_LANE_TAKEN, else
// the refusal of a full lane.
void spy_job_resume(struct spy_job *j, enum spy_lane_put put);

// Whether both have the same address, whatever the port. All unknown addresses (NULL) are the same.
bool spy_http_same_client(const struct sockaddr *a, const struct sockaddr *b);
// ADDR:PORT -> a listening socket. loopback_only: refuse anything else. In address.c.
int spy_http_listen(const char *address, bool loopback_only, unsigned *ret_port,
                    struct spy_err *err);
// Whether this Host header names this machine's loopback. "" (HTTP/1.0) does.
bool spy_http_host_is_loopback(const char *host);
