// drawing.h - a screen drawn by ncurses, and its keys. Inside of agent/top.
//
// ncurses has one state for the whole program: one drawing at a time.
#pragma once
#include "agent/top/screen.h"

// Takes the terminal of standard output. False: it cannot place its cursor, and nothing has changed.
bool spy_top_drawing_begin(void);
void spy_top_drawing_end(void); // gives it back
void spy_top_drawing_size(unsigned *ret_width, unsigned *ret_height);
void spy_top_drawing_show(const struct spy_top_screen *s);
// The next key that has arrived, as spy_top_look_key takes it; 0: one without a meaning, or the size
// has changed; -1: there is none.
int spy_top_drawing_key(void);
