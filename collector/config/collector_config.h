// collector_config.h - the collector's YAML as a checked structure.
//
// Mistakes are reported and defaults are written down as in agent/config/agent_config.h: each error
// names the file, the line and what is allowed; strings are owned by the structure.
#pragma once
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPY_AUTH_TOKEN = 1, SPY_AUTH_MTLS = 2, SPY_AUTH_KUBERNETES = 4 };
enum spy_store_kind { SPY_STORE_SQLITE, SPY_STORE_CLICKHOUSE };

struct spy_collector_config {
    struct {
        char *https; // "0.0.0.0:8443"
        char *http;  // "127.0.0.1:8080"; "" or "off": none
    } listen;
    struct {
        char *cert_file, *key_file, *client_ca_file; // NULL: made in the data folder at first start
        char *secret;     // the Secret of the pod's namespace that keeps them instead; NULL: none
        char *config_map; // the ConfigMap for the authority's certificate; NULL: none
    } tls;
    struct {
        unsigned ingest; // SPY_AUTH_ bits; token
        unsigned read;   // token
        struct {
            char *audience; // podspy-collector: the audience of agents' tokens
            char *agent;   // the accounts that may push, separated by commas; NULL: podspy-agent of
                           // the pod's namespace
            char *service; // podspy-collector: accounts that may get this service may read
            char *url, *ca_file, *token_file, *name_space; // NULL: the pod's own
        } kubernetes;
    } auth;
    struct {
        enum spy_store_kind kind; // sqlite
        char *dir;                // /var/lib/podspy-collector: the data folder
        // of clickhouse
        char *url;                     // its HTTP interface; http:// for this machine alone
        char *database;                // podspy: made if it is missing
        char *user;                    // NULL: ClickHouse's own default
        char *password_file, *ca_file; // NULL: none; the system's authorities
        uint32_t replicas;             // 0: the tables are not replicated
    } store;
    struct {
        uint64_t raw_ns;     // 24h
        uint64_t minutes_ns; // 7d; at least raw_ns, or that if hours_ns is 0
        uint64_t hours_ns;   // 90d; at least minutes_ns, or 0: no sums
        uint32_t max_gib;    // 50
    } retention;
    struct {
        uint32_t body_mib;             // 16
        uint32_t agents;               // 10000
        uint32_t series;               // 1000000
        uint32_t connections_per_ip;   // 256
        uint32_t agent_mib_per_minute; // 256; 0: no bound
        uint32_t memory_mib;           // 0: three quarters of the cgroup's or the machine's
    } limits;
    // Dispatchers beside the known ones: PCRE2 expressions, checked; both are given.
    struct spy_entry_rule {
        char *module, *function;
        int line;
    } * entries;
    size_t n_entries; // SPY_ENTRY_RULES_MAX at most
};
enum { SPY_ENTRY_RULES_MAX = 64 };

// Reads path; NULL gives the defaults. On success *ret is filled and must be freed. SPY_ERR_INVALID,
// SPY_ERR_LIMIT, or the failure to read the file.
int spy_collector_config_load(const char *path, struct spy_collector_config *ret,
                              struct spy_err *err);
// The same from text; name stands for the file in messages. For tests and fuzzing.
int spy_collector_config_parse(const char *name, const char *text, size_t len,
                               struct spy_collector_config *ret, struct spy_err *err);
// Calls fn with the name of each key in which the two differ, such as "retention.raw".
void spy_collector_config_compare(const struct spy_collector_config *a,
                                  const struct spy_collector_config *b,
                                  void (*fn)(void *arg, const char *key), void *arg);
void spy_collector_config_free(struct spy_collector_config *c); // leaves *c zeroed
