#include "agent/top/terminal.h"
#include "agent/top/drawing.h"
#include "shared/base/mem.h"
#include "shared/base/thread.h"
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { PLAIN_ROWS = 20, PLAIN_WIDTH = 400, OUTPUT_MAX = 8 << 20 };

struct spy_top_terminal {
    struct spy_top_terminal_options options;
    bool plain, ascii;
    struct termios modes; // as they were
    bool has_modes;
    int wake; // eventfd
    _Atomic bool ending, quit, broken;
    pthread_t thread;
    // The drawing thread's, until it has ended.
    struct spy_top_look look;
    struct spy_top_picture picture;
    struct spy_top_screen screen;
    size_t n_printed;
};

// --- one picture ---

static void measure_plain(unsigned *ret_width, unsigned *ret_height)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size = {0};
    long wanted = columns ? strtol(columns, NULL, 10) : 0;
    *ret_width = wanted >= 20 && wanted <= PLAIN_WIDTH ? (unsigned)wanted : PLAIN_WIDTH;
    *ret_height = PLAIN_ROWS + 6;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col || !size.ws_row)
        return;
    *ret_width = size.ws_col;
    *ret_height = size.ws_row > 1 ? size.ws_row - 1u : 1; // a blank line goes between pictures
}

static void read_picture(struct spy_top_terminal *t)
{
    struct spy_top_choice *c = &t->look.choice;
    t->look.page = spy_top_screen_rows(&t->screen);
    c->max = t->look.page;
    spy_top_read(t->options.top, c, &t->picture);
    if (c->first && c->first + c->max > t->picture.n_matching) { // scrolled past the end
        c->first = t->picture.n_matching > c->max ? t->picture.n_matching - c->max : 0;
        spy_top_read(t->options.top, c, &t->picture);
    }
    spy_top_screen_lay(&t->screen, &t->picture, &t->look);
}

