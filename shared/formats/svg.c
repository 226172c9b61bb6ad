// A flamegraph as one SVG file: icicle layout, root on top. It draws what can be seen
// (svg_drawing.c) and carries all frames (svg_frames.c) for the script in web/, which adds zoom,
// search and keys. Each frame is an inner <svg> of a width in percent, which clips its text and
// follows the window.
#include "shared/formats/svg.h"
#include "shared/base/clock.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include "shared/formats/compare.h"
#include "shared/formats/print.h"
#include "shared/profile/account.h"
#include <math.h>
#include <string.h>
#include <time.h>

enum { ROW = 18, TOP = 96, BOTTOM = 56, LINE = 18, GREY = 8, GREEN = 9, GREW = 10, SHRANK = 13 };

// XML 1.0, section 2.2, allows no U+FFFE, no U+FFFF, and no control characters except tab, line
// feed and carriage return. What text.h keeps from terminals is left out as well.
static const char *find_replacement(const char *s, size_t n)
{
    uint32_t code = n ? spy_utf8_code(s, n) : 0;
    switch (code) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '\t':
    case '\n':
        return NULL;
    default:
        return code == 0xfffe || code == 0xffff || !spy_utf8_is_fit(code) ? "\xef\xbf\xbd" : NULL;
    }
}

void spy_svg_put_text(struct spy_buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = spy_utf8_len(s + i, len - i);
        const char *instead = find_replacement(s + i, n);
        if (instead)
            spy_buf_puts(out, instead);
        else
            spy_buf_append(out, s + i, n);
        i += n ? n : 1;
    }
}

static void put_svg_string(struct spy_buf *out, const char *s)
{
    spy_svg_put_text(out, s, strlen(s));
}

// Grey: the difference may be chance. flamegraph.js does the same.
static unsigned choose_change_colour(const struct spy_tree *t, const struct spy_node *n)
{
    const struct spy_node *all = &t->nodes[0];
    double z = spy_compare_z((struct spy_sides){n->total, n->total_ns},
                             (struct spy_sides){all->total, all->total_ns});
    double change = all->total && all->total_ns ? (double)n->total_ns / (double)all->total_ns -
                                                      (double)n->total / (double)all->total
                                                : 0;
    if (fabs(z) < t->cutoff)
        return GREY;
    return (change > 0 ? GREW : SHRANK) + (unsigned)(fabs(change) > 0.01) +
           (unsigned)(fabs(change) > 0.05);
}

// Frames of one file share a warm colour. Native code is green, everything else grey.
unsigned spy_svg_colour(const struct spy_tree *t, const struct spy_node *n)
{
    if (t->view.compares)
        return choose_change_colour(t, n);
    if (n->kind != SPY_NODE_FRAME)
        return GREY;
    const struct spy_function *f = spy_profile_function_at(t->profile, n->function);
    if (f->kind != SPY_FRAME_PYTHON)
        return f->kind == SPY_FRAME_NATIVE ? GREEN : GREY;
    return (unsigned)(spy_hash_bytes(spy_profile_text(t->profile, f->filename),
                                     spy_profile_text_len(t->profile, f->filename)) %
                      GREY);
}

static void put_utc_time(struct spy_buf *out, uint64_t ns)
{
    time_t sec = (time_t)(ns / SPY_NS_PER_SEC);
    struct tm tm;
    char text[32];
    gmtime_r(&sec, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    spy_buf_puts(out, text);
}

// The quality of the data: the window, the samples by how they were taken, what was lost.
static void put_svg_footer(const struct spy_tree *t, uint32_t y, struct spy_buf *out)
{
    struct spy_quality q = {0};
    uint64_t from = UINT64_MAX, to = 0;
    const struct spy_profile *p = t->profile;
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        const struct spy_series *s = spy_profile_series_get(p, i);
        if (!s->start_ns)
            continue;
        from = s->start_ns < from ? s->start_ns : from;
        to = s->start_ns + s->duration_ns > to ? s->start_ns + s->duration_ns : to;
        spy_quality_add(&q, &s->quality);
    }
    spy_buf_printf(out, "<text class=\"faint\" x=\"12\" y=\"%u\">", y + 20);
    if (from < to) {
        put_utc_time(out, from);
        spy_buf_puts(out, " to ");
        put_utc_time(out, to);
        spy_buf_puts(out, " UTC. ");
    }
    spy_buf_printf(out, "%u processes. Thread samples taken: ", spy_profile_n_series(p));
#define PUT(name, words) spy_buf_printf(out, "%llu " words, (unsigned long long)q.name);
    SPY_QUALITY(PUT)
#undef PUT
    spy_buf_puts(out, ".</text>\n");
    spy_buf_printf(
        out, "<text class=\"faint\" x=\"12\" y=\"%u\">%s%s podspy " PODSPY_VERSION "</text>\n",
        y + 38, t->view.idle ? "Waiting threads included." : "Running threads only.",
        t->view.gil ? " Only GIL holders." : "");
}

