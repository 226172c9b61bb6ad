// podspy completions: a script that completes commands, options and their values. It is made from
// the tables that the commands parse.
#include "agent/cli/cli.h"
#include "agent/cli/output.h"
#include "shared/base/mem.h"
#include "shared/formats/format.h"
#include <argp.h>
#include <ctype.h>
#include <string.h>

#define VALUES_MAX 256

// The options that argp adds to every command.
static const char *const argp_adds[][2] = {{"help", "print a help text"},
                                           {"version", "print the version"}};

// --- the values of an option ---

enum takes { TAKES_NOTHING, TAKES_TEXT, TAKES_FILE, TAKES_PID, TAKES_WORD };

struct choice {
    const char *name; // the long option, or NULL
    char letter;      // the short option, or 0
    const char *argument, *doc;
    enum takes takes;
    char words[VALUES_MAX]; // for TAKES_WORD: the values, separated by spaces
};

static const struct {
    const char *argument;
    enum takes takes;
} arguments[] = {{"FILE", TAKES_FILE}, {"PID", TAKES_PID}, {"FORMAT", TAKES_WORD}};

// An argument such as "logfmt|json" names its values itself.
static void find_values(struct choice *o)
{
    o->takes = o->argument ? TAKES_TEXT : TAKES_NOTHING;
    for (size_t i = 0; o->argument && i < SPY_COUNT(arguments); i++)
        if (!strcmp(o->argument, arguments[i].argument))
            o->takes = arguments[i].takes;
    if (o->takes == TAKES_WORD)
        spy_format_names(o->words, sizeof o->words, " ");
    if (!o->argument || !strchr(o->argument, '|'))
        return;
    o->takes = TAKES_WORD;
    snprintf(o->words, sizeof o->words, "%s", o->argument);
    for (char *bar = o->words; (bar = strchr(bar, '|'));)
        *bar = ' ';
}

// --- each option of a command, once for each of its names ---

typedef void print_option(FILE *to, const struct spy_command *c, const struct choice *o);

static void print_options(FILE *to, const struct spy_command *c, print_option *print)
{
    const struct argp_option *real = c->options;
    for (const struct argp_option *a = c->options; a && (a->name || a->key || a->doc); a++) {
        real = a->flags & OPTION_ALIAS ? real : a; // an alias takes the argument of its option
        bool letter = a->key > 0 && a->key < 128 && isalnum(a->key);
        if ((real->flags | a->flags) & OPTION_HIDDEN || (!a->name && !letter))
            continue;
        struct choice o = {.name = a->name,
                           .letter = (char)(letter ? a->key : 0),
                           .argument = real->flags & OPTION_ARG_OPTIONAL ? NULL : real->arg,
                           .doc = real->doc};
        find_values(&o);
        print(to, c, &o);
    }
    for (size_t i = 0; i < SPY_COUNT(argp_adds); i++)
        print(to, c, &(struct choice){.name = argp_adds[i][0], .doc = argp_adds[i][1]});
}

// Prints text with a backslash before each character of special, and `quote` in the place of each
// single quote.
static void print_escaped(FILE *to, const char *text, const char *special, const char *quote)
{
    for (; text && *text; text++) {
        if (*text == '\'')
            fputs(quote, to);
        else if (strchr(special, *text))
            fprintf(to, "\\%c", *text);
        else
            fputc(*text, to);
    }
}

static bool takes_program(const struct spy_command *c)
{
    return c->words && !strcmp(c->words, "PROGRAM");
}

// --- bash ---

static void print_bash_names(FILE *to, const struct spy_command *c, const struct choice *o)
{
    (void)c;
    if (o->name)
        fprintf(to, " --%s", o->name);
    if (o->letter)
        fprintf(to, " -%c", o->letter);
}

