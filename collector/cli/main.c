// podspy-collector: receives profiles from agents, stores them, answers questions about them.
#include "collector/cli/collector.h"
#include "shared/base/descriptors.h"
#include "shared/base/log.h"
#include <argp.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

const char *argp_program_version = "podspy-collector " PODSPY_VERSION;

enum {
    KEY_LISTEN_HTTP = 256,
    KEY_DATA,
    KEY_CHECK,
    KEY_READY,
    KEY_ENROLL,
    KEY_LOG_LEVEL,
    KEY_LOG_FORMAT
};
enum { WATCH_SECS = 5 }; // between two looks at the configuration file

struct options {
    const char *config, *https, *http, *data, *enroll, *backup;
    bool is_backup; // its folder comes next
    bool check, ready;
    struct spy_err *err;
};

static const struct argp_option option_list[] = {
    {"config", 'c', "FILE", 0, "read the configuration from FILE (YAML)", 0},
    {"listen", 'l', "ADDR:PORT", 0, "listen here with TLS; port 0 takes any free one", 0},
    {"listen-http", KEY_LISTEN_HTTP, "ADDR:PORT", 0,
     "listen here for queries without TLS, loopback only; 'off' for not at all", 0},
    {"data", KEY_DATA, "DIR", 0, "keep the data, the CA and the tokens in DIR", 0},
    {"check", KEY_CHECK, NULL, 0,
     "the same as check: look for damage in the data that is kept, and end", 0},
    {"ready", KEY_READY, NULL, 0,
     "say whether the collector of this configuration is ready, and end", 0},
    {"enroll", KEY_ENROLL, "DIR", 0,
     "copy what an agent needs, ca.pem and ingest.token, to DIR, and end", 0},
    {"log-level", KEY_LOG_LEVEL, "LEVEL", 0, "error, warn, info (default) or debug", 0},
    {"log-format", KEY_LOG_FORMAT, "FORMAT", 0, "logfmt (default) or json", 0},
    {0},
};

// "check", or "backup" and its folder.
static void take_word(struct options *o, const char *word, const struct argp_state *state)
{
    bool is_first = !o->check && !o->is_backup;
    if (is_first && !strcmp(word, "check"))
        o->check = true;
    else if (is_first && !strcmp(word, "backup"))
        o->is_backup = true;
    else if (o->is_backup && !o->backup && *word)
        o->backup = word;
    else
        argp_error(state, "'%s' is not an option", word);
}

