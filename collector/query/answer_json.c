#include "collector/query/answer_json.h"

static int append(const char *data, size_t len, void *buf)
{
    return spy_buf_append(buf, data, len) < 0 ? -1 : 0;
}

int spy_answer_json(json_t *root, struct spy_answer *a, struct spy_err *err)
{
    int r = root ? json_dump_callback(root, append, a->body, JSON_COMPACT) : -1;
    json_decref(root);
    spy_buf_putc(a->body, '\n');
    a->media_type = "application/json";
    if (r < 0 || a->body->failed)
        return spy_err_set(err, a->body->failed ? SPY_ERR_LIMIT : SPY_ERR_NOMEM, 0,
                           "the list does not fit");
    return 0;
}
