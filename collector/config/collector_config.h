// collector_config.h - the collector's YAML as a checked structure. The rules of agent_config.h
// hold.
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
        char *cert_file, *key_file, *client_ca_file; // NULL: made on first start in the data folder
        char *secret;     // a Secret of the pod's namespace to keep them in instead; NULL: none
        char *config_map; // a ConfigMap to publish the authority's certificate in; NULL: none
    } tls;
    struct {
        unsigned ingest; // SPY_AUTH_ bits; token
        unsigned read;   // token
        struct {
            char *audience; // podspy-collector: what tokens of agents are for
            char *agent;    // whose they must be, commas between several; NULL: podspy-agent of the
                            // pod's namespace
            char *service;  // podspy-collector: who may get it may read
            char *url, *ca_file, *token_file, *name_space; // NULL: as inside of a pod
        } kubernetes;
    } auth;
    struct {
        enum spy_store_kind kind; // sqlite
        char *dir;                // /var/lib/podspy-collector: the data folder
        char *url, *database, *user, *password_file;
    } store;
    struct {
        uint64_t raw_ns, minutes_ns, hours_ns; // 24h, 7d, 90d
        uint32_t max_gib;                      // 50
    } retention;
    struct {
        uint32_t body_mib;             // 16
        uint32_t agents;               // 10000
        uint32_t series;               // 1000000
        uint32_t connections_per_ip;   // 256
        uint32_t agent_mib_per_minute; // 256; 0: no bound
        uint32_t memory_mib;           // 0: three quarters of what the cgroup or the machine has
    } limits;
};

int spy_collector_config_load(const char *path, struct spy_collector_config *ret,
                              struct spy_err *err);
int spy_collector_config_parse(const char *name, const char *text, size_t len,
                               struct spy_collector_config *ret, struct spy_err *err);
void spy_collector_config_free(struct spy_collector_config *c);
