// terminals.h - descriptions of the usual terminals, for a place without the terminfo database: an
// empty container. Inside of agent/top.
#pragma once

struct spy_top_terminal {
    const char *name;  // as in TERM
    const char *entry; // "b64:...", as ncurses takes it in TERMINFO (terminfo(5))
};
// Made when podspy is built (terminals.cmake). Ends with a name of NULL.
extern const struct spy_top_terminal spy_top_terminals[];
