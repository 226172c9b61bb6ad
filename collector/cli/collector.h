// collector.h - the parts of a running collector. Inside of collector/cli.
//
//     main.c       the command line, signals, exit codes
//     collector.c  starts the parts in order and ends them in reverse
//     memory.c     how its memory is divided
//     reload.c     the configuration, read again
//     data.c       the data folder: its mode, its lock, ports.json
//     routes.c     the list of routes; the other files end with the rows (routes.h):
//     access.c     who may send and who may ask
//     push.c       profiles in
//     ask.c        queries
//     grafana.c    questions of Grafana
//     page.c       the page and speedscope
//     health.c     probes
//     metrics.c    /metrics
//     usage.c      what the collector itself takes
//     ready.c      --ready, a probe for containers
//     enroll.c     --enroll, an agent's credentials
#pragma once
#include "collector/auth/auth.h"
#include "collector/auth/tls.h"
#include "collector/cli/memory.h"
#include "collector/config/collector_config.h"
#include "collector/http/http.h"
#include "collector/ingest/ingest.h"
#include "collector/query/query.h"
#include "collector/store/store.h"
#include "collector/web/web.h"
#include "shared/base/err.h"
#include "shared/base/every.h"
#include "shared/base/file_id.h"
#include "shared/base/metrics.h"

enum { SPY_ROUTES_MAX = 32 + SPY_WEB_MAX };
enum { SPY_EXIT_OK = 0, SPY_EXIT_FAILED = 1, SPY_EXIT_USAGE = 2 };

struct spy_collector {
    struct spy_collector_config config;
    struct spy_memory memory;
    struct spy_entry_pattern entries[SPY_ENTRY_PATTERNS_MAX]; // of the configuration
    int lock_fd;                                              // of the data folder
    struct spy_kubeapi *kube;                                 // NULL: not needed
    struct spy_tls *tls;
    struct spy_every *renewal; // of certificates and tokens
    char renewal_failure[240]; // the last failure; "": none
    uint64_t renewal_logged;
    struct spy_auth *auth;
    struct spy_store *store;
    struct spy_ingest *ingest;
    struct spy_every *retention; // drops old data
    struct spy_http *http;
    uint64_t ready_until; // atomic, CLOCK_MONOTONIC: until then /readyz need not check the store
    struct spy_http_route routes[SPY_ROUTES_MAX];
    uint64_t started_ns; // Unix time
    bool ending;         // atomic; /readyz answers 503 from then on
};

// Takes over config, on failure too. Call spy_collector_stop in either case.
int spy_collector_start(struct spy_collector *c, struct spy_collector_config *config,
                        struct spy_err *err);
void spy_collector_stop(struct spy_collector *c);
// Looks for damage in a store that no collector uses, and changes nothing in it. SPY_ERR_IO: damage
// was found.
int spy_collector_check(const struct spy_collector_config *config, struct spy_err *err);
// Copies the store, which a collector may use, to a folder. Errors as of spy_store_backup_dir.
int spy_collector_backup(const struct spy_collector_config *config, const char *folder,
                         struct spy_err *err);
// Asks the collector that listens with this configuration for /readyz. 0: it is ready. SPY_ERR_IO,
// SPY_ERR_AGAIN, SPY_ERR_UNSUPPORTED (listen.http is off).
int spy_collector_ask_ready(const struct spy_collector_config *config, struct spy_err *err);
// Copies ca.pem and ingest.token from the data folder into `folder`, each in one step, as agents read
// them again when they change. The group may read them: an agent that is root without capabilities
// reads by its group. SPY_ERR_NOTFOUND: the collector has not made them yet.
int spy_collector_enroll(const struct spy_collector_config *config, const char *folder,
                         struct spy_err *err);
// Makes the renewal thread read certificates, authorities and tokens again, soon.
void spy_collector_reload(struct spy_collector *c);
// Starts the thread that drops old data, by the configuration's retention.
int spy_collector_start_retention(struct spy_collector *c, struct spy_err *err);
// Applies what may change in a configuration that was read again, and logs what needs a restart.
// fresh NULL: it was refused, err says why; the previous one stays. Called by the main thread.
void spy_collector_reconfigure(struct spy_collector *c, const struct spy_collector_config *fresh,
                               const struct spy_err *err);
// Whether the file is another one, or was written, since *last was filled. path NULL: never.
bool spy_config_has_changed(const char *path, struct spy_file_id *last);
extern int64_t spy_reload_is_current; // a gauge: the file's configuration is the one in use

// Fills SPY_ROUTES_MAX places at most; the last route has no method. arg: the struct spy_collector.
void spy_collector_list_routes(struct spy_http_route *ret);

// Makes the data folder, sets its mode to 0700 and locks it: one collector at a time uses it.
// SPY_ERR_DENIED: another collector does. *ret_lock: close it to unlock.
int spy_data_open(const char *dir, int *ret_lock, struct spy_err *err);
// Writes DIR/ports.json, for scripts: {"pid", "https", "http"}; the port of a listener that is off
// is null.
int spy_data_write_ports(const char *dir, unsigned https, unsigned http, struct spy_err *err);
void spy_data_remove_ports(const char *dir);
