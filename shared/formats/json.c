// A tree with its series, states and account; docs/formats.md has its schema.
#include "shared/base/mem.h"
#include "shared/formats/print.h"
#include "shared/profile/account.h"
#include <string.h>

static void put_profile_string(struct spy_buf *out, const struct spy_profile *p, uint32_t string)
{
    spy_put_json_string(out, spy_profile_text(p, string), spy_profile_text_len(p, string));
}

static void put_series_json(const struct spy_profile *p, uint32_t id, struct spy_buf *out)
{
    const struct spy_series *s = spy_profile_series_get(p, id);
    spy_buf_puts(out, "{\"labels\":{");
    for (uint32_t i = 0; i < s->n_labels; i++) {
        const struct spy_label *l = spy_profile_label_at(p, s->first_label + i);
        if (i)
            spy_buf_putc(out, ',');
        put_profile_string(out, p, l->key);
        spy_buf_putc(out, ':');
        put_profile_string(out, p, l->value);
    }
    spy_buf_printf(out, "},\"start_ns\":%llu,\"duration_ns\":%llu,\"period_ns\":%llu,\"quality\":{",
                   (unsigned long long)s->start_ns, (unsigned long long)s->duration_ns,
                   (unsigned long long)s->period_ns);
    const char *comma = "";
#define PUT(name, ...)                                                                             \
    spy_buf_printf(out, "%s\"" #name "\":%llu", comma, (unsigned long long)s->quality.name);       \
    comma = ",";
    SPY_QUALITY(PUT)
#undef PUT
    spy_buf_puts(out, "},\"account\":{");
    spy_account_json(&s->account, out);
    spy_buf_puts(out, "}}");
}

// The account of all series together: the facts and warnings of the flamegraph's footer.
static int put_account_json(const struct spy_profile *p, struct spy_buf *out)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(4096);
    struct spy_account a;
    int r = spy_profile_account(p, &a);
    if (r < 0)
        return r;
    spy_buf_puts(out, ",\"account\":{");
    spy_account_json(&a, out);
    spy_account_print(&a, &text);
    spy_buf_puts(out, ",\"text\":");
    spy_put_json_string(out, spy_buf_str(&text), text.len);
    spy_buf_reset(&text);
    spy_account_warn(&a, &text);
    spy_buf_puts(out, ",\"warning\":");
    spy_put_json_string(out, spy_buf_str(&text), text.len);
    return spy_buf_putc(out, '}');
}

static void put_number_field(struct spy_buf *out, const char *name, uint64_t n)
{
    spy_buf_puts(out, name);
    spy_buf_number(out, n);
}

static void put_node_json(const struct spy_tree *t, const struct spy_node *n, struct spy_buf *out)
{
    static const char *const kinds[] = {",\"kind\":\"python\"", ",\"kind\":\"native\"",
                                        ",\"kind\":\"marker\""};
    spy_buf_puts(out, "{\"name\":");
    if (n->kind == SPY_NODE_FRAME) {
        const struct spy_function *f = spy_profile_function_at(t->profile, n->function);
        put_profile_string(out, t->profile, f->name);
        spy_buf_puts(out, ",\"file\":");
        put_profile_string(out, t->profile, f->filename);
        put_number_field(out, ",\"line\":", n->line);
        spy_buf_puts(out, kinds[f->kind]);
    } else {
        _cleanup_buf_ struct spy_buf label = SPY_BUF_INIT(SPY_LABEL_MAX);
        spy_node_label(t, n, &label);
        spy_put_json_string(out, spy_buf_str(&label), label.len);
        spy_buf_puts(out, ",\"file\":\"\",\"line\":0,\"kind\":\"marker\"");
    }
    put_number_field(out, ",\"self\":", n->self);
    put_number_field(out, ",\"total\":", n->total);
    put_number_field(out, ",\"self_ns\":", n->self_ns);
    put_number_field(out, ",\"total_ns\":", n->total_ns);
    spy_buf_puts(out, ",\"children\":[");
}

static void put_tree_json(const struct spy_tree *t, struct spy_buf *out)
{
    uint32_t i = 0;
    for (;;) {
        put_node_json(t, &t->nodes[i], out);
        if (t->nodes[i].first_child) {
            i = t->nodes[i].first_child;
            continue;
        }
        spy_buf_puts(out, "]}");
        while (i && !t->nodes[i].next) {
            i = t->nodes[i].parent;
            spy_buf_puts(out, "]}");
        }
        if (!i || out->failed)
            return;
        spy_buf_putc(out, ',');
        i = t->nodes[i].next;
    }
}

// Counts all samples, so that a reader sees what the view left out.
static void put_states_json(const struct spy_profile *p, struct spy_buf *out)
{
    uint64_t n[SPY_ACTIVITIES] = {0};
    for (uint32_t i = 0; i < spy_profile_n_samples(p); i++) {
        const struct spy_sample *s = spy_profile_sample_at(p, i);
        uint64_t *sum = &n[spy_state_activity(s->state)];
        *sum = spy_add_sat(*sum, s->count);
    }
    for (size_t i = 0; i < SPY_ACTIVITIES; i++)
        spy_buf_printf(out, "%s\"%s\":%llu", i ? "," : "{", spy_activity_names[i],
                       (unsigned long long)n[i]);
    spy_buf_putc(out, '}');
}

int spy_put_json_meta(const struct spy_profile *p, const struct spy_view *v, struct spy_buf *out)
{
    spy_buf_puts(out, "\"meta\":{\"exporter\":\"podspy " PODSPY_VERSION "\",");
    if (v->notes) {
        spy_buf_puts(out, "\"notes\":");
        spy_put_json_string(out, v->notes, strlen(v->notes));
        spy_buf_putc(out, ',');
    }
    spy_buf_puts(out, "\"series\":[");
    for (uint32_t i = 0; i < spy_profile_n_series(p); i++) {
        if (i)
            spy_buf_putc(out, ',');
        put_series_json(p, i, out);
    }
    spy_buf_puts(out, "],\"states\":");
    put_states_json(p, out);
    int r = put_account_json(p, out);
    spy_buf_putc(out, '}');
    return r < 0 ? r : out->failed;
}

static int print_json_tree(const struct spy_profile *p, const struct spy_view *v,
                           struct spy_buf *out, struct spy_err *err)
{
    _cleanup_(spy_tree_free) struct spy_tree t = {0};
    int r = spy_tree_build(p, v, &t);
    spy_buf_putc(out, '{');
    if (r == 0)
        r = spy_put_json_meta(p, v, out);
    if (r < 0)
        return spy_print_failed(r, err);
    spy_buf_puts(out, ",\"root\":");
    put_tree_json(&t, out);
    spy_buf_puts(out, "}\n");
    return out->failed ? spy_print_failed(out->failed, err) : 0;
}

const struct spy_format spy_format_json = {
    .name = "json",
    .media_type = "application/json",
    .extension = "json",
    .print = print_json_tree,
};
