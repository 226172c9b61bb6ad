#include "agent/top/look.h"
#include "shared/base/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

void spy_top_look_init(struct spy_top_look *l)
{
    *l = (struct spy_top_look){.choice.sort = SPY_TOP_OWN_TIME, .page = 1};
}

void spy_top_look_done(struct spy_top_look *l)
{
    spy_regex_free(l->choice.filter);
    l->choice.filter = NULL;
}

// --- typing an expression ---

static void set_filter(struct spy_top_look *l)
{
    struct spy_regex *filter = NULL;
    struct spy_err err = {0};
    l->typing = false;
    if (*l->typed && spy_regex_new(l->typed, &filter, &err) < 0) {
        snprintf(l->message, sizeof l->message, "%s", err.msg);
        return;
    }
    spy_regex_free(l->choice.filter);
    l->choice.filter = filter;
    l->choice.first = 0;
    memcpy(l->filter, l->typed, sizeof l->filter);
}

// A character goes as a whole, with all of its bytes.
static void remove_typed(struct spy_top_look *l)
{
    size_t n = strlen(l->typed);
    while (n && ((unsigned char)l->typed[n - 1] & 0xc0) == 0x80)
        n--;
    l->typed[n ? n - 1 : 0] = 0;
}

static void type_key(struct spy_top_look *l, int key)
{
    size_t n = strlen(l->typed);
    if (key == SPY_TOP_KEY_ENTER)
        set_filter(l);
    else if (key == SPY_TOP_KEY_ESCAPE)
        l->typing = false;
    else if (key == SPY_TOP_KEY_BACKSPACE)
        remove_typed(l);
    else if (key >= ' ' && key < 256 && key != 127 && n + 1 < sizeof l->typed) {
        l->typed[n] = (char)key;
        l->typed[n + 1] = 0;
    }
}

static void begin_typing(struct spy_top_look *l)
{
    l->typing = true;
    l->typed[0] = 0;
}

// --- commands ---

static void scroll_rows(struct spy_top_look *l, int key)
{
    size_t *first = &l->choice.first, step = l->page;
    if (key == SPY_TOP_KEY_UP || key == SPY_TOP_KEY_DOWN)
        step = 1;
    if (key == SPY_TOP_KEY_DOWN || key == SPY_TOP_KEY_PAGE_DOWN)
        *first += step;
    else
        *first = key == SPY_TOP_KEY_HOME || *first < step ? 0 : *first - step;
}

static void obey_key(struct spy_top_look *l, int key)
{
    switch (key < 128 ? tolower(key) : key) {
    case '1':
    case '2':
    case '3':
    case '4':
        l->choice.sort = (enum spy_top_column)(key - '1');
        l->choice.first = 0;
        break;
    case 'l':
        l->choice.functions = !l->choice.functions;
        l->choice.first = 0;
        break;
    case 'r':
        l->reset = true;
        break;
    case '/':
        begin_typing(l);
        break;
    case '?':
    case 'h':
        l->help = true;
        break;
    case 'q':
        l->quit = true;
        break;
    case SPY_TOP_KEY_UP:
    case SPY_TOP_KEY_DOWN:
    case SPY_TOP_KEY_PAGE_UP:
    case SPY_TOP_KEY_PAGE_DOWN:
    case SPY_TOP_KEY_HOME:
        scroll_rows(l, key);
        break;
    default:;
    }
}

void spy_top_look_key(struct spy_top_look *l, int key)
{
    l->message[0] = 0;
    if (l->typing)
        type_key(l, key);
    else if (l->help && tolower(key & 127) != 'q')
        l->help = false; // any key leaves it
    else
        obey_key(l, key);
}
