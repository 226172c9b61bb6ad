// every.h - a function that is called periodically on a thread of its own.
#pragma once
#include "shared/base/err.h"

struct spy_every;

// Starts a thread that calls what(arg) at once, and again `secs` seconds after each return.
int spy_every_new(unsigned secs, void (*what)(void *arg), void *arg, struct spy_every **ret,
                  struct spy_err *err);
// Makes the thread call it as soon as a call in progress has returned; the next call follows `secs`
// after that.
void spy_every_now(struct spy_every *e);
void spy_every_free(struct spy_every *e); // NULL-safe; waits for a call in progress
