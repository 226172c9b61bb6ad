// every.h - something that is done again and again on a thread of its own.
#pragma once
#include "shared/base/err.h"

struct spy_every;

// Calls what(arg) on a thread, now and then every `secs` seconds after it returned.
int spy_every_new(unsigned secs, void (*what)(void *arg), void *arg, struct spy_every **ret,
                  struct spy_err *err);
// Calls it once more as soon as a call under way has returned; the next is `secs` after that.
void spy_every_now(struct spy_every *e);
void spy_every_free(struct spy_every *e); // NULL-safe; waits for a call under way
