// push_windows.c - a load for the collector's ingest: windows pushed over TLS as fast as they are
// acknowledged, or at a pace.
//
//     push_windows PORT CA TOKEN [key=value ...]
//     windows=3000 processes=200 connections=200 a_request=1 encoding=gzip pace=0 seed=1 start=SECONDS
//
// PORT is on 127.0.0.1, CA and TOKEN are the collector's files. The bodies are made before the clock
// starts. A window is one process for 10 s: 200 distinct stacks of depth 30, 1000 samples, about 74 KB
// raw and 30 KB gzip. The processes take turns, and those of one of 20 services run the same code.
// start: when the first windows begin, in Unix time; default: so that the last end now. The same seed
// gives the same profile ids.
//
// Prints one line of JSON: what was acknowledged, how long it took, and the latencies.
#include "shared/base/clock.h"
#include "shared/base/compress.h"
#include "shared/base/file.h"
#include "shared/base/map.h"
#include "shared/base/mem.h"
#include "shared/otlp/otlp.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SERVICES = 20,
    DEPTH = 30,
    COMMON = 12, // frames that all stacks of a service share
    WINDOW_STACKS = 200,
    SERVICE_STACKS = 400,
    SERVICE_FUNCTIONS = 1200,
    WINDOW_SAMPLES = 1000,
    THREADS = 8,
    CONNECTIONS_MAX = 4096,
    BODY_MAX = 64 << 20,
};

static struct {
    uint64_t windows, processes, connections, a_request, pace, seed, start;
    enum spy_encoding encoding;
    uint16_t port;
    const char *ca, *token;
} load = {.windows = 3000,
          .processes = 200,
          .connections = 200,
          .a_request = 1,
          .seed = 1,
          .encoding = SPY_ENCODING_GZIP};

static struct request {
    struct spy_buf body;
    uint64_t raw, took_ns;
    int status;
} * requests;
static uint64_t n_requests, next_request, epoch_ns;

static void must(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "push_windows: %s: %s\n", what, spy_code_name(r));
    exit(1);
}

// --- bodies ---

static uint32_t text(struct spy_profile *p, const char *s)
{
    uint32_t id = 0;
    must(spy_profile_cstr(p, s, &id), "a string");
    return id;
}

static uint32_t frame_of(struct spy_profile *p, unsigned service, uint64_t which)
{
    char name[96], file[96];
    uint64_t words = spy_hash_mix(which, service);
    snprintf(name, sizeof name, "RequestHandler%03u.method_%04x_%04x_%04x", (unsigned)(which / 8),
             (unsigned)(words & 0xffff), (unsigned)(words >> 16 & 0xffff),
             (unsigned)(words >> 32 & 0xffff));
    snprintf(file, sizeof file, "/srv/app/service_%u/lib/module_%u.py", service,
             (unsigned)(which / 16));
    struct spy_function f = {.name = text(p, name),
                             .filename = text(p, file),
                             .start_line = (uint32_t)(which % 16 * 40 + 1)};
    uint32_t function = 0, frame = 0;
    must(spy_profile_function(p, &f, &function), "a function");
    must(spy_profile_frame(p, (struct spy_frame){function, f.start_line + (uint32_t)(words % 30)},
                           &frame),
         "a frame");
    return frame;
}

// Stacks of a service fork at each frame below the common ones.
static uint32_t stack_of(struct spy_profile *p, unsigned service, uint64_t n)
{
    uint32_t at = 0;
    for (uint64_t d = 0; d < DEPTH; d++) {
        uint64_t depth = d < COMMON ? 0 : d - COMMON;
        uint64_t path = depth < 9 ? n >> (9 - depth) : n;
        uint64_t which = d < COMMON ? d : spy_hash_mix(path, d) % SERVICE_FUNCTIONS;
        must(spy_profile_stack(p, at, frame_of(p, service, which), &at), "a stack");
    }
    return at;
}

