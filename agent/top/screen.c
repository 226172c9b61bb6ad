#include "agent/top/screen.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX_BYTES = 8 << 20, PIECES_MAX = 1 << 20 };
enum { HEADER_LINES = 6 }; // above the rows; a footer stands below them

void spy_top_screen_free(struct spy_top_screen *s)
{
    spy_buf_free(&s->text);
    free(s->pieces);
}

size_t spy_top_screen_rows(const struct spy_top_screen *s)
{
    unsigned others = HEADER_LINES + !s->bare;
    return s->height > others ? s->height - others : 0;
}

// --- pieces ---

static void begin_line(struct spy_top_screen *s, unsigned line)
{
    s->line = line;
    s->left = s->width;
}

// Appends text to the current line, in at most `columns` columns. Returns how many it takes.
static unsigned put_within(struct spy_top_screen *s, enum spy_top_style style, const char *text,
                           unsigned columns)
{
    size_t at = s->text.len;
    columns = columns < s->left ? columns : s->left;
    if (s->line >= s->height || s->text.failed ||
        spy_grow(&s->pieces, &s->cap, s->n + 1, sizeof *s->pieces, PIECES_MAX) < 0)
        return 0;
    unsigned taken = spy_top_fit(&s->text, text, columns, s->ascii);
    s->left -= taken;
    if (s->text.len > at)
        s->pieces[s->n++] = (struct spy_top_piece){s->line, style, at, s->text.len - at};
    return taken;
}

static void put_piece(struct spy_top_screen *s, enum spy_top_style style, const char *text)
{
    put_within(s, style, text, s->left);
}

__attribute__((format(printf, 3, 4))) static void
put_format(struct spy_top_screen *s, enum spy_top_style style, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    put_piece(s, style, text);
}

static void put_spaces(struct spy_top_screen *s, enum spy_top_style style, unsigned columns)
{
    put_format(s, style, "%*s", (int)(columns < s->left ? columns : s->left), "");
}

// --- the header ---

static void lay_command(struct spy_top_screen *s, const struct spy_top_facts *f)
{
    char right[128], others[32] = "", version[40] = "";
    if (f->n_pids > 1)
        snprintf(others, sizeof others, " and %zu more", f->n_pids - 1);
    if (*f->version)
        snprintf(version, sizeof version, ", Python %s", f->version);
    unsigned n =
        (unsigned)snprintf(right, sizeof right, "pid %d%s%s", (int)f->pid, others, version);
    unsigned room = s->width > n + 2 ? s->width - n - 2 : 0;
    begin_line(s, 0);
    unsigned taken = put_within(s, SPY_TOP_STRONG, *f->command ? f->command : "(ended)", room);
    put_spaces(s, SPY_TOP_PLAIN, s->bare ? 2 : room - taken + 2);
    put_piece(s, SPY_TOP_PLAIN, right);
}

static void lay_totals(struct spy_top_screen *s, const struct spy_top_summary *m)
{
    const struct spy_top_facts *f = &m->facts;
    begin_line(s, 1);
    put_format(s, SPY_TOP_PLAIN, "Samples %llu (%.0f/s)  ", (unsigned long long)f->samples,
               m->samples_per_sec);
    put_format(s, f->failed ? SPY_TOP_WARNING : SPY_TOP_PLAIN, "Errors %llu  ",
               (unsigned long long)f->failed);
    put_format(s, m->late_now ? SPY_TOP_WARNING : SPY_TOP_PLAIN, "Late rounds %llu",
               (unsigned long long)f->late);
    if (f->behind_ns > SPY_NS_PER_SEC / 10)
        put_format(s, SPY_TOP_WARNING, "  %.2f s behind: try a lower --rate",
                   (double)f->behind_ns / (double)SPY_NS_PER_SEC);
}

static void lay_shares(struct spy_top_screen *s, const struct spy_top_summary *m)
{
    begin_line(s, 2);
    put_format(s, SPY_TOP_PLAIN, "GIL %.0f%%  Active %.0f%%  Threads %u", m->gil, m->active,
               m->threads);
    if (m->processes > 1)
        put_format(s, SPY_TOP_PLAIN, "  Processes %u", m->processes);
}

