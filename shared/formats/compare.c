#include "shared/formats/compare.h"
#include "shared/base/mem.h"
#include "shared/base/stop.h"
#include "shared/formats/print.h"
#include <math.h>
#include <stdlib.h>

double spy_compare_z(struct spy_sides k, struct spy_sides n)
{
    double a = (double)n.base, b = (double)n.compared;
    if (!n.base || !n.compared)
        return 0;
    double pooled = ((double)k.base + (double)k.compared) / (a + b);
    double fewer = (pooled < 0.5 ? pooled : 1 - pooled) * (a < b ? a : b);
    if (fewer < SPY_COMPARE_LEAST)
        return 0;
    return ((double)k.compared / b - (double)k.base / a) /
           sqrt(pooled * (1 - pooled) * (1 / a + 1 / b));
}

static int compare_distances(const void *x, const void *y)
{
    double a = fabs(*(const double *)x), b = fabs(*(const double *)y);
    return a < b ? 1 : a > b ? -1 : 0;
}

double spy_compare_cutoff(double *z, size_t n)
{
    double cutoff = INFINITY;
    qsort(z, n, sizeof *z, compare_distances);
    for (size_t i = 0; i < n; i++)
        if (erfc(fabs(z[i]) / M_SQRT2) <= SPY_COMPARE_FALSE * (double)(i + 1) / (double)n)
            cutoff = fabs(z[i]);
    return cutoff > 0 ? cutoff : INFINITY;
}

int spy_compare_tree(const struct spy_tree *t, double *ret)
{
    const struct spy_node *all = &t->nodes[0];
    size_t n = 0;
    uint32_t i = 0;
    _cleanup_free_ double *z = reallocarray(NULL, t->n, sizeof *z);
    if (!z)
        return SPY_ERR_NOMEM;
    do {
        const struct spy_node *node = &t->nodes[i];
        z[n++] = spy_compare_z((struct spy_sides){node->total, node->total_ns},
                               (struct spy_sides){all->total, all->total_ns});
    } while ((i = spy_tree_next(t, i)));
    *ret = floor(spy_compare_cutoff(z, n) * 1e4) / 1e4;
    return 0;
}

// --- functions ---

struct compared_row {
    uint32_t function, seen; // seen: the last sample that counted it, plus one
    struct spy_sides self, total;
    double z;
};

SPY_CLEANUP(free_compared_rows, struct compared_row, free)

static void add_sides(struct spy_sides *to, const struct spy_sample *s)
{
    to->base = spy_add_sat(to->base, s->count);
    to->compared = spy_add_sat(to->compared, s->ns);
}

static void count_sample(const struct spy_profile *p, const struct spy_view *v, uint32_t id,
                         struct compared_row *rows)
{
    const struct spy_sample *s = spy_profile_sample_at(p, id);
    bool inner = true; // the innermost frame that the view shows
    for (uint32_t at = s->stack; at; at = spy_profile_stack_at(p, at)->parent) {
        uint32_t f = spy_profile_frame_at(p, spy_profile_stack_at(p, at)->frame)->function;
        if (v->no_native && spy_profile_function_at(p, f)->kind == SPY_FRAME_NATIVE)
            continue;
        rows[f].function = f;
        if (inner)
            add_sides(&rows[f].self, s);
        inner = false;
        if (rows[f].seen != id + 1)
            add_sides(&rows[f].total, s);
        rows[f].seen = id + 1;
    }
}

static int count_by_function(const struct spy_profile *p, const struct spy_view *v,
                             struct compared_row *rows, struct spy_sides *ret_n)
{
    *ret_n = (struct spy_sides){0};
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        if (spy_stop_is_set(v->stop))
            return SPY_ERR_GONE;
        if (!spy_view_has(v, spy_profile_sample_at(p, i)))
            continue;
        add_sides(ret_n, spy_profile_sample_at(p, i));
        count_sample(p, v, i, rows);
    }
    return 0;
}

// Those that were seen move to the front; their number.
static size_t weigh_rows(struct compared_row *rows, size_t all, struct spy_sides n)
{
    size_t shown = 0;
    for (size_t i = 0; i < all; i++)
        if (rows[i].seen) {
            rows[i].z = spy_compare_z(rows[i].self, n);
            rows[shown++] = rows[i];
        }
    return shown;
}

static double change_of(struct spy_sides k, struct spy_sides n)
{
    return (n.compared ? (double)k.compared / (double)n.compared : 0) -
           (n.base ? (double)k.base / (double)n.base : 0);
}

