#include "agent/cli/cli.h"
#include "shared/base/descriptors.h"
#include "shared/base/mem.h"
#include <argp.h>
#include <string.h>

const char *argp_program_version = "podspy " PODSPY_VERSION; // --version of every command

#define ROW(name) &spy_command_##name,
static const struct spy_command *const commands[] = {SPY_COMMANDS(ROW)};

const struct spy_command *const *spy_cli_commands(size_t *ret_n)
{
    *ret_n = SPY_COUNT(commands);
    return commands;
}

static void print_help(FILE *to)
{
    fprintf(to,
            "Usage: podspy COMMAND [OPTIONS]\n\nShows what Python programs spend their time on, "
            "from outside.\n\nCommands:\n");
    for (size_t i = 0; i < SPY_COUNT(commands); i++)
        fprintf(to, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(
        to,
        "\n`podspy COMMAND --help` explains a command; `podspy --version` prints the version.\n");
}

// The command of that name, or the only one whose name begins with it. *ret_n: how many match.
static const struct spy_command *find_command(const char *name, size_t *ret_n)
{
    const struct spy_command *found = NULL;
    *ret_n = 0;
    for (size_t i = 0; i < SPY_COUNT(commands); i++) {
        if (!strcmp(commands[i]->name, name)) {
            *ret_n = 1;
            return commands[i];
        }
        if (!strncmp(commands[i]->name, name, strlen(name))) {
            found = commands[i];
            ++*ret_n;
        }
    }
    return found;
}

static int run_command(const struct spy_command *c, int argc, char **argv)
{
    struct spy_err err = {0};
    char name[64];
    argp_err_exit_status = SPY_EXIT_USAGE;
    snprintf(name, sizeof name, "podspy %s", c->name);
    argv[0] = name;
    spy_descriptors_raise(); // each thread and process needs some
    int r = c->run(argc, argv, &err);
    if (r >= 0)
        return r;
    spy_cli_print_error(&err, r);
    return r == SPY_ERR_USAGE ? SPY_EXIT_USAGE : SPY_EXIT_FAILED;
}

int main(int argc, char **argv)
{
    spy_descriptors_open_std();
    if (argc < 2) {
        print_help(stderr);
        return SPY_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return SPY_EXIT_OK;
    }
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
        printf("%s\n", argp_program_version);
        return SPY_EXIT_OK;
    }
    size_t n;
    const struct spy_command *c = argv[1][0] == '-' ? (n = 0, NULL) : find_command(argv[1], &n);
    if (n != 1) {
        fprintf(stderr, "Error: '%s' is %s; `podspy --help` lists the commands\n", argv[1],
                n ? "short for several commands" : "not a command");
        return SPY_EXIT_USAGE;
    }
    return run_command(c, argc - 1, argv + 1);
}
