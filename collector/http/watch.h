// watch.h - cuts off connections that are too slow. Inside of collector/http.
//
// libmicrohttpd's timeout is renewed by every byte, so a client that sends one byte a second stays
// for ever. A thread looks at all connections once a second and shuts down those whose request
// headers were not complete in time or whose body comes below the least rate. Thread safe.
#pragma once
#include "shared/base/err.h"
#include <stddef.h>

struct spy_watch;
int spy_watch_new(struct spy_watch **ret, struct spy_err *err);
void spy_watch_free(struct spy_watch *w);

void spy_watch_add(struct spy_watch *w, const void *connection, int fd);
void spy_watch_remove(struct spy_watch *w, const void *connection);
void spy_watch_headers_done(struct spy_watch *w, const void *connection);
void spy_watch_bytes(struct spy_watch *w, const void *connection, size_t n);
void spy_watch_answered(struct spy_watch *w, const void *connection);
