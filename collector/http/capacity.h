// capacity.h - how many connections a listener may hold. Inside of collector/http.
//
// When libmicrohttpd runs out of descriptors, it retries accept() in a loop. So a listener gets no
// more connections than there are descriptors for, minus what the store, the log and refused uploads
// (linger.h) need. At its limit libmicrohttpd stops listening, and clients wait in the kernel's
// queue until a connection ends. Threads: any.
#pragma once

struct spy_capacity {
    unsigned max, n; // connections; n atomically
};

// Sets the limit of each of n_listeners: SPY_HTTP_CONNECTIONS, or fewer if RLIMIT_NOFILE is low,
// which is logged.
void spy_capacity_init(struct spy_capacity *c, unsigned n_listeners);
// Counts a connection that began (1) or ended (-1). Logs at most once a minute that all are taken.
void spy_capacity_count(struct spy_capacity *c, int change);