static int compare_changes(const void *x, const void *y, void *sides)
{
    const struct compared_row *a = x, *b = y;
    const struct spy_sides *n = sides;
    double p = fabs(change_of(a->self, *n)), q = fabs(change_of(b->self, *n));
    if (p == q) {
        p = fabs(change_of(a->total, *n));
        q = fabs(change_of(b->total, *n));
    }
    return p < q ? 1 : p > q ? -1 : a->function < b->function ? -1 : a->function > b->function;
}

static int find_rows_cutoff(const struct compared_row *rows, size_t n, double *ret)
{
    _cleanup_free_ double *z = reallocarray(NULL, n + 1, sizeof *z);
    if (!z)
        return SPY_ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        z[i] = rows[i].z;
    *ret = spy_compare_cutoff(z, n);
    return 0;
}

// --- JSON ---

static void put_sides(const char *name, struct spy_sides s, struct spy_buf *out)
{
    spy_buf_printf(out, "\"%s\":[%llu,%llu]", name, (unsigned long long)s.base,
                   (unsigned long long)s.compared);
}

static void put_string_of(const struct spy_profile *p, const char *name, uint32_t string,
                          struct spy_buf *out)
{
    spy_buf_printf(out, "\"%s\":", name);
    spy_put_json_string(out, spy_profile_text(p, string), spy_profile_text_len(p, string));
    spy_buf_putc(out, ',');
}

static void put_compared_row(const struct spy_profile *p, const struct compared_row *r,
                             struct spy_sides n, double cutoff, struct spy_buf *out)
{
    static const char *const kinds[SPY_FRAME_KINDS] = {"python", "native", "marker"};
    const struct spy_function *f = spy_profile_function_at(p, r->function);
    spy_buf_putc(out, '{');
    put_string_of(p, "name", f->name, out);
    put_string_of(p, "file", f->filename, out);
    spy_buf_printf(out, "\"line\":%u,\"kind\":\"%s\",", f->start_line, kinds[f->kind]);
    put_sides("self", r->self, out);
    spy_buf_putc(out, ',');
    put_sides("total", r->total, out);
    spy_buf_printf(out,
                   ",\"self_change\":%.6f,\"total_change\":%.6f,\"z\":%.2f,\"significant\":%s}",
                   change_of(r->self, n), change_of(r->total, n), r->z,
                   fabs(r->z) >= cutoff ? "true" : "false");
}

static void put_texts(const struct spy_compared *what, struct spy_buf *out)
{
    const char *const texts[2] = {what->base, what->compared};
    for (int i = 0; i < 2; i++) {
        spy_buf_puts(out, i ? ",\"compared\":" : "\"base\":");
        spy_put_json_string(out, texts[i], __builtin_strlen(texts[i]));
    }
}

static int put_functions(const struct spy_profile *p, const struct spy_view *v, size_t rows_max,
                         struct spy_buf *out)
{
    size_t all = spy_profile_n_functions(p);
    struct spy_sides n;
    double cutoff = INFINITY;
    _cleanup_(free_compared_rows) struct compared_row *rows = calloc(all + 1, sizeof *rows);
    int r = rows ? count_by_function(p, v, rows, &n) : SPY_ERR_NOMEM;
    if (r < 0)
        return r;
    size_t shown = weigh_rows(rows, all, n);
    r = find_rows_cutoff(rows, shown, &cutoff);
    if (r < 0)
        return r;
    qsort_r(rows, shown, sizeof *rows, compare_changes, &n);
    put_sides("samples", n, out);
    if (isfinite(cutoff))
        spy_buf_printf(out, ",\"z_cutoff\":%.2f", cutoff);
    else
        spy_buf_puts(out, ",\"z_cutoff\":null");
    spy_buf_printf(out, ",\"functions_in_all\":%zu,\"functions\":[", shown);
    for (size_t i = 0; i < shown && i < rows_max && !out->failed; i++) {
        if (i)
            spy_buf_putc(out, ',');
        put_compared_row(p, &rows[i], n, cutoff, out);
    }
    spy_buf_puts(out, "],");
    return 0;
}

int spy_compare_json(const struct spy_profile *p, const struct spy_view *v,
                     const struct spy_compared *what, size_t rows_max, struct spy_buf *out,
                     struct spy_err *err)
{
    _cleanup_(spy_tree_free) struct spy_tree t = {0};
    int r = spy_tree_build(p, v, &t);
    if (r < 0)
        return spy_print_failed(r, err);
    spy_buf_putc(out, '{');
    put_texts(what, out);
    spy_buf_putc(out, ',');
    r = put_functions(p, v, rows_max, out);
    if (r == 0)
        r = spy_put_compact_tree(&t, out);
    spy_buf_puts(out, "}\n");
    return r < 0 || out->failed ? spy_print_failed(r < 0 ? r : out->failed, err) : 0;
}
