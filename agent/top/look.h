// look.h - what the user has chosen to see, changed by keys. Inside of agent/top.
//
// Threads: one look belongs to one thread.
#pragma once
#include "agent/top/model.h"

// Keys that are not characters. Characters are their own numbers.
enum {
    SPY_TOP_KEY_UP = 0x200000, // beyond Unicode
    SPY_TOP_KEY_DOWN,
    SPY_TOP_KEY_PAGE_UP,
    SPY_TOP_KEY_PAGE_DOWN,
    SPY_TOP_KEY_HOME,
    SPY_TOP_KEY_BACKSPACE,
    SPY_TOP_KEY_ENTER,
    SPY_TOP_KEY_ESCAPE,
};

struct spy_top_look {
    struct spy_top_choice choice; // max and the bound of first are the drawer's
    size_t page;                  // rows that the screen has room for: set by the drawer
    bool help;                    // the help is shown in place of the rows
    bool typing;                  // an expression is being typed
    char typed[256];              // UTF-8
    char filter[256];             // the expression of choice.filter; "": none
    char message[256];            // shown until the next key; "": none
    bool quit, reset;             // asked for; the caller acts, and clears reset
};

void spy_top_look_init(struct spy_top_look *l);
void spy_top_look_done(struct spy_top_look *l);
// One key. A byte of a longer UTF-8 character counts as a key of its own.
void spy_top_look_key(struct spy_top_look *l, int key);