static void lay_waiters(struct spy_top_screen *s, const struct spy_top_summary *m)
{
    uint32_t named = m->n_waiters < SPY_TOP_WAITERS_MAX ? m->n_waiters : SPY_TOP_WAITERS_MAX;
    begin_line(s, 3);
    if (!m->begun)
        put_piece(s, SPY_TOP_FAINT, "Collecting samples ...");
    else if (!named)
        put_piece(s, SPY_TOP_FAINT, "No thread waits for the GIL");
    else
        put_format(s, SPY_TOP_PLAIN, "%u thread%s for the GIL: ", m->n_waiters,
                   m->n_waiters == 1 ? " waits" : "s wait");
    for (uint32_t i = 0; i < named; i++) {
        put_within(s, SPY_TOP_PLAIN, m->waiters[i].name, 20);
        put_format(s, SPY_TOP_PLAIN, " %.0f%%%s", m->waiters[i].percent, i + 1 < named ? ", " : "");
    }
}

// --- the rows ---

static const struct column {
    const char *title;
    unsigned width; // with a space before the next
} columns[SPY_TOP_COLUMNS] = {
    [SPY_TOP_OWN_PERCENT] = {"%Own", 7},
    [SPY_TOP_TOTAL_PERCENT] = {"%Total", 8},
    [SPY_TOP_OWN_TIME] = {"OwnTime", 9},
    [SPY_TOP_TOTAL_TIME] = {"TotalTime", 11},
};

static void lay_titles(struct spy_top_screen *s, const struct spy_top_look *l)
{
    begin_line(s, HEADER_LINES - 1);
    for (unsigned i = 0; i < SPY_TOP_COLUMNS; i++) {
        bool sorts = l->choice.sort == i;
        char title[16];
        snprintf(title, sizeof title, "%s%s", sorts ? ">" : "", columns[i].title);
        put_format(s, SPY_TOP_HEADING, "%*s", (int)(columns[i].width - strlen(title)), "");
        put_piece(s, sorts ? SPY_TOP_SORTED : SPY_TOP_HEADING, title);
    }
    put_piece(s, SPY_TOP_HEADING,
              l->choice.functions ? "  Function (filename)" : "  Function (filename:line)");
    if (!s->bare)
        put_spaces(s, SPY_TOP_HEADING, s->left);
}

static void lay_numbers(struct spy_top_screen *s, const struct spy_top_row *r, unsigned sort)
{
    for (unsigned i = 0; i < SPY_TOP_COLUMNS; i++) {
        char text[32];
        double value = i < SPY_TOP_OWN_TIME ? r->percents[i] : r->secs[i - SPY_TOP_OWN_TIME];
        bool percent = i < SPY_TOP_OWN_TIME, large = value >= (percent ? 1000 : 100000);
        snprintf(text, sizeof text, "%.*f%c", large ? 0 : 2, value, percent ? '%' : 's');
        enum spy_top_style style = value <= 0  ? SPY_TOP_FAINT
                                   : i == sort ? SPY_TOP_STRONG
                                               : SPY_TOP_PLAIN;
        put_format(s, style, "%*s", (int)columns[i].width, text);
    }
    put_piece(s, SPY_TOP_PLAIN, "  ");
}

// The end of a file name says more than its beginning.
static const char *cut_file(const char *file, size_t max, const char *ellipsis, char *out,
                            size_t size)
{
    size_t n = strlen(file);
    if (n <= max)
        return file;
    const char *tail = file + n - max;
    while (*tail && ((unsigned char)*tail & 0xc0) == 0x80)
        tail++;
    snprintf(out, size, "%s%s", ellipsis, tail);
    return out;
}

// The name comes first; the file and line get what it leaves, and at least a part of the room.
static void lay_place(struct spy_top_screen *s, const struct spy_top_row *r)
{
    enum { FILE_LEAST = 16, FILE_ROOM = 256 };
    char line[16] = "", cut[FILE_ROOM + 8], place[FILE_ROOM + 32] = "";
    unsigned room = s->left;
    _cleanup_buf_ struct spy_buf whole = SPY_BUF_INIT(1 << 16);
    if (r->line)
        snprintf(line, sizeof line, ":%u", r->line);
    unsigned name = spy_top_fit(&whole, r->name, room, s->ascii);
    size_t least = strlen(r->file) < FILE_LEAST ? strlen(r->file) : FILE_LEAST;
    size_t around = strlen(" ()") + strlen(line), dots = s->ascii ? 3 : 1;
    if (!*r->file) {
        put_piece(s, SPY_TOP_NAME, r->name);
        return;
    }
    unsigned name_most =
        room > least + around + dots ? (unsigned)(room - least - around - dots) : 0;
    if (name > name_most && name_most >= 12)
        name = name_most;
    size_t file_most = room > name + around + dots ? room - name - around - dots : 0;
    file_most = file_most < FILE_ROOM ? file_most : FILE_ROOM;
    if (strlen(r->file) <= file_most + dots)
        file_most += dots; // no ellipsis is needed
    const char *file = cut_file(r->file, file_most, s->ascii ? "..." : "\u2026", cut, sizeof cut);
    snprintf(place, sizeof place, " (%s%s)", file, line);
    put_within(s, SPY_TOP_NAME, r->name, name);
    put_piece(s, SPY_TOP_FILE, place);
}