static uint32_t series_of(struct spy_profile *p, unsigned process)
{
    char service[32], pod[48], pid[16], node[32];
    uint32_t series = 0;
    snprintf(service, sizeof service, "service-%u", process % SERVICES);
    snprintf(pod, sizeof pod, "service-%u-7d9c5b6f4-%05u", process % SERVICES, process);
    snprintf(pid, sizeof pid, "%u", 1000 + process);
    snprintf(node, sizeof node, "node-%u", process);
    struct spy_label labels[] = {{text(p, SPY_LABEL_SERVICE), text(p, service)},
                                 {text(p, SPY_LABEL_POD), text(p, pod)},
                                 {text(p, SPY_LABEL_NAMESPACE), text(p, "shop")},
                                 {text(p, SPY_LABEL_CONTAINER), text(p, "web")},
                                 {text(p, SPY_LABEL_NODE), text(p, node)},
                                 {text(p, SPY_LABEL_COMMAND), text(p, "gunicorn: worker")},
                                 {text(p, SPY_LABEL_RUNTIME), text(p, "cpython")},
                                 {text(p, SPY_LABEL_RUNTIME_VERSION), text(p, "3.11.2")},
                                 {text(p, SPY_LABEL_PID), text(p, pid)}};
    must(spy_profile_series(p, labels, SPY_COUNT(labels), &series), "a series");
    return series;
}

static void add_window(struct spy_profile *p, uint64_t n)
{
    unsigned process = (unsigned)(n % load.processes), service = process % SERVICES;
    uint32_t series = series_of(p, process), threads[THREADS];
    struct spy_series *s = spy_profile_series_at(p, series);
    memcpy(s->profile_id, (uint64_t[2]){spy_hash_mix(n, load.seed), load.seed}, 16);
    s->start_ns = (load.start + n / load.processes * 10) * SPY_NS_PER_SEC;
    s->duration_ns = 10 * SPY_NS_PER_SEC;
    s->period_ns = 10 * SPY_NS_PER_MS;
    s->quality.clean = WINDOW_SAMPLES;
    s->account.counted[SPY_CPU] = (struct spy_counted){3 * SPY_NS_PER_SEC, s->duration_ns};
    for (unsigned i = 0; i < THREADS; i++) {
        char name[32];
        snprintf(name, sizeof name, "ThreadPoolExecutor-0_%u", i);
        must(spy_profile_thread(p, 100000 + process * 10 + i, text(p, name), &threads[i]),
             "a thread");
    }
    uint64_t first = spy_hash_mix(n, 7) % SERVICE_STACKS, left = WINDOW_SAMPLES;
    for (uint64_t i = 0; i < WINDOW_STACKS; i++) {
        uint64_t r = spy_hash_mix(n, i), most = left - (WINDOW_STACKS - 1 - i);
        uint64_t count = i == WINDOW_STACKS - 1 ? left : 1 + r % (most < 9 ? most : 9);
        left -= count;
        // A stack belongs to a thread and is mostly in one state, as in a real process.
        uint64_t which = (first + i) % SERVICE_STACKS;
        must(spy_profile_add(p, series, stack_of(p, service, which), threads[which % THREADS],
                             which % 3 ? SPY_STATE_RUNNING : 0, count, count * s->period_ns),
             "a sample");
    }
    spy_profile_note_seen(p);
}

static void make_request(uint64_t i)
{
    struct request *q = &requests[i];
    struct spy_err err = {0};
    _cleanup_buf_ struct spy_buf raw = SPY_BUF_INIT(BODY_MAX);
    struct spy_profile *p = spy_profile_new();
    // One series holds one window: a request has windows of as many processes.
    for (uint64_t k = i * load.a_request; k < (i + 1) * load.a_request && k < load.windows; k++)
        add_window(p, k);
    must(spy_otlp_encode(p, NULL, 0, &raw, &err), "encoding");
    q->body = SPY_BUF_INIT(BODY_MAX);
    must(spy_compress(load.encoding, raw.data, raw.len, &q->body, &err), "compressing");
    q->raw = raw.len;
    spy_profile_free(p);
}

static void *make_requests(void *arg)
{
    (void)arg;
    for (uint64_t i; (i = __atomic_fetch_add(&next_request, 1, __ATOMIC_RELAXED)) < n_requests;)
        make_request(i);
    return NULL;
}

// --- connections ---