static void put_compare_footer(uint32_t y, struct spy_buf *out)
{
    spy_buf_printf(out,
                   "<text class=\"faint\" x=\"12\" y=\"%u\">Red grew, blue shrank, grey may be "
                   "chance. A width is the mean of a frame's two shares.</text>\n"
                   "<text class=\"faint\" x=\"12\" y=\"%u\">podspy " PODSPY_VERSION "</text>\n",
                   y + 20, y + 38);
}

// The kernel's account of the same time, and the warnings drawn from it: a line each if known.
struct account_lines {
    struct spy_buf facts, warnings;
};

static void free_account_lines(struct account_lines *l)
{
    spy_buf_free(&l->facts);
    spy_buf_free(&l->warnings);
}

static int make_account_lines(const struct spy_tree *t, struct account_lines *l)
{
    struct spy_account a;
    if (t->view.compares)
        return 0;
    int r = spy_profile_account(t->profile, &a);
    if (r == 0)
        r = spy_account_print(&a, &l->facts);
    return r < 0 ? r : spy_account_warn(&a, &l->warnings);
}

static uint32_t sum_line_heights(const struct account_lines *l)
{
    return LINE * (uint32_t)((l->facts.len > 0) + (l->warnings.len > 0));
}

static void put_account_lines(const struct account_lines *l, uint32_t y, struct spy_buf *out)
{
    if (l->facts.len)
        spy_buf_printf(out, "<text id=\"cpu\" class=\"faint\" x=\"12\" y=\"%u\">%s</text>\n", y,
                       spy_buf_str(&l->facts));
    if (l->warnings.len)
        spy_buf_printf(out, "<text id=\"warning\" x=\"12\" y=\"%u\">%s</text>\n",
                       y + (l->facts.len ? LINE : 0), spy_buf_str(&l->warnings));
}

static uint32_t count_notes(const struct spy_view *v)
{
    uint32_t n = 0;
    for (const char *at = v->notes; at && (at = strchr(at, '\n')); at++)
        n++;
    return n;
}

static void put_notes(const struct spy_view *v, uint32_t y, struct spy_buf *out)
{
    const char *end;
    for (const char *at = v->notes; at && (end = strchr(at, '\n')); at = end + 1, y += LINE) {
        spy_buf_printf(out, "<text class=\"faint\" x=\"12\" y=\"%u\">", y);
        spy_svg_put_text(out, at, (size_t)(end - at));
        spy_buf_puts(out, "</text>\n");
    }
}

static void put_svg_head(const struct spy_tree *t, uint32_t height, struct spy_buf *out)
{
    const char *title = t->view.title ? t->view.title : "podspy";
    spy_buf_printf(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" "
        "width=\"100%%\" height=\"%u\" role=\"group\" aria-labelledby=\"title\">\n<title>",
        height);
    put_svg_string(out, title);
    spy_buf_puts(out, "</title>\n<style><![CDATA[\n");
    spy_buf_puts(out, spy_svg_style);
    spy_buf_puts(out, "]]></style>\n<text id=\"title\" x=\"12\" y=\"28\">");
    put_svg_string(out, title);
    spy_buf_puts(
        out,
        "</text>\n<foreignObject x=\"12\" y=\"40\" width=\"260\" height=\"26\"><input "
        "xmlns=\"http://www.w3.org/1999/xhtml\" id=\"search\" type=\"search\" "
        "placeholder=\"Search (Ctrl-F)\" aria-label=\"Search frames by regular expression\"/>"
        "</foreignObject>\n<text id=\"matched\" class=\"faint\" x=\"280\" y=\"57\" "
        "aria-live=\"polite\"></text>\n<g id=\"reset\" class=\"button hidden\" tabindex=\"0\" "
        "role=\"button\" aria-label=\"Reset zoom\"><rect x=\"470\" y=\"40\" width=\"104\" "
        "height=\"24\" pointer-events=\"all\"/><text x=\"480\" y=\"57\">Reset zoom</text></g>\n"
        "<text id=\"details\" x=\"12\" y=\"84\">Click a frame to zoom; arrow keys, Enter and "
        "Escape work too.</text>\n");
}

