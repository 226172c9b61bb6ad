#include "shared/http/transfer.h"
#include <stdlib.h>

struct spy_client_loop {
    struct spy_client *client;
    CURLM *multi;
};

int spy_client_loop_new(struct spy_client *c, struct spy_client_loop **ret, struct spy_err *err)
{
    struct spy_client_loop *l = calloc(1, sizeof *l);
    if (!l || !(l->multi = curl_multi_init())) {
        free(l);
        return spy_err_nomem(err);
    }
    l->client = c;
    *ret = l;
    return 0;
}

void spy_client_loop_free(struct spy_client_loop *l)
{
    if (!l)
        return;
    curl_multi_cleanup(l->multi);
    free(l);
}

int spy_client_loop_start(struct spy_client_loop *l, const struct spy_client_request *request,
                          struct spy_transfer **ret, struct spy_err *err)
{
    struct spy_transfer *t = calloc(1, sizeof *t);
    if (!t || !(t->easy = curl_easy_init())) {
        free(t);
        return spy_err_nomem(err);
    }
    t->client = l->client;
    t->request = *request;
    int r = spy_transfer_prepare(t, spy_client_note_files(l->client, &t->generation), err);
    if (r == 0 && (curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t) != CURLE_OK ||
                   curl_multi_add_handle(l->multi, t->easy) != CURLM_OK))
        r = spy_err_set(err, SPY_ERR_NOMEM, 0, "libcurl cannot begin a request");
    if (r < 0) {
        spy_transfer_free(t);
        return r;
    }
    t->multi = l->multi;
    *ret = t;
    return 0;
}

static bool end_transfers(struct spy_client_loop *l)
{
    bool any = false;
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(l->multi, &left));) {
        char *t = NULL;
        if (m->msg != CURLMSG_DONE ||
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t) != CURLE_OK || !t)
            continue;
        spy_transfer_end((struct spy_transfer *)(void *)t, m->data.result);
        any = true;
    }
    return any;
}

void spy_client_loop_run(struct spy_client_loop *l, unsigned timeout_ms)
{
    int running;
    curl_multi_perform(l->multi, &running);
    if (!end_transfers(l))
        curl_multi_poll(l->multi, NULL, 0, (int)timeout_ms, NULL);
}

void spy_client_loop_wake(struct spy_client_loop *l)
{
    curl_multi_wakeup(l->multi);
}

const struct spy_client_answer *spy_transfer_answer(const struct spy_transfer *t)
{
    return t->over ? &t->answer : NULL;
}

void spy_transfer_free(struct spy_transfer *t)
{
    if (!t)
        return;
    if (t->multi)
        curl_multi_remove_handle(t->multi, t->easy);
    curl_easy_cleanup(t->easy);
    spy_transfer_clear(t);
    spy_client_answer_free(&t->answer);
    free(t);
}
