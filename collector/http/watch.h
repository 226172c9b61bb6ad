// watch.h - cuts off connections that are too slow. Inside of collector/http.
//
// libmicrohttpd's timeout is renewed by every byte, so a client that sends one byte a second stays
// for ever. A thread looks at all connections once a second and shuts down those that are past the
// deadline of the phase they are in:
//
//     headers   SPY_HTTP_HEADER_SECS after the connection began, TLS handshake included
//     body      when less than SPY_HTTP_BODY_RATE came in SPY_HTTP_HEADER_SECS, or it is not whole
//     after
//               SPY_HTTP_BODY_SECS
//     working   none: it is we who are slow; but the flag is set that tells that the client has
//     gone sending   SPY_HTTP_HEADER_SECS and the time the answer takes at SPY_HTTP_ANSWER_RATE
//     waiting   for the next request, with its headers: SPY_HTTP_IDLE_SECS
//
// Where nearly as many are open as there can be, those without a request have a fifth of that time,
// so that new clients find room.
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

struct spy_watch;
// max: connections that a listener can have.
int spy_watch_new(unsigned max, struct spy_watch **ret, struct spy_err *err);
void spy_watch_free(struct spy_watch *w);

void spy_watch_add(struct spy_watch *w, const void *connection, int fd);
// Returns whether spy_watch_refused was called for it. Must come before the descriptor is closed.
bool spy_watch_remove(struct spy_watch *w, const void *connection);
// size: of the answer, for SENDING.
void spy_watch_enter(struct spy_watch *w, const void *connection, enum spy_phase phase,
                     size_t size);
// WORKING. *gone is set (shared/base/stop.h) within a second after the client has closed its side;
// it must live until the next phase is entered.
void spy_watch_work(struct spy_watch *w, const void *connection, bool *gone);
void spy_watch_bytes(struct spy_watch *w, const void *connection, size_t n);
// Its request was refused before the whole body was read.
void spy_watch_refused(struct spy_watch *w, const void *connection);
// Connections of all listeners that are open, and that were cut off since the start.
extern int64_t spy_watch_n_open, spy_watch_n_cut;