static void print_bash_value(FILE *to, const struct spy_command *c, const struct choice *o)
{
    (void)c;
    if (o->takes == TAKES_NOTHING)
        return;
    fprintf(to, "        ");
    if (o->name)
        fprintf(to, "--%s%s", o->name, o->letter ? "|" : "");
    if (o->letter)
        fprintf(to, "-%c", o->letter);
    switch (o->takes) {
    case TAKES_FILE:
        fputs(") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", to);
        break;
    case TAKES_PID:
        fputs(") COMPREPLY=($(compgen -W \"$(cd /proc && echo [0-9]*)\" -- \"$cur\")); return ;;\n",
              to);
        break;
    case TAKES_WORD:
        fprintf(to, ") COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); return ;;\n", o->words);
        break;
    default:
        fputs(") return ;;\n", to);
        break;
    }
}

static void print_bash(FILE *to, const struct spy_command *const *commands, size_t n)
{
    fputs("# bash completion for podspy, made by `podspy completions bash`.\n_podspy()\n{\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    COMPREPLY=()\n    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        COMPREPLY=($(compgen -W \"--help --version",
          to);
    for (size_t i = 0; i < n; i++)
        fprintf(to, " %s", commands[i]->name);
    fputs("\" -- \"$cur\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n", to);
    for (size_t i = 0; i < n; i++) {
        fprintf(to, "    %s)\n        case $prev in\n", commands[i]->name);
        print_options(to, commands[i], print_bash_value);
        bool program = takes_program(commands[i]);
        fprintf(to, "        esac\n        COMPREPLY=($(compgen %s-W \"%s", program ? "-c " : "",
                commands[i]->words && !program ? commands[i]->words : "");
        print_options(to, commands[i], print_bash_names);
        fputs("\" -- \"$cur\"))\n        ;;\n", to);
    }
    fputs("    esac\n}\ncomplete -o default -F _podspy podspy\n", to);
}

// --- zsh ---

static void print_zsh_option(FILE *to, const struct spy_command *c, const struct choice *o)
{
    (void)c;
    static const char *const actions[] = {
        [TAKES_TEXT] = ": ", [TAKES_FILE] = ":_files", [TAKES_PID] = ":_pids"};
    if (o->name && o->letter)
        fprintf(to, " \\\n            '(-%c --%s)'{-%c,--%s}'[", o->letter, o->name, o->letter,
                o->name);
    else
        fprintf(to, " \\\n            '%s%.1s%s[", o->name ? "--" : "-", &o->letter,
                o->name ? o->name : "");
    print_escaped(to, o->doc, "[]:\\", "'\\''");
    fputc(']', to);
    if (o->takes != TAKES_NOTHING)
        fprintf(to, ":%s", o->argument);
    if (o->takes == TAKES_WORD)
        fprintf(to, ":(%s)", o->words);
    else if (o->takes != TAKES_NOTHING)
        fputs(actions[o->takes], to);
    fputc('\'', to);
}

static void print_zsh(FILE *to, const struct spy_command *const *commands, size_t n)
{
    fputs("#compdef podspy\n# zsh completion for podspy, made by `podspy completions zsh`.\n"
          "_podspy() {\n    local -a commands=(\n",
          to);
    for (size_t i = 0; i < n; i++) {
        fprintf(to, "        '%s:", commands[i]->name);
        print_escaped(to, commands[i]->summary, ":\\", "'\\''");
        fputs("'\n", to);
    }
    fputs("        '--help:print a help text'\n        '--version:print the version'\n    )\n"
          "    if (( CURRENT == 2 )); then\n        _describe -t commands command commands\n"
          "        return\n    fi\n    shift words\n    (( CURRENT-- ))\n    case $words[1] in\n",
          to);
    for (size_t i = 0; i < n; i++) {
        fprintf(to, "    %s)\n        _arguments", commands[i]->name);
        print_options(to, commands[i], print_zsh_option);
        if (takes_program(commands[i]))
            fputs(" \\\n            '*:::PROGRAM:_normal'", to);
        else if (commands[i]->words)
            fprintf(to, " \\\n            '1:SHELL:(%s)'", commands[i]->words);
        fputs("\n        ;;\n", to);
    }
    // The script registers itself when it is sourced, and completes at once when it is autoloaded.
    fputs("    esac\n}\nif [ \"$funcstack[1]\" = _podspy ]; then\n    _podspy \"$@\"\nelse\n"
          "    compdef _podspy podspy\nfi\n",
          to);
}

