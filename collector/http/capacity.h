// capacity.h - how many connections a listener may hold. Inside of collector/http.
//
// libmicrohttpd that runs out of descriptors tries accept() again and again. So a listener gets no
// more connections than there are descriptors for, beside what the store, the log and refused
// uploads (linger.h) need: at its limit libmicrohttpd stops listening, and clients wait in the
// kernel's queue until a connection ends. Threads: any.
#pragma once

struct spy_capacity {
    unsigned max, n; // connections; n atomically
};

// With n_listeners alike: SPY_HTTP_CONNECTIONS, or fewer where RLIMIT_NOFILE says so, which is
// logged.
void spy_capacity_init(struct spy_capacity *c, unsigned n_listeners);
// A connection came (1) or went (-1). That all are taken is logged at most once a minute.
void spy_capacity_count(struct spy_capacity *c, int change);