static void put_summary(const struct spy_tree *t, struct spy_buf *out)
{
    const struct spy_node *all = &t->nodes[0];
    if (t->view.compares) {
        spy_buf_printf(out,
                       "<text id=\"summary\" x=\"100%%\" dx=\"-12\" y=\"28\">%llu samples, base "
                       "%llu</text>\n",
                       (unsigned long long)all->total_ns, (unsigned long long)all->total);
        return;
    }
    spy_buf_printf(out, "<text id=\"summary\" x=\"100%%\" dx=\"-12\" y=\"28\">%llu samples",
                   (unsigned long long)all->total);
    if (t->by_time)
        spy_buf_printf(out, ", %.2f s", (double)all->total_ns / 1e9);
    spy_buf_puts(out, "</text>\n");
}

static int put_empty_reason(const struct spy_tree *t, struct spy_buf *out)
{
    _cleanup_buf_ struct spy_buf why = SPY_BUF_INIT(SPY_LABEL_MAX);
    int r = spy_view_why_empty(t->profile, &t->view, &why);
    spy_buf_printf(out, "<text id=\"empty\" x=\"10\" y=\"%d\">", TOP + ROW);
    put_svg_string(out, spy_buf_str(&why));
    spy_buf_puts(out, "</text>\n");
    return r;
}

static int put_script(const struct spy_tree *t, struct spy_buf *out)
{
    int r = spy_svg_put_frames(t, out);
    spy_buf_puts(out, "<script>" SPY_SVG_SCRIPT_BEFORE);
    spy_buf_puts(out, spy_svg_script);
    spy_buf_puts(out, SPY_SVG_SCRIPT_AFTER "</script>\n");
    return r;
}

static int print_flamegraph(const struct spy_tree *t, struct spy_buf *out)
{
    bool empty = !spy_node_weight(t, &t->nodes[0]);
    uint32_t bottom = TOP + (empty ? 2 : t->max_depth + 1) * ROW;
    _cleanup_(free_account_lines) struct account_lines lines = {SPY_BUF_INIT(4096),
                                                                SPY_BUF_INIT(4096)};
    int r = make_account_lines(t, &lines);
    if (r < 0)
        return r;
    uint32_t notes = bottom + BOTTOM + sum_line_heights(&lines);
    put_svg_head(t, notes + LINE * count_notes(&t->view), out);
    put_summary(t, out);
    if (empty)
        r = put_empty_reason(t, out);
    else
        r = spy_svg_put_drawing(t, TOP, ROW, out);
    if (r < 0)
        return r;
    if (t->view.compares)
        put_compare_footer(bottom, out);
    else
        put_svg_footer(t, bottom, out);
    put_account_lines(&lines, bottom + BOTTOM, out);
    put_notes(&t->view, notes, out);
    if (!empty)
        r = put_script(t, out);
    spy_buf_puts(out, "</svg>\n");
    return r < 0 ? r : out->failed;
}

static int print_svg(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out,
                     struct spy_err *err)
{
    _cleanup_(spy_tree_free) struct spy_tree t = {0};
    int r = spy_tree_build(p, v, &t);
    if (r == 0 && v->compares)
        r = spy_compare_tree(&t, &t.cutoff);
    if (r == 0)
        r = print_flamegraph(&t, out);
    return r < 0 ? spy_print_failed(r, err) : 0;
}

// The marks of CDATA are not part of the text that is hashed (CSP Level 3, 6.7.3.2).
const struct spy_format spy_format_svg = {
    .name = "svg",
    .alias = "flamegraph",
    .media_type = "image/svg+xml",
    .extension = "svg",
    .script = {"//\n", spy_svg_script, "//"},
    .style = {"\n", spy_svg_style, ""},
    .print = print_svg,
};
