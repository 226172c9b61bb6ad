// agent_config.h - the agent's YAML as a checked structure.
//
// Unknown keys, wrong types, values out of range and regular expressions that do not compile are
// errors; the message names the file, the line and what is allowed. A key that is not given has the
// default written beside its field. Strings are owned by the structure.
#pragma once
#include "agent/target/pause.h"
#include "shared/base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spy_compression {
    SPY_COMPRESSION_AUTO, // zstd; gzip once a backend has refused zstd
    SPY_COMPRESSION_ZSTD,
    SPY_COMPRESSION_GZIP,
    SPY_COMPRESSION_NONE
};
enum spy_switch { SPY_SWITCH_AUTO, SPY_SWITCH_ON, SPY_SWITCH_OFF };

// A rule that opts processes in. Every field that is given must match.
struct spy_rule {
    char *name;    // required: the `pod` of processes outside Kubernetes and Docker; "${VARIABLE}"
                   // in the file is replaced by that environment variable
    char *cmdline; // regular expression (shared/base/regex.h) for the arguments joined by spaces,
                   // or NULL
    char *exe;     // glob for the path of the executable; discover.h says which path
    char *cgroup;  // glob for a cgroup path
    char *user;    // user name or number
    uint32_t rate; // samples a second; 0: sampling.rate
    bool native;
    int line; // of the YAML file, for messages
};

struct spy_agent_config {
    char *cluster; // the label k8s.cluster.name; NULL: none
    struct {
        char *url;        // https://... or http://...; NULL: not given
        char *ca_file;    // NULL: the system's
        char *token_file; // NULL: no bearer token
        char *cert_file, *key_file;
    } collector;
    struct {
        uint32_t rate;             // 100; 1 to 1000
        enum spy_pausing blocking; // auto
        bool native;               // false
    } sampling;
    struct {
        double cpu_percent;  // 2; of one core; above 0
        uint32_t memory_mib; // 64
    } budget;
    struct {
        enum spy_switch kubernetes, docker; // auto
        char *kubernetes_url; // https://... or http://...; NULL: in a pod, from the environment
        char *kubernetes_token_file; // NULL: in a pod, the service account's
        char *kubernetes_ca_file;    // NULL: in a pod, the service account's
        char *docker_socket;         // /var/run/docker.sock
        char *annotation_prefix;     // podspy.dev
        struct spy_rule *processes;
        size_t n_processes;
    } discovery;
    struct {
        uint64_t interval_ns;             // 10s; 1s to 10m
        char *spool_dir;                  // /var/lib/podspy/spool
        uint32_t spool_mib;               // 256
        enum spy_compression compression; // auto
    } push;
};

// Reads path; NULL gives the defaults alone. On success *ret is filled and must be freed.
int spy_agent_config_load(const char *path, struct spy_agent_config *ret, struct spy_err *err);
// The same from text; name stands for the file in messages. For tests and fuzzing.
int spy_agent_config_parse(const char *name, const char *text, size_t len,
                           struct spy_agent_config *ret, struct spy_err *err);
void spy_agent_config_free(struct spy_agent_config *c); // leaves *c zeroed
