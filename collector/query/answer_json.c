#include "collector/query/answer_json.h"

// jansson escapes C0 only. Other characters unfit for a terminal (text.h) occur only in strings.
static int append_escaped(const char *data, size_t len, void *buf)
{
    struct spy_buf *to = buf;
    for (size_t i = 0, plain; i < len; i += plain) {
        for (plain = 0; i + plain < len && (unsigned char)data[i + plain] < 0x7f;)
            plain++;
        spy_buf_append(to, data + i, plain);
        if (i + plain == len)
            break;
        size_t n = spy_utf8_len(data + i + plain, len - i - plain);
        spy_buf_json(to, data + i + plain, n ? n : 1);
        plain += n ? n : 1;
    }
    return to->failed ? -1 : 0;
}

int spy_answer_json(json_t *root, struct spy_answer *a, struct spy_err *err)
{
    int r = root ? json_dump_callback(root, append_escaped, a->body, JSON_COMPACT) : -1;
    json_decref(root);
    spy_buf_putc(a->body, '\n');
    a->media_type = "application/json";
    if (r < 0 || a->body->failed)
        return spy_err_set(err, a->body->failed ? SPY_ERR_LIMIT : SPY_ERR_NOMEM, 0,
                           "the answer does not fit in its memory");
    return 0;
}

void spy_answer_account(const struct spy_account *a, json_t *to)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(8192);
    spy_buf_putc(&text, '{');
    spy_account_json(a, &text);
    spy_buf_putc(&text, '}');
    json_t *o = json_loads(spy_buf_str(&text), 0, NULL);
    spy_buf_reset(&text);
    spy_account_print(a, &text);
    json_object_set_new(o, "text", json_string(spy_buf_str(&text)));
    json_object_set_new(to, "account", o);
    unsigned flags = spy_account_flags(a);
    json_object_set_new(to, "throttled",
                        spy_account_knows(a, SPY_PERIODS)
                            ? json_boolean(flags & SPY_ACCOUNT_THROTTLED)
                            : json_null());
    spy_buf_reset(&text);
    spy_account_warn(a, &text);
    json_object_set_new(to, "warning", flags ? json_string(spy_buf_str(&text)) : json_null());
}