struct connection {
    pthread_t thread;
    gnutls_session_t tls;
    int fd;
};

static int connect_tls(struct connection *c, gnutls_certificate_credentials_t trust)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(load.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0)
        return -1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    gnutls_init(&c->tls, GNUTLS_CLIENT);
    gnutls_set_default_priority(c->tls);
    gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, trust);
    gnutls_session_set_verify_cert(c->tls, NULL, 0);
    gnutls_transport_set_int(c->tls, c->fd);
    int r;
    do
        r = gnutls_handshake(c->tls);
    while (r < 0 && !gnutls_error_is_fatal(r));
    return r;
}

static int send_all(struct connection *c, const uint8_t *at, size_t len)
{
    while (len) {
        ssize_t n = gnutls_record_send(c->tls, at, len);
        if (n < 0 && gnutls_error_is_fatal((int)n))
            return -1;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

// Reads one answer with a Content-Length; returns its status, -1: the connection failed.
static int read_answer(struct connection *c)
{
    char got[16384];
    size_t len = 0, whole = 0;
    while (!whole || len < whole) {
        ssize_t n = gnutls_record_recv(c->tls, got + len, sizeof got - 1 - len);
        if (n == 0 || (n < 0 && gnutls_error_is_fatal((int)n)))
            return -1;
        len += n > 0 ? (size_t)n : 0;
        got[len] = 0;
        const char *end = strstr(got, "\r\n\r\n");
        const char *length = end ? strcasestr(got, "Content-Length:") : NULL;
        if (end)
            whole = (size_t)(end - got) + 4 + (length ? strtoul(length + 15, NULL, 10) : 0);
    }
    return (int)strtol(got + 9, NULL, 10);
}

static int push_request(struct connection *c, struct request *q)
{
    static const char *const names[] = {[SPY_ENCODING_IDENTITY] = "identity",
                                        [SPY_ENCODING_GZIP] = "gzip",
                                        [SPY_ENCODING_ZSTD] = "zstd"};
    char head[1024];
    int n = snprintf(head, sizeof head,
                     "POST /v1development/profiles HTTP/1.1\r\nHost: localhost\r\n"
                     "Authorization: Bearer %s\r\nContent-Type: application/x-protobuf\r\n"
                     "Content-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
                     load.token, names[load.encoding], q->body.len);
    if (send_all(c, (uint8_t *)head, (size_t)n) < 0 || send_all(c, q->body.data, q->body.len) < 0)
        return -1;
    return read_answer(c);
}

static pthread_barrier_t connected;

static void *push_all(void *arg)
{
    struct connection *c = arg;
    pthread_barrier_wait(&connected);
    pthread_barrier_wait(&connected); // the clock has started
    for (uint64_t i; (i = __atomic_fetch_add(&next_request, 1, __ATOMIC_RELAXED)) < n_requests;) {
        uint64_t due = load.pace ? epoch_ns + i * load.a_request * SPY_NS_PER_SEC / load.pace : 0;
        if (due > spy_clock_mono_ns())
            spy_clock_sleep_until(due);
        uint64_t then = due ? due : spy_clock_mono_ns();
        requests[i].status = push_request(c, &requests[i]);
        requests[i].took_ns = spy_clock_mono_ns() - then;
        if (requests[i].status < 0)
            break;
    }
    return NULL;
}

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_result(double seconds)
{
    uint64_t *took = calloc(n_requests + 1, sizeof *took), n = 0, sent = 0, raw = 0;
    int other = 0;
    for (uint64_t i = 0; took && i < n_requests; i++) {
        sent += requests[i].body.len;
        raw += requests[i].raw;
        if (requests[i].status == 200)
            took[n++] = requests[i].took_ns;
        else
            other = requests[i].status;
    }
    if (!took || !n) {
        fprintf(stderr, "push_windows: nothing was acknowledged; an answer was %d\n", other);
        exit(1);
    }
    qsort(took, n, sizeof *took, compare_times);
    printf("{\"windows\": %lu, \"requests\": %lu, \"refused\": %lu, \"status\": %d, "
           "\"seconds\": %.3f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f, "
           "\"raw_bytes\": %.0f, \"sent_bytes\": %.0f, \"generator_cpu\": %.3f}\n",
           n * load.a_request, n, n_requests - n, other, seconds, (double)took[n / 2] / 1e6,
           (double)took[n * 99 / 100] / 1e6, (double)took[n - 1] / 1e6,
           (double)raw / (double)load.windows, (double)sent / (double)load.windows,
           (double)spy_clock_cpu_ns() / 1e9);
    free(took);
}

static void set_option(char *word)
{
    const struct {
        const char *key;
        uint64_t *to;
    } numbers[] = {{"windows", &load.windows},
                   {"processes", &load.processes},
                   {"connections", &load.connections},
                   {"a_request", &load.a_request},
                   {"pace", &load.pace},
                   {"seed", &load.seed},
                   {"start", &load.start}};
    char *value = strchr(word, '=');
    if (!value) {
        fprintf(stderr, "push_windows: '%s' is not key=value\n", word);
        exit(2);
    }
    *value++ = 0;
    if (!strcmp(word, "encoding") && spy_encoding_parse(value, &load.encoding) == 0)
        return;
    for (size_t i = 0; i < SPY_COUNT(numbers); i++)
        if (!strcmp(word, numbers[i].key)) {
            *numbers[i].to = strtoull(value, NULL, 10);
            return;
        }
    fprintf(stderr, "push_windows: no option '%s'\n", word);
    exit(2);
}

static void read_options(int argc, char **argv)
{
    static char token[512];
    if (argc < 4) {
        fprintf(stderr, "usage: push_windows PORT CA TOKEN [key=value ...]\n");
        exit(2);
    }
    load.port = (uint16_t)strtoul(argv[1], NULL, 10);
    load.ca = argv[2];
    must(spy_file_read_small(AT_FDCWD, argv[3], token, sizeof token) > 0 ? 0 : SPY_ERR_IO, argv[3]);
    token[strcspn(token, "\r\n")] = 0;
    load.token = token;
    for (int i = 4; i < argc; i++)
        set_option(argv[i]);
    if (!load.windows || !load.processes || !load.connections ||
        load.connections > CONNECTIONS_MAX || !load.a_request || load.a_request > load.processes) {
        fprintf(stderr, "push_windows: a number is out of range\n");
        exit(2);
    }
    if (!load.start)
        load.start = spy_clock_real_ns() / SPY_NS_PER_SEC -
                     (load.windows + load.processes - 1) / load.processes * 10;
}

static void prepare_requests(void)
{
    pthread_t threads[2];
    n_requests = (load.windows + load.a_request - 1) / load.a_request;
    requests = calloc(n_requests, sizeof *requests);
    must(requests ? 0 : SPY_ERR_NOMEM, "memory");
    for (size_t i = 0; i < SPY_COUNT(threads); i++)
        must(-pthread_create(&threads[i], NULL, make_requests, NULL), "a thread");
    for (size_t i = 0; i < SPY_COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    static struct connection connections[CONNECTIONS_MAX];
    gnutls_certificate_credentials_t trust;
    pthread_attr_t small;
    read_options(argc, argv);
    prepare_requests();
    gnutls_certificate_allocate_credentials(&trust);
    must(gnutls_certificate_set_x509_trust_file(trust, load.ca, GNUTLS_X509_FMT_PEM) > 0
             ? 0
             : SPY_ERR_INVALID,
         load.ca);
    pthread_barrier_init(&connected, NULL, (unsigned)load.connections + 1);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    for (uint64_t i = 0; i < load.connections; i++) {
        must(connect_tls(&connections[i], trust) < 0 ? SPY_ERR_IO : 0, "connecting");
        must(-pthread_create(&connections[i].thread, &small, push_all, &connections[i]),
             "a thread");
    }
    pthread_barrier_wait(&connected);
    next_request = 0;
    epoch_ns = spy_clock_mono_ns();
    fprintf(stderr, "pushing\n");
    pthread_barrier_wait(&connected);
    for (uint64_t i = 0; i < load.connections; i++)
        pthread_join(connections[i].thread, NULL);
    print_result((double)(spy_clock_mono_ns() - epoch_ns) / 1e9);
    return 0;
}
