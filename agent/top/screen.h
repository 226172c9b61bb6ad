// screen.h - a picture and a look laid out as lines of text with styles. Inside of agent/top.
//
// Names from the target are escaped (shared/base/text.h), and cut by columns with an ellipsis, so
// that they can neither move the cursor nor disturb the columns. Columns are counted by wcwidth(3):
// the locale must be that of the terminal.
#pragma once
#include "agent/top/look.h"
#include "shared/base/buf.h"

enum spy_top_style {
    SPY_TOP_PLAIN,
    SPY_TOP_STRONG,  // the command, the column that sorts
    SPY_TOP_FAINT,   // what did not run in the latest window, hints
    SPY_TOP_HEADING, // the titles of the columns
    SPY_TOP_SORTED,  // the title of the column that sorts
    SPY_TOP_NAME,    // of a function
    SPY_TOP_FILE,
    SPY_TOP_WARNING,
    SPY_TOP_STYLES
};

struct spy_top_piece {
    unsigned line; // from 0
    enum spy_top_style style;
    size_t at, len; // of the text
};

// Zeroed at first but for what the caller sets.
struct spy_top_screen {
    unsigned width, height; // in columns and lines; set by the caller
    bool bare;              // no footer, and no lines that only fill the screen; set by the caller
    bool ascii;             // characters beyond ASCII become '?'; set by the caller
    struct spy_buf text;
    struct spy_top_piece *pieces; // in order of line and column
    size_t n, cap;
    unsigned line, left; // where the next piece goes, and the columns left there
};

// How many rows fit.
size_t spy_top_screen_rows(const struct spy_top_screen *s);
// Lays out the whole screen.
void spy_top_screen_lay(struct spy_top_screen *s, const struct spy_top_picture *p,
                        const struct spy_top_look *l);
// The lines as plain text, without spaces at their ends. SPY_ERR_NOMEM, SPY_ERR_LIMIT.
int spy_top_screen_text(const struct spy_top_screen *s, struct spy_buf *out);
void spy_top_screen_free(struct spy_top_screen *s);

// Appends text, escaped, in at most `columns` columns, an ellipsis in place of what does not fit.
// Returns how many columns it takes.
unsigned spy_top_fit(struct spy_buf *out, const char *text, unsigned columns, bool ascii);
