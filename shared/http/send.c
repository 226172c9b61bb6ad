#include "shared/http/transfer.h"

static CURL *take_idle_client(struct spy_client *c)
{
    pthread_mutex_lock(&c->lock);
    CURL *easy = c->n_idle ? c->idle[--c->n_idle] : NULL;
    pthread_mutex_unlock(&c->lock);
    return easy ? easy : curl_easy_init();
}

static void give_back(struct spy_client *c, const struct spy_transfer *t)
{
    bool works = t->over && t->answer.outcome != SPY_CLIENT_UNREACHABLE;
    unsigned most = c->o.idle_max < SPY_CLIENT_IDLE_MAX ? c->o.idle_max : SPY_CLIENT_IDLE_MAX;
    curl_easy_reset(t->easy); // keeps the connection
    pthread_mutex_lock(&c->lock);
    bool kept = works && t->generation == c->generation && c->n_idle < most;
    if (kept)
        c->idle[c->n_idle++] = t->easy;
    pthread_mutex_unlock(&c->lock);
    if (!kept)
        curl_easy_cleanup(t->easy);
}

int spy_client_send(struct spy_client *c, const struct spy_client_request *request,
                    struct spy_client_answer *ret, struct spy_err *err)
{
    struct spy_transfer t = {.client = c, .request = *request};
    // Idle handles are of this generation, so the age of their connections says nothing.
    spy_client_note_files(c, &t.generation);
    t.easy = take_idle_client(c);
    int r = t.easy ? spy_transfer_prepare(&t, -1, err) : spy_err_nomem(err);
    if (r == 0)
        spy_transfer_end(&t, curl_easy_perform(t.easy));
    if (t.easy)
        give_back(c, &t);
    spy_transfer_clear(&t);
    if (r == 0)
        *ret = t.answer;
    return r;
}
