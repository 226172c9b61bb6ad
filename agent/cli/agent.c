// podspy agent: runs the agent (agent/daemon).
#include "agent/cli/cli.h"
#include "agent/cli/output.h"
#include "agent/config/agent_config.h"
#include "agent/daemon/alive.h"
#include "agent/daemon/daemon.h"
#include "shared/base/log.h"
#include <argp.h>

enum { KEY_CONFIG = 300, KEY_COLLECTOR, KEY_ONCE, KEY_ALIVE, KEY_LOG_LEVEL, KEY_LOG_FORMAT };

struct arguments {
    struct spy_daemon_options daemon;
    bool alive;
    struct spy_err *err;
};

static const struct argp_option agent_options[] = {
    {"config", KEY_CONFIG, "FILE", 0, "the YAML configuration", 0},
    {"collector", KEY_COLLECTOR, "URL", 0, "the collector, instead of collector.url", 0},
    {"once", KEY_ONCE, "SECS", 0, "sample that long, push, and end", 0},
    {"alive", KEY_ALIVE, 0, 0, "say whether the agent of this configuration works, and end", 0},
    {"log-level", KEY_LOG_LEVEL, "error|warn|info|debug", 0, "how much to log; info by default", 0},
    {"log-format", KEY_LOG_FORMAT, "logfmt|json", 0, "how to log; logfmt by default", 0},
    {0},
};

static const struct spy_cli_option agent_stored_options[] = {
    {KEY_CONFIG, SPY_CLI_TEXT, offsetof(struct arguments, daemon.config)},
    {KEY_COLLECTOR, SPY_CLI_TEXT, offsetof(struct arguments, daemon.collector)},
    {KEY_ALIVE, SPY_CLI_FLAG, offsetof(struct arguments, alive)},
    {0},
};

static int parse_agent_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    int r = 0;
    switch (key) {
    case KEY_ONCE:
        r = spy_cli_number("--once", arg, 0.1, 1e9, &a->daemon.seconds, a->err);
        break;
    case KEY_LOG_LEVEL:
        r = spy_log_set_level(arg, a->err);
        break;
    case KEY_LOG_FORMAT:
        r = spy_log_set_format(arg, a->err);
        break;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is not expected", arg);
        break;
    default:
        r = spy_cli_store(agent_stored_options, key, arg, a, a->err);
        if (r == SPY_ERR_NOTFOUND)
            return ARGP_ERR_UNKNOWN;
    }
    if (r < 0)
        argp_error(state, "%s", a->err->msg);
    return 0;
}

static int print_alive(const char *config, struct spy_err *err)
{
    struct spy_agent_config c;
    long secs;
    int r = spy_agent_config_load(config, &c, err);
    if (r < 0)
        return r;
    r = spy_alive_check(c.push.spool_dir, &secs, err);
    spy_agent_config_free(&c);
    if (r < 0)
        return r;
    printf("the agent's latest round was %ld s ago\n", secs);
    return spy_cli_flush(err);
}

static int run_agent(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .options = agent_options,
        .parser = parse_agent_option,
        .doc = "Finds the opted-in Python processes of this node, samples them and pushes their "
               "profiles to a collector.",
    };
    struct arguments a = {.daemon = {.stop = &spy_cli_stop, .argv = argv}, .err = err};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    if (a.alive)
        return print_alive(a.daemon.config, err);
    spy_cli_catch_signals();
    int r = spy_daemon_run(&a.daemon, err);
    return r < 0 ? r : SPY_EXIT_OK;
}

const struct spy_command spy_command_agent = {
    .name = "agent",
    .summary = "find the opted-in processes of this node and push their profiles to a collector",
    .options = agent_options,
    .run = run_agent,
};
