// linger.h - lets a client read the refusal of a body that it is still sending. Inside of
// collector/http.
//
// Closing a socket with unread bytes in it makes the kernel send a reset, and the client, busy
// writing, then sees "connection reset" in place of the answer. So a socket whose request was
// refused early is kept a little longer: what still comes is thrown away without being copied,
// until the client ends, SPY_LINGER_SECS have passed or more than SPY_LINGER_MAX sockets wait (then
// it is closed at once, as without this). Thread safe.
#pragma once
#include "shared/base/err.h"

enum { SPY_LINGER_SECS = 10, SPY_LINGER_MAX = 256 };

struct spy_linger;
int spy_linger_new(struct spy_linger **ret, struct spy_err *err);
void spy_linger_free(struct spy_linger *l);
// fd stays the caller's; a duplicate is kept.
void spy_linger_add(struct spy_linger *l, int fd);
