#include "collector/http/http.h"
#include "collector/http/server.h"
#include "collector/http/strict.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IO_THREADS = 2, CONNECTION_MEMORY = 32768 };
// TLS 1.2 with authenticated encryption and ephemeral keys only: no CBC, no RSA key exchange.
#define TLS_PRIORITY                                                                               \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-MAC-ALL:+AEAD:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"

static void on_connection(void *arg, struct MHD_Connection *c, void **state,
                          enum MHD_ConnectionNotificationCode code)
{
    struct spy_listener *l = arg;
    (void)state;
    const union MHD_ConnectionInfo *i =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    int fd = i ? i->connect_fd : -1;
    spy_capacity_count(&l->capacity, code == MHD_CONNECTION_NOTIFY_STARTED ? 1 : -1);
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        spy_deadlines_add(l->http->deadlines, c, fd);
    else if (spy_deadlines_remove(l->http->deadlines, c))
        spy_linger_add(l->http->linger, fd);
}

static bool is_off(const char *address)
{
    return !address || !*address || !strcmp(address, "off");
}

static struct MHD_OptionItem make_item(enum MHD_OPTION option, const char *text)
{
    return (struct MHD_OptionItem){option, 0, (void *)(uintptr_t)text};
}

// libmicrohttpd passes no argument to this callback, so it finds the server here.
static struct spy_http *tls_server; // read and written atomically

static int on_certificate(gnutls_session_t session, const gnutls_datum_t *authorities, int n,
                          const gnutls_pk_algorithm_t *algorithms, int n_algorithms,
                          gnutls_pcert_st **ret_chain, unsigned *ret_n, gnutls_privkey_t *ret_key)
{
    const struct spy_http *h = __atomic_load_n(&tls_server, __ATOMIC_ACQUIRE);
    (void)authorities, (void)n, (void)algorithms, (void)n_algorithms;
    if (!h)
        return -1;
    if (h->options.asks_for_certificates) { // without the names of authorities, which may change
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
        gnutls_certificate_send_x509_rdn_sequence(session, 1);
    }
    h->options.certificate(h->options.certificate_arg, ret_chain, ret_n, ret_key);
    return 0;
}

// A server that ends takes no more connections. libmicrohttpd's own way, MHD_quiesce_daemon, aborts
// the program at times: with epoll, two threads take the listening socket out of the set, and the
// later one finds it gone (0.9.75).
static enum MHD_Result may_accept(void *arg, const struct sockaddr *address, socklen_t len)
{
    (void)address;
    (void)len;
    return spy_lanes_are_closing(arg) ? MHD_NO : MHD_YES;
}

static int start_listener(struct spy_listener *l, const char *address, struct spy_err *err)
{
    const struct spy_http_options *o = &l->http->options;
    struct MHD_OptionItem items[5];
    size_t n = 0;
    if (is_off(address))
        return 0;
    int fd = spy_http_listen(address, l->local, &l->port, err);
    if (fd < 0)
        return fd;
    if (!l->local) {
        __atomic_store_n(&tls_server, l->http, __ATOMIC_RELEASE);
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0,
                                             (void *)(uintptr_t)on_certificate};
        items[n++] = make_item(MHD_OPTION_HTTPS_PRIORITIES, TLS_PRIORITY);
    }
    items[n] = make_item(MHD_OPTION_END, NULL);
    // With epoll, a handshake that waits for its client keeps a thread busy (libmicrohttpd 0.9.75).
    unsigned flags =
        MHD_ALLOW_SUSPEND_RESUME |
        (l->local ? MHD_USE_EPOLL_INTERNAL_THREAD : MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_TLS);
    l->daemon = MHD_start_daemon(
        flags, (uint16_t)l->port, may_accept, l->http, spy_job_on_request, l,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)IO_THREADS,
        MHD_OPTION_CONNECTION_LIMIT, l->capacity.max, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        o->connections_per_ip, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SPY_HTTP_IDLE_SECS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED,
        spy_job_on_completed, l, MHD_OPTION_NOTIFY_CONNECTION, on_connection, l,
        MHD_OPTION_URI_LOG_CALLBACK, spy_strict_on_target, NULL, MHD_OPTION_ARRAY, items,
        MHD_OPTION_END);
    if (!l->daemon) {
        close(fd);
        return spy_err_set(err, SPY_ERR_IO, 0, "cannot serve on %s: libmicrohttpd refused",
                           address);
    }
    return 0;
}

int spy_http_new(const struct spy_http_options *options, struct spy_http **ret, struct spy_err *err)
{
    struct spy_http *h = calloc(1, sizeof *h);
    if (!h)
        return spy_err_nomem(err);
    h->options = *options;
    h->tls = (struct spy_listener){.http = h};
    h->plain = (struct spy_listener){.http = h, .local = true};
    unsigned n_listeners = !is_off(options->https) + !is_off(options->http);
    spy_capacity_init(&h->tls.capacity, n_listeners ? n_listeners : 1);
    h->plain.capacity = h->tls.capacity;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->idle, NULL);
    int r = spy_deadlines_new(h->tls.capacity.max, &h->deadlines, err);
    if (r == 0)
        r = spy_linger_new(&h->linger, err);
    if (r == 0)
        r = spy_lanes_start(h, err);
    if (r == 0)
        r = start_listener(&h->tls, options->https, err);
    if (r == 0)
        r = start_listener(&h->plain, options->http, err);
    if (r < 0) {
        spy_http_free(h);
        return r;
    }
    *ret = h;
    return 0;
}

unsigned spy_http_tls_port(const struct spy_http *h)
{
    return h->tls.daemon ? h->tls.port : 0;
}

unsigned spy_http_plain_port(const struct spy_http *h)
{
    return h->plain.daemon ? h->plain.port : 0;
}

void spy_http_free(struct spy_http *h)
{
    if (!h)
        return;
    spy_lanes_finish(h);
    if (h->tls.daemon)
        MHD_stop_daemon(h->tls.daemon);
    struct spy_http *self = h;
    __atomic_compare_exchange_n(&tls_server, &self, NULL, false, __ATOMIC_ACQ_REL,
                                __ATOMIC_RELAXED);
    if (h->plain.daemon)
        MHD_stop_daemon(h->plain.daemon);
    spy_linger_free(h->linger);
    spy_deadlines_free(h->deadlines);
    pthread_cond_destroy(&h->idle);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