static int write_out(const struct spy_buf *b)
{
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    for (size_t done = 0; done < b->len;) {
        ssize_t n = write(STDOUT_FILENO, b->data + done, b->len - done);
        if (n < 0 && errno == EAGAIN)
            poll(&out, 1, -1);
        else if (n < 0 && errno != EINTR)
            return errno == EPIPE ? SPY_ERR_GONE : SPY_ERR_IO;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int print_plainly(struct spy_top_terminal *t)
{
    _cleanup_buf_ struct spy_buf out = SPY_BUF_INIT(OUTPUT_MAX);
    measure_plain(&t->screen.width, &t->screen.height);
    t->screen.bare = true;
    read_picture(t);
    if (t->n_printed++)
        spy_buf_putc(&out, '\n');
    spy_top_screen_text(&t->screen, &out);
    return write_out(&out);
}

int spy_top_terminal_print(struct spy_top_terminal *t)
{
    t->look.help = false;
    return print_plainly(t);
}

// --- the drawing thread ---

static void take_wake(const struct spy_top_terminal *t)
{
    uint64_t n;
    while (read(t->wake, &n, sizeof n) < 0 && errno == EINTR)
        ;
}

static void *run_plain(void *arg)
{
    struct spy_top_terminal *t = arg;
    for (take_wake(t); !t->ending; take_wake(t)) {
        if (print_plainly(t) == 0)
            continue;
        t->broken = true;
        t->options.quit(t->options.arg);
        break;
    }
    return NULL;
}

static void draw_picture(struct spy_top_terminal *t)
{
    spy_top_drawing_size(&t->screen.width, &t->screen.height);
    read_picture(t);
    spy_top_drawing_show(&t->screen);
}

static void take_keys(struct spy_top_terminal *t)
{
    for (int key; (key = spy_top_drawing_key()) >= 0;)
        if (key)
            spy_top_look_key(&t->look, key);
    if (t->look.reset)
        spy_top_reset(t->options.top);
    t->look.reset = false;
    if (t->look.quit && !t->quit) {
        t->quit = true;
        t->options.quit(t->options.arg);
    }
}

static void *run_drawing(void *arg)
{
    enum { KEYS, WAKE };
    struct spy_top_terminal *t = arg;
    struct pollfd fds[] = {[KEYS] = {.fd = STDIN_FILENO, .events = POLLIN},
                           [WAKE] = {.fd = t->wake, .events = POLLIN}};
    sigset_t asleep; // SIGWINCH ends the sleep, and only the sleep
    sigfillset(&asleep);
    sigdelset(&asleep, SIGWINCH);
    if (!isatty(STDIN_FILENO))
        fds[KEYS].fd = -1;
    while (!t->ending) {
        draw_picture(t);
        int n = ppoll(fds, SPY_COUNT(fds), NULL, &asleep);
        if (n > 0 && fds[KEYS].revents & (POLLHUP | POLLERR | POLLNVAL))
            fds[KEYS].fd = -1; // the terminal is gone
        if (n > 0 && fds[WAKE].revents)
            take_wake(t);
        take_keys(t);
    }
    spy_top_drawing_end();
    return NULL;
}

// --- from start to end ---

// Characters beyond ASCII are shown unless the locale has a charset other than UTF-8. Containers
// often name no locale, or a locale that is not installed.
static bool choose_locale(void)
{
    static const char *const variables[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    bool chosen = false;
    for (size_t i = 0; i < SPY_COUNT(variables); i++) {
        const char *value = getenv(variables[i]);
        chosen = chosen || (value && *value);
    }
    if (!chosen || !setlocale(LC_CTYPE, ""))
        setlocale(LC_CTYPE, "C.UTF-8");
    return strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
}

static void guard_signals(void)
{
    sigset_t resize;
    signal(SIGTSTP, SIG_IGN);
    sigemptyset(&resize);
    sigaddset(&resize, SIGWINCH);
    pthread_sigmask(SIG_BLOCK, &resize, NULL);
}

int spy_top_terminal_new(const struct spy_top_terminal_options *options,
                         struct spy_top_terminal **ret, struct spy_err *err)
{
    struct spy_top_terminal *t = calloc(1, sizeof *t);
    if (!t)
        return spy_err_nomem(err);
    t->options = *options;
    t->wake = eventfd(0, EFD_CLOEXEC);
    t->ascii = t->screen.ascii = choose_locale();
    t->has_modes = tcgetattr(STDOUT_FILENO, &t->modes) == 0;
    spy_top_look_init(&t->look);
    guard_signals();
    t->plain = !spy_top_drawing_begin();
    int sys =
        t->wake < 0 ? EMFILE : spy_thread_start(&t->thread, t->plain ? run_plain : run_drawing, t);
    if (sys) {
        if (!t->plain)
            spy_top_drawing_end();
        spy_top_terminal_free(t);
        return spy_err_set(err, SPY_ERR_NOMEM, sys, "cannot start to draw");
    }
    *ret = t;
    return 0;
}

void spy_top_terminal_wake(struct spy_top_terminal *t)
{
    const uint64_t one = 1;
    while (write(t->wake, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

bool spy_top_terminal_end(struct spy_top_terminal *t)
{
    struct timespec until;
    t->ending = true;
    spy_top_terminal_wake(t);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    if (pthread_timedjoin_np(t->thread, NULL, &until) == 0)
        return true;
    if (t->has_modes && !t->plain) {
        tcsetattr(STDOUT_FILENO, TCSANOW, &t->modes);
        tcflush(STDOUT_FILENO, TCOFLUSH);
    }
    return false;
}

bool spy_top_terminal_is_plain(const struct spy_top_terminal *t)
{
    return t->plain;
}

bool spy_top_terminal_was_quit(const struct spy_top_terminal *t)
{
    return t->quit;
}

bool spy_top_terminal_is_broken(const struct spy_top_terminal *t)
{
    return t->broken;
}

void spy_top_terminal_free(struct spy_top_terminal *t)
{
    if (!t)
        return;
    if (t->wake >= 0)
        close(t->wake);
    spy_top_look_done(&t->look);
    spy_top_picture_free(&t->picture);
    spy_top_screen_free(&t->screen);
    free(t);
}
