// server.h - what the files of the server share. Inside of collector/http.
#pragma once
#include "collector/http/capacity.h"
#include "collector/http/http.h"
#include "collector/http/linger.h"
#include "collector/http/watch.h"
#include <microhttpd.h>
#include <pthread.h>

struct spy_listener {
    struct spy_http *http;
    struct MHD_Daemon *daemon;
    bool local;
    unsigned port;
    struct spy_capacity capacity;
};

// One request, from its headers until its answer is sent.
struct spy_job {
    struct spy_listener *listener;
    struct MHD_Connection *connection;
    const struct spy_http_route *route;
    struct spy_http_request req;
    struct spy_http_response res;
    struct spy_http_param params[SPY_HTTP_PARAMS];
    char method[16], path[256];
    struct spy_buf body;
    size_t answer_len; // counted in spy_http.answers
    bool refused, done;
    bool cut;               // the connection ends with the answer
    bool deciding, decided; // a worker asks allow; it has, and libmicrohttpd is to be told
    struct spy_job *next;
};

struct spy_http {
    struct spy_http_options options;
    struct spy_listener tls, plain;
    struct spy_watch *watch;
    struct spy_linger *linger;
    pthread_mutex_t lock; // of all below
    pthread_cond_t wake;  // a job waits, or stop
    pthread_cond_t idle;  // n_jobs is 0
    struct spy_job *first, *last;
    unsigned n_queued, n_jobs;
    bool closing; // answers end their connections
    bool stop;
    size_t bodies, answers; // bytes held
    pthread_t workers[SPY_HTTP_WORKERS];
    unsigned n_workers;
};

// libmicrohttpd's callbacks; arg is a struct spy_listener. In job.c.
enum MHD_Result spy_job_on_request(void *arg, struct MHD_Connection *c, const char *url,
                                   const char *method, const char *version, const char *data,
                                   size_t *len, void **state);
void spy_job_on_completed(void *arg, struct MHD_Connection *c, void **state,
                          enum MHD_RequestTerminationCode why);
// Runs the handler and lets the connection go on. Called by a worker.
void spy_job_run(struct spy_job *j);

// ADDR:PORT -> a listening socket. loopback_only: refuse anything else. In address.c.
int spy_http_listen(const char *address, bool loopback_only, unsigned *ret_port,
                    struct spy_err *err);
// Is this Host header a name of this machine's loopback? "" (HTTP/1.0) is.
bool spy_http_host_is_loopback(const char *host);
