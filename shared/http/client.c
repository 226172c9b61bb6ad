#include "shared/http/client.h"
#include "shared/base/clock.h"
#include "shared/http/transfer.h"
#include <stdlib.h>
#include <string.h>

enum { TOKEN = 0 }; // its place among the files

static void init_libcurl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int spy_client_new(const struct spy_client_options *o, struct spy_client **ret, struct spy_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_libcurl);
    struct spy_client *c = calloc(1, sizeof *c);
    if (!c)
        return spy_err_nomem(err);
    c->o = *o;
    pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return 0;
}

static void close_idle(struct spy_client *c)
{
    while (c->n_idle)
        curl_easy_cleanup(c->idle[--c->n_idle]);
}

void spy_client_free(struct spy_client *c)
{
    if (!c)
        return;
    close_idle(c);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void spy_client_abort(struct spy_client *c)
{
    __atomic_store_n(&c->aborted, true, __ATOMIC_RELAXED);
}

void spy_client_answer_free(struct spy_client_answer *a)
{
    if (a->body.data)
        explicit_bzero(a->body.data, a->body.len); // it may hold a token or a key
    spy_buf_free(&a->body);
}

// --- connections and files ---

static void begin_generation(struct spy_client *c)
{
    close_idle(c);
    c->generation++;
    c->since_ns = spy_clock_mono_ns();
}

void spy_client_forget(struct spy_client *c)
{
    pthread_mutex_lock(&c->lock);
    begin_generation(c);
    pthread_mutex_unlock(&c->lock);
}

static void identify_files(const struct spy_client *c, struct spy_file_id ret[SPY_CLIENT_FILES])
{
    const char *const files[SPY_CLIENT_FILES] = {
        [TOKEN] = c->o.token_file, c->o.ca_file, c->o.cert_file, c->o.key_file};
    for (size_t i = 0; i < SPY_CLIENT_FILES; i++)
        ret[i] = spy_file_id_of(files[i]);
}

bool spy_client_files_changed(struct spy_client *c)
{
    struct spy_file_id now[SPY_CLIENT_FILES];
    bool changed = false;
    identify_files(c, now);
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < SPY_CLIENT_FILES; i++)
        changed |= !spy_file_id_equal(&now[i], &c->seen[i]);
    pthread_mutex_unlock(&c->lock);
    return changed;
}

long spy_client_note_files(struct spy_client *c, unsigned *ret_generation)
{
    struct spy_file_id now[SPY_CLIENT_FILES];
    bool changed = false;
    identify_files(c, now);
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < SPY_CLIENT_FILES; i++) {
        changed |= i != TOKEN && !spy_file_id_equal(&now[i], &c->seen[i]);
        c->seen[i] = now[i];
    }
    if (changed && c->noted)
        begin_generation(c);
    c->noted = true;
    // libcurl counts whole seconds: one less, so that nothing older than the generation passes.
    uint64_t secs = c->since_ns ? (spy_clock_mono_ns() - c->since_ns) / SPY_NS_PER_SEC : 0;
    long age = !c->since_ns ? -1 : secs > 1 ? (long)secs - 1 : 0;
    *ret_generation = c->generation;
    pthread_mutex_unlock(&c->lock);
    return age;
}
