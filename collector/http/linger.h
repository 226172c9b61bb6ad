// linger.h - lets a client read the refusal of a body that it is still sending. Inside of
// collector/http.
//
// Closing a socket that holds unread bytes makes the kernel send a reset, and a client that is still
// writing then sees "connection reset" instead of the answer. So the socket of a request that was
// refused early stays open for a while: what still arrives is discarded without being copied, until
// the client closes its side or SPY_LINGER_SECS have passed. Beyond SPY_LINGER_MAX sockets, further
// ones are closed at once. Thread safe.
#pragma once
#include "shared/base/err.h"

enum { SPY_LINGER_SECS = 10, SPY_LINGER_MAX = 256 };

struct spy_linger;
int spy_linger_new(struct spy_linger **ret, struct spy_err *err);
void spy_linger_free(struct spy_linger *l);
// fd stays the caller's; a duplicate is kept.
void spy_linger_add(struct spy_linger *l, int fd);
