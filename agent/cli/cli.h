// cli.h - the subcommands of podspy, one file each, and what they share. Inside of agent/cli.
#pragma once
#include "agent/cli/signals.h"
#include "shared/base/err.h"
#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

// PIPE: what a shell reports for a program that SIGPIPE ended.
enum { SPY_EXIT_OK = 0, SPY_EXIT_FAILED = 1, SPY_EXIT_USAGE = 2, SPY_EXIT_PIPE = 141 };

// A subcommand. It stands at the end of its own file; SPY_COMMANDS lists it, and the help text and
// the completions follow from it.
struct spy_command {
    const char *name, *summary;
    // Parses argv, where argv[0] is the command's name, and returns an exit code or a negative
    // error. It prints no message for an error in err: main prints "Error: ..." on one line.
    int (*run)(int argc, char **argv, struct spy_err *err);
    const struct argp_option *options; // what it parses, for completions; NULL: none
    // The values of its argument, separated by spaces; "PROGRAM": any command line; NULL: it takes
    // no argument.
    const char *words;
};

// Every subcommand, in the order of the help text. X(record) is spy_command_record, in record.c.
#define SPY_COMMANDS(X)                                                                            \
    X(record)                                                                                      \
    X(top)                                                                                         \
    X(dump)                                                                                        \
    X(agent)                                                                                       \
    X(doctor)                                                                                      \
    X(processes)                                                                                   \
    X(attended)                                                                                    \
    X(completions)

#define SPY_COMMAND_DECLARE(name) extern const struct spy_command spy_command_##name;
SPY_COMMANDS(SPY_COMMAND_DECLARE)

// The same as an array.
const struct spy_command *const *spy_cli_commands(size_t *ret_n);

// An option whose value is only stored: where it goes in the structure that the parser fills.
enum spy_cli_kind {
    SPY_CLI_FLAG, // bool, set to true
    SPY_CLI_TEXT, // const char *, borrowed from argv
    SPY_CLI_PID,  // pid_t, see spy_cli_pid
};
struct spy_cli_option {
    int key; // of the argp_option
    enum spy_cli_kind kind;
    size_t offset;
};
// Stores the value of option `key` into *into. rows ends with a key of 0. 0, SPY_ERR_NOTFOUND if no
// row has this key, SPY_ERR_USAGE.
int spy_cli_store(const struct spy_cli_option *rows, int key, const char *arg, void *into,
                  struct spy_err *err);

// Numbers as arguments. 0 or SPY_ERR_USAGE with a message that names the option.
int spy_cli_pid(const char *text, pid_t *ret, struct spy_err *err); // decimal or 0x hex
int spy_cli_number(const char *option, const char *text, double min, double max, double *ret,
                   struct spy_err *err);

// The command line of a process, its arguments separated by spaces, from world-readable metadata;
// "" once the process has ended. Not fit for a terminal (see shared/base/text.h).
void spy_cli_cmdline(pid_t pid, char *out, size_t size);

// Prints why a command failed, as one line on stderr.
void spy_cli_print_error(const struct spy_err *err, int code);