static void lay_rows(struct spy_top_screen *s, const struct spy_top_picture *p,
                     const struct spy_top_look *l)
{
    size_t n = spy_min(p->n, spy_top_screen_rows(s));
    for (size_t i = 0; i < n; i++) {
        begin_line(s, HEADER_LINES + (unsigned)i);
        lay_numbers(s, &p->rows[i], l->choice.sort);
        lay_place(s, &p->rows[i]);
    }
    begin_line(s, HEADER_LINES + 1);
    if (!n && p->summary.begun)
        put_piece(s, SPY_TOP_FAINT,
                  p->n_all ? "  No row matches the filter." : "  No thread has run so far.");
}

static void lay_help(struct spy_top_screen *s)
{
    static const char *const help[] = {
        "1  sort by %Own        share of the latest interval spent in the line itself",
        "2  sort by %Total      share spent in it and in what it calls",
        "3  sort by OwnTime     time spent in the line itself, since the start or r",
        "4  sort by TotalTime   time spent in it and in what it calls",
        "l  lines or whole functions",
        "r  reset: all times from 0",
        "/  only rows that match a regular expression; an empty one shows all",
        "Up, Down, Page Up, Page Down, Home  scroll",
        "q  quit, as Control-C",
        "",
        "GIL: share of the time in which a thread held the interpreter's lock.",
        "Active: threads that ran, 100% for each. Late rounds: skipped, not made up for.",
        "Errors: stacks that could not be read consistently.",
        "",
        "Any key leaves this help.",
    };
    for (unsigned i = 0; i < SPY_COUNT(help); i++) {
        begin_line(s, HEADER_LINES + i);
        if (s->line + 1 < s->height) // the last is the footer's
            put_piece(s, SPY_TOP_PLAIN, help[i]);
    }
}

// --- the footer ---

static void lay_footer(struct spy_top_screen *s, const struct spy_top_picture *p,
                       const struct spy_top_look *l)
{
    begin_line(s, s->height - 1);
    if (l->typing) {
        put_piece(s, SPY_TOP_STRONG, "Only rows that match: ");
        put_piece(s, SPY_TOP_PLAIN, l->typed);
        put_piece(s, SPY_TOP_PLAIN, "_");
    } else if (*l->message) {
        put_piece(s, SPY_TOP_WARNING, l->message);
    } else if (l->choice.filter) {
        put_format(s, SPY_TOP_STRONG, "%zu of %zu rows match ", p->n_matching, p->n_all);
        put_piece(s, SPY_TOP_PLAIN, l->filter);
        put_piece(s, p->too_costly ? SPY_TOP_WARNING : SPY_TOP_FAINT,
                  p->too_costly ? "  (given up for some: it takes too long)"
                                : "  (/ and Enter shows all)");
    } else {
        put_piece(s, SPY_TOP_FAINT,
                  "q quit  1-4 sort  l lines/functions  r reset  / filter  ? help");
    }
}

void spy_top_screen_lay(struct spy_top_screen *s, const struct spy_top_picture *p,
                        const struct spy_top_look *l)
{
    s->text.max = TEXT_MAX_BYTES;
    spy_buf_reset(&s->text);
    s->n = 0;
    lay_command(s, &p->summary.facts);
    lay_totals(s, &p->summary);
    lay_shares(s, &p->summary);
    lay_waiters(s, &p->summary);
    if (l->help) {
        lay_help(s);
    } else {
        lay_titles(s, l);
        lay_rows(s, p, l);
    }
    if (!s->bare && s->height)
        lay_footer(s, p, l);
}

static void trim_line(struct spy_buf *out, size_t from)
{
    while (out->len > from && out->data[out->len - 1] == ' ')
        out->data[--out->len] = 0;
}

int spy_top_screen_text(const struct spy_top_screen *s, struct spy_buf *out)
{
    unsigned line = 0;
    size_t from = out->len;
    for (size_t i = 0; i < s->n; i++) {
        for (; line < s->pieces[i].line; line++) {
            trim_line(out, from);
            spy_buf_putc(out, '\n');
            from = out->len;
        }
        spy_buf_append(out, spy_buf_str(&s->text) + s->pieces[i].at, s->pieces[i].len);
    }
    trim_line(out, from);
    return spy_buf_putc(out, '\n');
}
