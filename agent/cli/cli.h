// cli.h - the subcommands of podspy, one file each. Inside of agent/cli.
#pragma once
#include "agent/cli/signals.h"
#include "shared/base/err.h"
#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

// PIPE: as a shell sees a program that SIGPIPE ended.
enum { SPY_EXIT_OK = 0, SPY_EXIT_FAILED = 1, SPY_EXIT_USAGE = 2, SPY_EXIT_PIPE = 141 };

// A subcommand parses its own argv (argv[0] is its name) and returns an exit code. It prints
// nothing for an error that it returns in err: main prints "Error: ..." on one line.
struct spy_command {
    const char *name, *summary;
    int (*run)(int argc, char **argv, struct spy_err *err);
    const struct argp_option *options; // what it parses, for completions; NULL: none
    const char *words; // all that its argument can be, with spaces between; "PROGRAM" for any
                       // command line; NULL: it takes none
};

// The table of main.c: every command, in the order of the help text.
const struct spy_command *spy_cli_commands(size_t *ret_n);

int spy_cli_record(int argc, char **argv, struct spy_err *err);
int spy_cli_dump(int argc, char **argv, struct spy_err *err);
int spy_cli_agent(int argc, char **argv, struct spy_err *err);
int spy_cli_doctor(int argc, char **argv, struct spy_err *err);
int spy_cli_completions(int argc, char **argv, struct spy_err *err);

extern const struct argp_option spy_cli_record_options[], spy_cli_dump_options[],
    spy_cli_agent_options[], spy_cli_doctor_options[];

// Numbers as arguments. 0 or SPY_ERR_USAGE with a message that names the option.
int spy_cli_pid(const char *text, pid_t *ret, struct spy_err *err); // decimal or 0x hex
int spy_cli_number(const char *option, const char *text, double min, double max, double *ret,
                   struct spy_err *err);

// The command line of a process, as it is, with spaces between the arguments, from world-readable
// metadata; "" when it has ended. Not yet fit for a terminal (shared/base/text.h).
void spy_cli_cmdline(pid_t pid, char *out, size_t size);

// One line on stderr: what a command failed of.
void spy_cli_print_error(const struct spy_err *err, int code);
