#include "agent/top/drawing.h"
#include "agent/top/terminals.h"
#include "shared/base/mem.h"
#include <curses.h>
#include <stdlib.h>
#include <string.h>
#include <term.h>
#include <unistd.h>

static SCREEN *curses;
static attr_t attributes[SPY_TOP_STYLES];

static bool has_value(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value;
}

static bool wants_colors(void)
{
    const char *wanted = getenv("CLICOLOR"), *forced = getenv("CLICOLOR_FORCE");
    if (has_value("NO_COLOR"))
        return false;
    if (has_value("CLICOLOR_FORCE") && strcmp(forced, "0") != 0)
        return true;
    return !wanted || strcmp(wanted, "0") != 0;
}

static void choose_attributes(void)
{
    static const attr_t without_colors[SPY_TOP_STYLES] = {
        [SPY_TOP_STRONG] = A_BOLD,
        [SPY_TOP_HEADING] = A_REVERSE,
        [SPY_TOP_SORTED] = A_REVERSE | A_BOLD,
        [SPY_TOP_WARNING] = A_BOLD,
    };
    static const short colors[SPY_TOP_STYLES] = {
        [SPY_TOP_NAME] = COLOR_GREEN,
        [SPY_TOP_FILE] = COLOR_CYAN,
        [SPY_TOP_WARNING] = COLOR_RED,
    };
    memcpy(attributes, without_colors, sizeof attributes);
    if (!wants_colors() || !has_colors() || start_color() == ERR)
        return;
    use_default_colors();
    attributes[SPY_TOP_FAINT] |= A_DIM;
    for (short i = 0; i < SPY_TOP_STYLES; i++)
        if (colors[i] && init_pair(i, colors[i], -1) == OK)
            attributes[i] |= (attr_t)COLOR_PAIR(i);
}

static bool places_cursor(void)
{
    int found = 0;
    if (setupterm(NULL, STDOUT_FILENO, &found) == ERR)
        return false;
    const char *address = tigetstr("cup"), *clear = tigetstr("clear");
    bool can = address && address != (char *)-1 && clear && clear != (char *)-1;
    del_curterm(cur_term);
    return can;
}

// Where the terminfo database is not there, ncurses takes an entry from TERMINFO.
static bool use_own_entry(void)
{
    for (const struct spy_top_terminal *t = spy_top_terminals; t->name; t++)
        if (!strcmp(t->name, getenv("TERM")))
            return setenv("TERMINFO", t->entry, 1) == 0;
    return false;
}

// The entry is not for the program that podspy may start.
static SCREEN *open_terminal(void)
{
    if (places_cursor())
        return newterm(NULL, stdout, stdin);
    if (has_value("TERMINFO") || !use_own_entry())
        return NULL;
    SCREEN *found = places_cursor() ? newterm(NULL, stdout, stdin) : NULL;
    unsetenv("TERMINFO");
    return found;
}

bool spy_top_drawing_begin(void)
{
    if (!isatty(STDOUT_FILENO) || !has_value("TERM"))
        return false;
    curses = open_terminal();
    if (!curses)
        return false;
    cbreak();
    noecho();
    keypad(stdscr, true);
    nodelay(stdscr, true);
    set_escdelay(25);
    curs_set(0);
    choose_attributes();
    return true;
}

void spy_top_drawing_end(void)
{
    curs_set(1);
    endwin();
    delscreen(curses);
    curses = NULL;
}

void spy_top_drawing_size(unsigned *ret_width, unsigned *ret_height)
{
    *ret_width = (unsigned)COLS;
    *ret_height = (unsigned)LINES;
}

void spy_top_drawing_show(const struct spy_top_screen *s)
{
    unsigned line = UINT32_MAX;
    erase();
    for (size_t i = 0; i < s->n; i++) {
        const struct spy_top_piece *p = &s->pieces[i];
        if (p->line != line)
            move((int)p->line, 0);
        line = p->line;
        attrset((int)attributes[p->style]);
        addnstr(spy_buf_str(&s->text) + p->at, (int)p->len);
    }
    refresh();
}

int spy_top_drawing_key(void)
{
    static const struct {
        int curses, key;
    } keys[] = {
        {KEY_UP, SPY_TOP_KEY_UP},         {KEY_DOWN, SPY_TOP_KEY_DOWN},
        {KEY_PPAGE, SPY_TOP_KEY_PAGE_UP}, {KEY_NPAGE, SPY_TOP_KEY_PAGE_DOWN},
        {KEY_HOME, SPY_TOP_KEY_HOME},     {KEY_BACKSPACE, SPY_TOP_KEY_BACKSPACE},
        {127, SPY_TOP_KEY_BACKSPACE},     {'\b', SPY_TOP_KEY_BACKSPACE},
        {KEY_ENTER, SPY_TOP_KEY_ENTER},   {'\n', SPY_TOP_KEY_ENTER},
        {'\r', SPY_TOP_KEY_ENTER},        {27, SPY_TOP_KEY_ESCAPE},
    };
    int got = getch();
    if (got == ERR)
        return -1;
    for (size_t i = 0; i < SPY_COUNT(keys); i++)
        if (keys[i].curses == got)
            return keys[i].key;
    return got < 256 ? got : 0;
}
