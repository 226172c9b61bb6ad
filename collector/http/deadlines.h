// deadlines.h - closes connections that are too slow. Inside of collector/http.
//
// Every byte renews libmicrohttpd's timeout, so a client that sends one byte a second would stay
// forever. A thread checks all connections once a second and shuts down those past the deadline of
// their phase:
//
//     headers   SPY_HTTP_HEADER_SECS after the connection began, TLS handshake included
//     body      less than SPY_HTTP_BODY_RATE within SPY_HTTP_HEADER_SECS, or not complete after
//               SPY_HTTP_BODY_SECS
//     working   none, as the collector is the slow side; but a flag is set when the client goes
//     sending   SPY_HTTP_HEADER_SECS plus the time the answer takes at SPY_HTTP_ANSWER_RATE
//     waiting   for the next request and its headers: SPY_HTTP_IDLE_SECS
//
// When nearly all connections are taken, the deadlines of headers and waiting are five times
// shorter, so that new clients find room.
//
// Thread safe.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spy_phase {
    SPY_PHASE_HEADERS,
    SPY_PHASE_BODY,
    SPY_PHASE_WORKING,
    SPY_PHASE_SENDING,
    SPY_PHASE_WAITING
};

struct spy_deadlines;
// max: connections that a listener can have.
int spy_deadlines_new(unsigned max, struct spy_deadlines **ret, struct spy_err *err);
void spy_deadlines_free(struct spy_deadlines *w);

void spy_deadlines_add(struct spy_deadlines *w, const void *connection, int fd);
// Returns whether spy_deadlines_refused was called for it. To be called before the descriptor is
// closed.
bool spy_deadlines_remove(struct spy_deadlines *w, const void *connection);
// size: of the answer, for SPY_PHASE_SENDING.
void spy_deadlines_enter(struct spy_deadlines *w, const void *connection, enum spy_phase phase,
                         size_t size);
// Enters SPY_PHASE_WORKING. *gone is set (shared/base/stop.h) within a second after the client has
// closed its side; it must live until the next phase is entered.
void spy_deadlines_work(struct spy_deadlines *w, const void *connection, bool *gone);
void spy_deadlines_bytes(struct spy_deadlines *w, const void *connection, size_t n);
// Notes that its request was refused before the whole body was read.
void spy_deadlines_refused(struct spy_deadlines *w, const void *connection);
// Open connections of all listeners, and those closed for slowness since the start.
extern int64_t spy_deadlines_n_open, spy_deadlines_n_cut;