// --- fish ---

static void print_fish_option(FILE *to, const struct spy_command *c, const struct choice *o)
{
    static const char *const values[] = {[TAKES_NOTHING] = "",
                                         [TAKES_TEXT] = " -x",
                                         [TAKES_FILE] = " -r -F",
                                         [TAKES_PID] = " -x -a '(__fish_complete_pids)'"};
    fprintf(to, "complete -c podspy -n '__fish_seen_subcommand_from %s'", c->name);
    if (o->letter)
        fprintf(to, " -s %c", o->letter);
    if (o->name)
        fprintf(to, " -l %s", o->name);
    if (o->takes == TAKES_WORD)
        fprintf(to, " -x -a '%s'", o->words);
    else
        fputs(values[o->takes], to);
    fputs(" -d '", to);
    print_escaped(to, o->doc, "\\", "\\'");
    fputs("'\n", to);
}

static void print_fish(FILE *to, const struct spy_command *const *commands, size_t n)
{
    fputs("# fish completion for podspy, made by `podspy completions fish`.\n"
          "complete -c podspy -n __fish_use_subcommand -f\n"
          "complete -c podspy -n __fish_use_subcommand -l help -d 'print a help text'\n"
          "complete -c podspy -n __fish_use_subcommand -l version -d 'print the version'\n",
          to);
    for (size_t i = 0; i < n; i++) {
        const struct spy_command *c = commands[i];
        fprintf(to, "complete -c podspy -n __fish_use_subcommand -a %s -d '", c->name);
        print_escaped(to, c->summary, "\\", "\\'");
        fputs("'\n", to);
        print_options(to, c, print_fish_option);
        if (takes_program(c))
            fprintf(to,
                    "complete -c podspy -n '__fish_seen_subcommand_from %s' "
                    "-a '(__fish_complete_command)'\n",
                    c->name);
        else if (c->words)
            fprintf(to, "complete -c podspy -n '__fish_seen_subcommand_from %s' -f -a '%s'\n",
                    c->name, c->words);
    }
}

// --- the command ---

static const struct {
    const char *name;
    void (*print)(FILE *to, const struct spy_command *const *commands, size_t n);
} shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

static int parse_completions_option(int key, char *arg, struct argp_state *state)
{
    const char **shell = state->input;
    if (key == ARGP_KEY_ARG && !*shell)
        *shell = arg;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "'%s' is not expected", arg);
    else if (key == ARGP_KEY_NO_ARGS)
        argp_error(state, "which shell? bash, zsh or fish");
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static int run_completions(int argc, char **argv, struct spy_err *err)
{
    static const struct argp argp = {
        .parser = parse_completions_option,
        .args_doc = "bash|zsh|fish",
        .doc = "Prints a script that lets the shell complete podspy's commands and options.",
    };
    const char *shell = NULL;
    argp_parse(&argp, argc, argv, 0, NULL, &shell);
    size_t n;
    const struct spy_command *const *commands = spy_cli_commands(&n);
    for (size_t i = 0; i < SPY_COUNT(shells); i++) {
        if (strcmp(shells[i].name, shell) != 0)
            continue;
        shells[i].print(stdout, commands, n);
        return spy_cli_flush(err);
    }
    return spy_err_set(err, SPY_ERR_USAGE, 0, "'%s' is not a known shell: give bash, zsh or fish",
                       shell);
}

const struct spy_command spy_command_completions = {
    .name = "completions",
    .summary = "print a script that completes commands and options in bash, zsh or fish",
    .words = "bash zsh fish",
    .run = run_completions,
};