static error_t parse_collector_option(int key, char *arg, struct argp_state *state)
{
    struct options *o = state->input;
    switch (key) {
    case 'c':
        o->config = arg;
        return 0;
    case 'l':
        o->https = arg;
        return 0;
    case KEY_LISTEN_HTTP:
        o->http = arg;
        return 0;
    case KEY_DATA:
        if (!*arg)
            argp_error(state, "--data needs a folder");
        o->data = arg;
        return 0;
    case KEY_CHECK:
        o->check = true;
        return 0;
    case KEY_READY:
        o->ready = true;
        return 0;
    case KEY_ENROLL:
        o->enroll = arg;
        return 0;
    case KEY_LOG_LEVEL:
        if (spy_log_set_level(arg, o->err) < 0)
            argp_error(state, "%s", o->err->msg);
        return 0;
    case KEY_LOG_FORMAT:
        if (spy_log_set_format(arg, o->err) < 0)
            argp_error(state, "%s", o->err->msg);
        return 0;
    case ARGP_KEY_ARG:
        take_word(o, arg, state);
        return 0;
    case ARGP_KEY_END:
        if (o->is_backup && !o->backup)
            argp_error(state, "backup needs a folder: podspy-collector backup DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int replace_text(char **to, const char *with, struct spy_err *err)
{
    char *copy = with ? strdup(with) : NULL;
    if (!with)
        return 0;
    if (!copy)
        return spy_err_nomem(err);
    free(*to);
    *to = copy;
    return 0;
}

// The command line overrides the file.
static int load_config(const struct options *o, struct spy_collector_config *ret,
                       struct spy_err *err)
{
    char host[256];
    unsigned port;
    if (o->https && spy_http_split_address(o->https, host, sizeof host, &port, err) < 0)
        return SPY_ERR_USAGE;
    if (o->http && strcmp(o->http, "off") != 0 &&
        spy_http_split_address(o->http, host, sizeof host, &port, err) < 0)
        return SPY_ERR_USAGE;
    int r = spy_collector_config_load(o->config, ret, err);
    if (r < 0)
        return r;
    r = replace_text(&ret->listen.https, o->https, err);
    if (r == 0)
        r = replace_text(&ret->listen.http, o->http, err);
    if (r == 0)
        r = replace_text(&ret->store.dir, o->data, err);
    return r;
}

// Called before any thread starts, so that all threads inherit the mask and only sigwait gets these
// signals.
static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigprocmask(SIG_BLOCK, set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

// This process's memory holds keys and tokens: no core file may be written, and no other process of
// its user may read it (prctl(2), PR_SET_DUMPABLE).
static void close_memory(void)
{
    const struct rlimit none = {0, 0};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setrlimit(RLIMIT_CORE, &none) < 0)
        spy_log(SPY_LOG_WARN,
                "core dumps cannot be disabled: they would hold the collector's keys");
}

static void reload_config(struct spy_collector *c, const struct options *o)
{
    struct spy_collector_config fresh = {0};
    struct spy_err err = {0};
    int r = load_config(o, &fresh, &err);
    spy_collector_reconfigure(c, r == 0 ? &fresh : NULL, &err);
    spy_collector_config_free(&fresh);
}

// Waits for the signal that ends the collector; reads what has changed again, meanwhile.
static int wait_for_end(struct spy_collector *c, const struct options *o, const sigset_t *set,
                        struct spy_file_id *file)
{
    const struct timespec watch = {.tv_sec = WATCH_SECS};
    for (;;) {
        int signal_number = sigtimedwait(set, NULL, &watch);
        if (signal_number > 0 && signal_number != SIGHUP)
            return signal_number;
        if (spy_config_has_changed(o->config, file) || signal_number == SIGHUP)
            reload_config(c, o);
        if (signal_number == SIGHUP)
            spy_collector_reload(c);
    }
}

static int serve_profiles(const struct options *o, struct spy_collector_config *config,
                          struct spy_file_id *file, struct spy_err *err)
{
    sigset_t set;
    struct spy_collector c;
    block_signals(&set);
    close_memory();
    spy_descriptors_raise(); // each connection is a descriptor
    int r = spy_collector_start(&c, config, err);
    if (r == 0) {
        int signal_number = wait_for_end(&c, o, &set, file);
        spy_log(SPY_LOG_INFO, "ending", SPY_S("signal", sigabbrev_np(signal_number)));
    }
    spy_collector_stop(&c);
    if (r == 0)
        spy_log(SPY_LOG_INFO, "ended");
    return r;
}

static int check_data(const struct spy_collector_config *config, struct spy_err *err)
{
    int r = spy_collector_check(config, err);
    if (r == 0)
        printf("%s: no damage found\n", config->store.dir);
    return r;
}

static int back_up(const struct options *o, const struct spy_collector_config *config,
                   struct spy_err *err)
{
    int r = spy_collector_backup(config, o->backup, err);
    if (r == 0)
        printf("%s/podspy.db: a copy of the store in %s\n", o->backup, config->store.dir);
    return r;
}

static int run_collector(const struct options *o, struct spy_err *err)
{
    struct spy_collector_config config = {0};
    struct spy_file_id file = {0};
    spy_config_has_changed(o->config, &file); // before it is read, so that no change is missed
    int r = load_config(o, &config, err);
    if (r == 0 && !o->check && !o->ready && !o->enroll && !o->backup)
        return serve_profiles(o, &config, &file, err); // which takes config over
    if (r == 0 && o->check)
        r = check_data(&config, err);
    if (r == 0 && o->backup)
        r = back_up(o, &config, err);
    if (r == 0 && o->ready)
        r = spy_collector_ask_ready(&config, err);
    if (r == 0 && o->enroll)
        r = spy_collector_enroll(&config, o->enroll, err);
    spy_collector_config_free(&config);
    return r;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = option_list,
        .parser = parse_collector_option,
        .args_doc = "[check | backup DIR]",
        .doc =
            "Takes profiles from podspy agents (or any OTLP profiler) and serves them as "
            "flamegraphs.\vWith check it looks for damage in a store that is not in use, and with "
            "backup DIR it copies a store, which may be in use, to DIR; then it ends.",
    };
    struct spy_err err = {0};
    struct options o = {.err = &err};
    spy_descriptors_open_std();
    argp_err_exit_status = SPY_EXIT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    umask(077);
    json_object_seed(0); // before several threads use jansson
    int r = run_collector(&o, &err);
    if (r == 0)
        return SPY_EXIT_OK;
    fprintf(stderr, "Error: %s\n", err.msg[0] ? err.msg : spy_code_name(r));
    return r == SPY_ERR_USAGE ? SPY_EXIT_USAGE : SPY_EXIT_FAILED;
}
