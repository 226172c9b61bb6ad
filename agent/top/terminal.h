// terminal.h - shows the model, on a thread of its own, so that a slow terminal slows nobody.
//
// On a terminal that can place its cursor it draws with ncurses and obeys keys. Elsewhere (TERM=dumb,
// a pipe, a terminal that terminfo does not know) it prints the screen again after each window, as
// plain text without any escape sequence. A picture that could not be written in time is skipped,
// not queued.
//
// Colours: NO_COLOR (not empty) forbids them, CLICOLOR_FORCE (neither empty nor 0) asks for them,
// CLICOLOR=0 leaves them out; else they are used if the terminal has them.
//
// Threads: all calls from the thread that made it, except spy_top_terminal_end, which may also come
// from another thread if that one hangs.
#pragma once
#include "agent/top/model.h"

struct spy_top_terminal;

struct spy_top_terminal_options {
    struct spy_top *top;     // borrowed
    void (*quit)(void *arg); // q was pressed, or nobody reads the output; on the drawing thread
    void *arg;
};

// Takes the terminal. Sets the program's LC_CTYPE, ignores SIGTSTP (a process must not stop while it
// holds a thread of another), and blocks SIGWINCH in the calling thread. SPY_ERR_NOMEM.
int spy_top_terminal_new(const struct spy_top_terminal_options *options,
                         struct spy_top_terminal **ret, struct spy_err *err);
// There is something new to show.
void spy_top_terminal_wake(struct spy_top_terminal *t);
// Gives the terminal back as it was. Waits for the drawing thread for at most a second: false if that
// still waits for the terminal, which then has its modes back but not its picture. Once only.
bool spy_top_terminal_end(struct spy_top_terminal *t);
// After spy_top_terminal_end: prints the latest picture as plain text on standard output.
// SPY_ERR_GONE: nobody reads it; SPY_ERR_IO.
int spy_top_terminal_print(struct spy_top_terminal *t);
bool spy_top_terminal_is_plain(const struct spy_top_terminal *t);  // it does not draw
bool spy_top_terminal_was_quit(const struct spy_top_terminal *t);  // by q
bool spy_top_terminal_is_broken(const struct spy_top_terminal *t); // nobody reads the output
void spy_top_terminal_free(struct spy_top_terminal *t);            // after spy_top_terminal_end
