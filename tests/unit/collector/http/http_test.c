// The server over its plain listener, spoken to by hand.
#include "collector/http/http.h"
#include "collector/http/linger.h"
#include "collector/http/server.h"
#include "shared/base/clock.h"
#include "shared/base/stop.h"
#include "tests/unit/test.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ORDER = 128, BODY_MAX = 65536, BODIES_MAX = 100000, ANSWERS_MAX = 4 << 20, MIB = 1 << 20 };

struct fixture {
    struct spy_http *http;
    int slow_ms;
    int handled;        // atomically
    int asked;          // atomically: how often a worker was asked whether a request may be served
    int begun, stopped; // atomically: questions that were worked on, and those that were given up
    int found_large;    // atomically: questions that are about to wait with the large ones
    int round;          // atomically: those that run end when it changes
    char who[ORDER]; // the first parameter's value of each question, in the order they were begun
    bool denies;
};

static void handle_slow(void *arg, const struct spy_http_request *req,
                        struct spy_http_response *res)
{
    struct fixture *f = arg;
    (void)req;
    usleep((useconds_t)f->slow_ms * 1000);
    __atomic_fetch_add(&f->handled, 1, __ATOMIC_RELAXED);
    spy_buf_puts(&res->body, "{\"slow\":true}");
}

// Works until nobody waits for it, or for as long as the test says.
static void handle_question(void *arg, const struct spy_http_request *req,
                            struct spy_http_response *res)
{
    struct fixture *f = arg;
    int most = __atomic_load_n(&f->slow_ms, __ATOMIC_RELAXED); // the test changes it meanwhile
    int round = __atomic_load_n(&f->round, __ATOMIC_RELAXED);
    int at = __atomic_fetch_add(&f->begun, 1, __ATOMIC_RELAXED);
    if (req->n_params && at < ORDER)
        __atomic_store_n(&f->who[at], *req->params[0].value, __ATOMIC_RELAXED);
    for (int ms = 0; ms < most && !spy_stop_is_set(req->stop) &&
                     round == __atomic_load_n(&f->round, __ATOMIC_RELAXED);
         ms += 10)
        usleep(10000);
    __atomic_fetch_add(&f->stopped, spy_stop_is_set(req->stop), __ATOMIC_RELAXED);
    spy_buf_puts(&res->body, "{\"answer\":true}");
}

static void handle_large(void *arg, const struct spy_http_request *req,
                         struct spy_http_response *res)
{
    struct fixture *f = arg;
    __atomic_fetch_add(&f->found_large, !req->large, __ATOMIC_RELAXED);
    res->is_large = !req->large;
    if (req->large)
        handle_question(arg, req, res);
}

static void handle_echo(void *arg, const struct spy_http_request *req,
                        struct spy_http_response *res)
{
    (void)arg;
    for (size_t i = 0; i < req->n_params; i++)
        spy_buf_printf(&res->body, "%s=%s;", req->params[i].name, req->params[i].value);
    spy_buf_printf(&res->body, "%zu", req->body_len);
}

// As many KiB as are asked for, of text that can be compressed.
static void handle_text(void *arg, const struct spy_http_request *req,
                        struct spy_http_response *res)
{
    (void)arg;
    for (long n = 64 * strtol(req->params[0].value, NULL, 10); n > 0; n--)
        spy_buf_puts(&res->body, "sixteen letters.");
}

static enum spy_http_verdict refuse_all(void *arg, const struct spy_http_request *req,
                                        struct spy_http_response *res)
{
    (void)arg;
    (void)req;
    spy_http_error(res, 401, "no", "no \"way\"");
    return SPY_HTTP_REFUSED;
}

// Can say nothing without waiting.
static enum spy_http_verdict ask_elsewhere(void *arg, const struct spy_http_request *req,
                                           struct spy_http_response *res)
{
    struct fixture *f = arg;
    if (!req->may_wait)
        return SPY_HTTP_LATER;
    usleep((useconds_t)f->slow_ms * 1000);
    __atomic_fetch_add(&f->asked, 1, __ATOMIC_RELAXED);
    if (!f->denies)
        return SPY_HTTP_ALLOWED;
    spy_http_error(res, 403, "not you", "be somebody else");
    return SPY_HTTP_REFUSED;
}

static const struct spy_http_route routes[] = {
    {.method = "GET", .path = "/question", .lane = SPY_HTTP_QUESTION, .handle = handle_question},
    {.method = "GET", .path = "/large", .lane = SPY_HTTP_QUESTION, .handle = handle_large},
    {.method = "POST",
     .path = "/push",
     .lane = SPY_HTTP_PUSH,
     .takes_body = true,
     .handle = handle_echo},
    {.method = "GET", .path = "/asked", .allow = ask_elsewhere, .handle = handle_echo},
    {.method = "GET",
     .path = "/asked-at-once",
     .at_once = true,
     .allow = ask_elsewhere,
     .handle = handle_echo},
    {.method = "POST",
     .path = "/asked",
     .takes_body = true,
     .allow = ask_elsewhere,
     .handle = handle_echo},
    {.method = "GET", .path = "/slow", .lane = SPY_HTTP_PUSH, .handle = handle_slow},
    {.method = "GET", .path = "/now", .at_once = true, .handle = handle_echo},
    {.method = "GET", .path = "/echo", .handle = handle_echo},
    {.method = "GET", .path = "/text", .lane = SPY_HTTP_QUESTION, .handle = handle_text},
    {.method = "POST", .path = "/echo", .takes_body = true, .handle = handle_echo},
    {.method = "POST",
     .path = "/refused",
     .takes_body = true,
     .allow = refuse_all,
     .handle = handle_echo},
    {.method = "POST",
     .path = "/remote",
     .takes_body = true,
     .remote_only = true,
     .handle = handle_echo},
    {.method = NULL},
};

static int set_up_with(void **state, size_t body_max, size_t bodies_max)
{
    static struct fixture f;
    f = (struct fixture){.slow_ms = 50};
    *state = &f;
    struct spy_http_options o = {.https = "off",
                                 .http = "127.0.0.1:0",
                                 .routes = routes,
                                 .arg = &f,
                                 .body_max = body_max,
                                 .bodies_max = bodies_max,
                                 .answers_max = ANSWERS_MAX,
                                 .connections_per_ip = 200};
    return spy_http_new(&o, &f.http, NULL);
}

static int set_up(void **state)
{
    return set_up_with(state, BODY_MAX, BODIES_MAX);
}

static int set_up_large_bodies(void **state)
{
    return set_up_with(state, 2 * MIB, 4 * MIB);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    spy_http_free(f->http);
    f->http = NULL;
    return 0;
}

// from: the last part of the client's address, 127.0.0.from. receives: bytes that the kernel takes
// of an answer that is not read; 0: as many as it likes.
static int connect_as(unsigned from, int receives, unsigned port)
{
    struct sockaddr_in client = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + from)};
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receives)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receives, sizeof receives), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&client, sizeof client), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static int connect_from(unsigned from, unsigned port)
{
    return connect_as(from, 0, port);
}

static int connect_to(unsigned port)
{
    return connect_as(1, 0, port);
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

// Reads until `end` is in what came, or the other side ends.
static const char *hear(int fd, const char *end)
{
    static char text[65536];
    size_t n = 0;
    text[0] = 0;
    while (n < sizeof text - 1 && !strstr(text, end)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 20000) != 1)
            fail_msg("no answer, only '%s'", text);
        ssize_t r = recv(fd, text + n, sizeof text - 1 - n, 0);
        if (r <= 0)
            break;
        n += (size_t)r;
        text[n] = 0;
    }
    return text;
}

static const char *ask(struct fixture *f, const char *request, const char *end)
{
    int fd = connect_to(spy_http_plain_port(f->http));
    say(fd, request);
    const char *answer = hear(fd, end);
    close(fd);
    return answer;
}

#define HOST "Host: localhost\r\n\r\n"

static void test_parameters_are_decoded(void **state)
{
    const char *a = ask(*state, "GET /echo?a=1%26&b=x+y%2B&c&a=2 HTTP/1.1\r\n" HOST, "a=2;0");
    assert_non_null(strstr(a, "\r\n\r\na=1&;b=x y+;c=;a=2;0"));
    assert_non_null(strstr(a, "X-Content-Type-Options: nosniff"));
}

static void test_requests_outnumber_workers_and_are_all_answered(void **state)
{
    struct fixture *f = *state;
    int fds[3 * SPY_LANE_WORKERS];
    for (size_t i = 0; i < 3 * SPY_LANE_WORKERS; i++) {
        fds[i] = connect_to(spy_http_plain_port(f->http));
        say(fds[i], "GET /slow HTTP/1.1\r\n" HOST);
    }
    for (size_t i = 0; i < 3 * SPY_LANE_WORKERS; i++) {
        assert_non_null(strstr(hear(fds[i], "true}"), "HTTP/1.1 200 OK"));
        close(fds[i]);
    }
    assert_int_equal(f->handled, 3 * SPY_LANE_WORKERS);
}

static void test_routes_that_never_block_are_answered_while_all_workers_are_busy(void **state)
{
    struct fixture *f = *state;
    int fds[SPY_LANE_WORKERS + 4];
    f->slow_ms = 500;
    for (size_t i = 0; i < SPY_LANE_WORKERS + 4; i++) {
        fds[i] = connect_to(spy_http_plain_port(f->http));
        say(fds[i], "GET /slow HTTP/1.1\r\n" HOST);
    }
    usleep(100000);
    uint64_t began = spy_clock_mono_ns();
    assert_non_null(strstr(ask(f, "GET /now HTTP/1.1\r\n" HOST, "\r\n\r\n0"), "200 OK"));
    assert_true(spy_clock_mono_ns() - began < 300 * SPY_NS_PER_MS);
    assert_int_equal(__atomic_load_n(&f->handled, __ATOMIC_RELAXED), 0);
    for (size_t i = 0; i < SPY_LANE_WORKERS + 4; i++) {
        hear(fds[i], "true}");
        close(fds[i]);
    }
}

static void test_one_connection_serves_many_requests(void **state)
{
    struct fixture *f = *state;
    int fd = connect_to(spy_http_plain_port(f->http));
    for (int i = 0; i < 20; i++) {
        say(fd, "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n" HOST "abc");
        assert_non_null(strstr(hear(fd, "\r\n\r\n3"), "200 OK"));
    }
    close(fd);
}

static void test_bodies_in_memory_are_bounded_together(void **state)
{
    struct fixture *f = *state;
    static char part[60000];
    memset(part, 'x', sizeof part);
    int first = connect_to(spy_http_plain_port(f->http));
    int second = connect_to(spy_http_plain_port(f->http));
    say(first, "POST /echo HTTP/1.1\r\nContent-Length: 60001\r\n" HOST);
    assert_int_equal(send(first, part, sizeof part, MSG_NOSIGNAL), sizeof part);
    usleep(200000);
    say(second, "POST /echo HTTP/1.1\r\nContent-Length: 60001\r\n" HOST);
    assert_int_equal(send(second, part, sizeof part, MSG_NOSIGNAL), sizeof part);
    const char *answer = hear(second, "seconds\"}}");
    assert_non_null(strstr(answer, "HTTP/1.1 503 "));
    assert_non_null(strstr(answer, "Retry-After: "));
    assert_non_null(strstr(answer, "\"unavailable\""));
    close(second);
    say(first, "y"); // what was taken is not harmed, and its memory is given back
    const char *whole = hear(first, "\r\n\r\n60001");
    if (!strstr(whole, "200 OK"))
        fail_msg("the first was answered with %s", whole);
    close(first);
    usleep(200000);
    int third = connect_to(spy_http_plain_port(f->http));
    say(third, "POST /echo HTTP/1.1\r\nContent-Length: 60000\r\n" HOST);
    assert_int_equal(send(third, part, sizeof part, MSG_NOSIGNAL), sizeof part);
    assert_non_null(strstr(hear(third, "\r\n\r\n60000"), "200 OK"));
    close(third);
}

static int begin_upload(struct fixture *f, size_t len, size_t sent)
{
    static char bytes[2 * MIB];
    char headers[100];
    int fd = connect_to(spy_http_plain_port(f->http));
    snprintf(headers, sizeof headers, "POST /push HTTP/1.1\r\nContent-Length: %zu\r\n" HOST, len);
    say(fd, headers);
    for (size_t at = 0; at < sent;) {
        ssize_t n = send(fd, bytes + at, sent - at, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += (size_t)n;
    }
    return fd;
}

static void test_large_bodies_leave_room_for_small_ones(void **state)
{
    struct fixture *f = *state;
    int held[2] = {begin_upload(f, 1600000, 1599999), begin_upload(f, 1600000, 1599999)};
    // Together they are past three quarters; which of them is refused depends on how they are read.
    struct pollfd p[2] = {{.fd = held[0], .events = POLLIN}, {.fd = held[1], .events = POLLIN}};
    assert_true(poll(p, 2, 20000) >= 1);
    int refused = p[0].revents ? 0 : 1;
    assert_non_null(strstr(hear(held[refused], "seconds\"}}"), "HTTP/1.1 503 "));
    for (int i = 0; i < 3; i++) {
        int fd = begin_upload(f, 300000, 300000);
        assert_non_null(strstr(hear(fd, "\r\n\r\n300000"), "200 OK"));
        close(fd);
    }
    say(held[!refused], "x");
    assert_non_null(strstr(hear(held[!refused], "\r\n\r\n1600000"), "200 OK"));
    close(held[0]);
    close(held[1]);
}

static void test_an_answer_is_compressed_where_memory_holds_both_copies(void **state)
{
    static const struct {
        const char *kib, *status;
        bool packed;
    } rows[] = {{"1500", "200 OK", true}, // 1.5 MiB, in at most 2, and a copy, of 4
                {"3000", "200 OK", false},
                {"5000", "503 ", false},
                {"1500", "200 OK", true}}; // all was given back
    uint64_t until = spy_clock_mono_ns() + 20 * SPY_NS_PER_SEC;
    for (size_t i = 0; i < sizeof rows / sizeof *rows;) {
        char text[200];
        snprintf(text, sizeof text,
                 "GET /text?n=%s HTTP/1.1\r\nConnection: close\r\nAccept-Encoding: gzip\r\n" HOST,
                 rows[i].kib);
        const char *answer = ask(*state, text, "\r\n\r\n");
        bool packed = strstr(answer, "Content-Encoding: gzip") != NULL;
        if (strstr(answer, rows[i].status) && packed == rows[i].packed)
            i++;
        else if (spy_clock_mono_ns() > until) // the answer before may still be held for a while
            fail_msg("row %zu was answered with %s", i, answer);
        else
            usleep(20000);
    }
}

// Asks for so many KiB and does not read them.
static int leave_unread(struct fixture *f, const char *kib)
{
    char text[100];
    int fd = connect_as(1, 4096, spy_http_plain_port(f->http));
    snprintf(text, sizeof text, "GET /text?n=%s HTTP/1.1\r\n" HOST, kib);
    say(fd, text);
    return fd;
}

static void test_unread_answers_delay_no_small_answer(void **state)
{
    struct fixture *f = *state;
    int unread = leave_unread(f, "4095"); // the kernel takes a part, and 1 KiB is left
    char begin[] = "HTTP/1.1 200 OK";
    assert_int_equal(recv(unread, begin, sizeof begin - 1, MSG_WAITALL), sizeof begin - 1);
    assert_string_equal(begin, "HTTP/1.1 200 OK");
    assert_non_null(strstr(ask(f, "GET /text?n=1000 HTTP/1.1\r\n" HOST, "\r\n\r\n"), "503 "));
    const char *push = "POST /push HTTP/1.1\r\nContent-Length: 1\r\n" HOST "x";
    for (int i = 0; i < 5; i++) {
        assert_non_null(strstr(ask(f, push, "\r\n\r\n1"), "200 OK"));
        assert_non_null(strstr(ask(f, "GET /text?n=4 HTTP/1.1\r\n" HOST, "letters."), "200 OK"));
    }
    assert_non_null(strstr(ask(f, "GET /text?n=1000 HTTP/1.1\r\n" HOST, "\r\n\r\n"), "503 "));
    close(unread);
}

// --- questions ---

static void *free_it(void *arg)
{
    struct fixture *f = arg;
    spy_http_free(f->http);
    f->http = NULL;
    return NULL;
}

static void wait_for(const int *count, int n)
{
    uint64_t until = spy_clock_mono_ns() + 20 * SPY_NS_PER_SEC;
    while (__atomic_load_n(count, __ATOMIC_RELAXED) < n) {
        if (spy_clock_mono_ns() > until)
            fail_msg("%d came, not %d", __atomic_load_n(count, __ATOMIC_RELAXED), n);
        usleep(1000);
    }
}

static int put_question_from(unsigned from, struct fixture *f, const char *path)
{
    char text[100];
    int fd = connect_from(from, spy_http_plain_port(f->http));
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST, path);
    say(fd, text);
    return fd;
}

static int put_question(struct fixture *f, const char *path)
{
    return put_question_from(1, f, path);
}

static void test_queries_delay_no_push_and_large_queries_no_small_one(void **state)
{
    struct fixture *f = *state;
    int fds[20];
    f->slow_ms = 60000;
    for (int i = 0; i < 20; i++)
        fds[i] = put_question(f, "/large");
    wait_for(&f->begun, 2); // as many as are worked on at a time
    __atomic_store_n(&f->slow_ms, 0, __ATOMIC_RELAXED);
    assert_non_null(strstr(ask(f, "GET /question HTTP/1.1\r\n" HOST, "true}"), "200 OK"));
    __atomic_store_n(&f->slow_ms, 60000, __ATOMIC_RELAXED);
    int small[20];
    for (int i = 0; i < 20; i++)
        small[i] = put_question(f, "/question");
    wait_for(&f->begun, 2 + 1 + 4);
    assert_non_null(strstr(
        ask(f, "POST /push HTTP/1.1\r\nContent-Length: 1\r\n" HOST "x", "\r\n\r\n1"), "200 OK"));
    assert_int_equal(__atomic_load_n(&f->stopped, __ATOMIC_RELAXED), 0);
    // All leave, the last ones first: those that wait are never begun, and those that run are given
    // up.
    for (int i = 19; i >= 0; i--) {
        close(fds[i]);
        close(small[i]);
    }
    wait_for(&f->stopped, 2 + 4);
    __atomic_store_n(&f->slow_ms, 0, __ATOMIC_RELAXED);
    assert_non_null(strstr(ask(f, "GET /question HTTP/1.1\r\n" HOST, "true}"), "200 OK"));
    assert_non_null(strstr(ask(f, "GET /large HTTP/1.1\r\n" HOST, "true}"), "200 OK"));
    assert_int_equal(__atomic_load_n(&f->begun, __ATOMIC_RELAXED), 2 + 1 + 4 + 2);
}

static void test_too_many_queries_are_refused(void **state)
{
    struct fixture *f = *state;
    int fds[100];
    f->slow_ms = 60000;
    for (int i = 0; i < 100; i++)
        fds[i] = put_question_from(1 + (unsigned)i % 3, f, "/large");
    int refused = 0;
    for (int i = 0; i < 100; i++) { // 2 are worked on, and 64 wait
        struct pollfd p = {.fd = fds[i], .events = POLLIN};
        while (refused < 34 && poll(&p, 1, i < 99 ? 0 : 10000) == 1) {
            assert_non_null(strstr(hear(fds[i], "seconds\"}}"), "503 Service Unavailable"));
            refused++;
            break;
        }
        if (i == 99 && refused < 34)
            i = -1; // some are still on their way
    }
    for (int i = 0; i < 100; i++)
        close(fds[i]);
}

// Reads answers until n of these questions were refused with 429; each is read once.
static void wait_for_crowded(int *fds, int n_fds, int n)
{
    uint64_t until = spy_clock_mono_ns() + 20 * SPY_NS_PER_SEC;
    for (int i = 0; n > 0; i = (i + 1) % n_fds) {
        struct pollfd p = {.fd = fds[i], .events = POLLIN};
        if (spy_clock_mono_ns() > until)
            fail_msg("%d more are to be refused", n);
        if (fds[i] < 0 || poll(&p, 1, 1) != 1)
            continue;
        const char *answer = hear(fds[i], "answered\"}}");
        assert_non_null(strstr(answer, "HTTP/1.1 429 "));
        assert_non_null(strstr(answer, "Retry-After: "));
        assert_non_null(strstr(answer, "\"too_many\""));
        assert_non_null(strstr(answer, "from this address"));
        close(fds[i]);
        fds[i] = -1;
        n--;
    }
}

static void test_one_address_has_half_of_a_queue_and_waits_behind_others(void **state)
{
    struct fixture *f = *state;
    int many[60], few[3];
    f->slow_ms = 60000;
    for (int i = 0; i < 60; i++)
        many[i] = put_question(f, "/large?of=many");
    wait_for(&f->begun, 2);
    wait_for_crowded(many, 60, 60 - 2 - 32);
    for (int i = 0; i < 3; i++)
        few[i] = put_question_from(2, f, "/large?of=few");
    wait_for(&f->found_large, 60 + 3);
    usleep(200000); // they wait, behind 32
    __atomic_store_n(&f->slow_ms, 50, __ATOMIC_RELAXED);
    __atomic_fetch_add(&f->round, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++)
        assert_non_null(strstr(hear(few[i], "true}"), "200 OK"));
    int n = 0;
    for (int i = 2; i < 2 + 10; i++)
        n += __atomic_load_n(&f->who[i], __ATOMIC_RELAXED) == 'f';
    assert_int_equal(n, 3);
    for (int i = 0; i < 60; i++)
        if (many[i] >= 0)
            close(many[i]);
    for (int i = 0; i < 3; i++)
        close(few[i]);
}

static void test_queries_of_clients_that_left_are_dropped(void **state)
{
    struct fixture *f = *state;
    int running[2], left[62];
    f->slow_ms = 60000;
    for (int i = 0; i < 2; i++)
        running[i] = put_question_from(3, f, "/large");
    wait_for(&f->begun, 2);
    for (int i = 0; i < 62; i++) // 32 of each address may wait
        left[i] = put_question_from(1 + (unsigned)i % 2, f, "/large");
    wait_for(&f->found_large, 2 + 62);
    for (int i = 0; i < 62; i++)
        close(left[i]);
    usleep(2500000); // a look a second finds that they have left
    int later[32];
    for (int i = 0; i < 32; i++)
        later[i] = put_question(f, "/large");
    wait_for(&f->found_large, 2 + 62 + 32);
    usleep(200000);
    __atomic_store_n(&f->slow_ms, 0, __ATOMIC_RELAXED);
    __atomic_fetch_add(&f->round, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        assert_non_null(strstr(hear(running[i], "true}"), "200 OK"));
        close(running[i]);
    }
    for (int i = 0; i < 32; i++) {
        assert_non_null(strstr(hear(later[i], "}"), "200 OK"));
        close(later[i]);
    }
    assert_int_equal(__atomic_load_n(&f->begun, __ATOMIC_RELAXED), 2 + 32);
}

static void test_the_server_stops_in_time_whatever_it_answers(void **state)
{
    struct fixture *f = *state;
    f->slow_ms = 60000;
    int running = put_question(f, "/question");
    wait_for(&f->begun, 1);
    for (int i = 0; i < 3; i++)
        put_question(f, "/question");
    wait_for(&f->begun, 4);
    int waiting = put_question(f, "/question");
    assert_non_null(strstr(ask(f, "GET /now HTTP/1.1\r\n" HOST, "\r\n\r\n0"), "200 OK"));
    uint64_t began = spy_clock_mono_ns();
    free_it(f);
    assert_true(spy_clock_mono_ns() - began < (SPY_HTTP_GRACE_SECS + 1) * SPY_NS_PER_SEC);
    assert_int_equal(f->stopped, 4);
    assert_non_null(strstr(hear(waiting, "}}"), "the collector is ending"));
    assert_non_null(strstr(hear(running, "true}"), "200 OK"));
}

static void test_an_early_refusal_says_why(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *request, *status, *code;
    } rows[] = {
        {"GET /none HTTP/1.1\r\n" HOST, "404", "not_found"},
        {"DELETE /echo HTTP/1.1\r\n" HOST, "405", "method_not_allowed"},
        {"POST /refused HTTP/1.1\r\nContent-Length: 5\r\n" HOST, "401", "no \\\"way\\\""},
        {"POST /remote HTTP/1.1\r\nContent-Length: 5\r\n" HOST, "403", "forbidden"},
        {"POST /echo HTTP/1.1\r\nContent-Length: 65537\r\n" HOST, "413", "too_large"},
        {"POST /echo HTTP/1.1\r\nContent-Length: 99999999999999\r\n" HOST, "413", "too_large"},
        {"GET /echo HTTP/1.1\r\nContent-Length: 5\r\n" HOST, "400", "takes no body"},
        {"GET /echo HTTP/1.1\r\nHost: example.org\r\n\r\n", "403", "forbidden"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *answer = ask(f, rows[i].request, "}}");
        if (!strstr(answer, rows[i].status) || !strstr(answer, rows[i].code))
            fail_msg("%s was answered with %s", rows[i].request, answer);
    }
}

static void test_the_stop_waits_for_requests_under_way(void **state)
{
    struct fixture *f = *state;
    pthread_t t;
    f->slow_ms = 700;
    int fd = connect_to(spy_http_plain_port(f->http));
    say(fd, "GET /slow HTTP/1.1\r\n" HOST);
    usleep(200000);
    assert_int_equal(pthread_create(&t, NULL, free_it, f), 0);
    const char *answer = hear(fd, "true}");
    assert_non_null(strstr(answer, "200 OK"));
    assert_non_null(strstr(answer, "Connection: close"));
    pthread_join(t, NULL);
    close(fd);
}

// --- parts ---

static void test_addresses_are_parsed(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        unsigned port;
    } rows[] = {{"127.0.0.1:8443", "127.0.0.1", 8443},
                {"[::1]:0", "::1", 0},
                {":65535", "", 65535},
                {"name:1", "name", 1},
                {"8443", NULL, 0},
                {"a:", NULL, 0},
                {"a:b", NULL, 0},
                {"a:-1", NULL, 0},
                {"a:+1", NULL, 0},
                {"a: 1", NULL, 0},
                {"a:65536", NULL, 0},
                {"a:1x", NULL, 0},
                {"", NULL, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char host[64];
        unsigned port = 0;
        int r = spy_http_split_address(rows[i].text, host, sizeof host, &port, NULL);
        assert_int_equal(r, rows[i].host ? 0 : SPY_ERR_INVALID);
        if (r == 0) {
            assert_string_equal(host, rows[i].host);
            assert_int_equal(port, rows[i].port);
        }
    }
}

static void test_names_of_loopback_are_recognized(void **state)
{
    (void)state;
    static const char *const good[] = {"",          "localhost", "LocalHost:80", "127.0.0.1:8080",
                                       "127.9.9.9", "[::1]",     "[::1]:80"};
    static const char *const bad[] = {"example.org", "localhost.example.org", "10.0.0.1",
                                      "[::2]:80",    "127.0.0.1.nip.io",      "[",
                                      "1270.0.0.1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(spy_http_host_is_loopback(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(spy_http_host_is_loopback(bad[i]));
}

static void test_a_lingering_socket_reads_late_bytes(void **state)
{
    (void)state;
    struct spy_linger *l = NULL;
    static char block[1 << 16];
    unsigned port = 0;
    int listener = spy_http_listen("127.0.0.1:0", true, &port, NULL);
    int client = connect_to(port), server;
    while ((server = accept(listener, NULL, NULL)) < 0)
        usleep(1000);
    assert_int_equal(spy_linger_new(&l, NULL), 0);
    assert_int_equal(send(server, "answer", 6, 0), 6);
    spy_linger_add(l, server);
    close(server); // alone, with bytes unread, this would reset the client
    for (int i = 0; i < 256; i++)
        assert_int_equal(send(client, block, sizeof block, MSG_NOSIGNAL), sizeof block);
    assert_string_equal(hear(client, "answer"), "answer");
    char c;
    assert_int_equal(recv(client, &c, 1, 0), 0); // then the end, not an error
    close(client);
    close(listener);
    spy_linger_free(l);
}

static void test_a_slow_verdict_comes_before_body_and_handler(void **state)
{
    struct fixture *f = *state;
    static const char *const requests[] = {"GET /asked HTTP/1.1\r\n" HOST,
                                           "GET /asked-at-once HTTP/1.1\r\n" HOST};
    for (int i = 0; i < 2; i++)
        assert_non_null(strstr(ask(f, requests[i], "\r\n\r\n0"), "200 OK"));
    int fd = connect_to(spy_http_plain_port(f->http));
    for (int i = 0; i < 3; i++) { // body with the headers, after them, and in two parts
        say(fd, "POST /asked HTTP/1.1\r\nContent-Length: 6\r\n" HOST);
        if (i)
            usleep(100000);
        say(fd, "abc");
        if (i > 1)
            usleep(100000);
        say(fd, "def");
        assert_non_null(strstr(hear(fd, "\r\n\r\n6"), "200 OK"));
    }
    close(fd);
    assert_int_equal(f->asked, 5);
    f->denies = true;
    for (int i = 0; i < 2; i++)
        assert_non_null(strstr(ask(f, requests[i], "}}"), "403 Forbidden"));
    // Refused before its body has come, and after.
    assert_non_null(strstr(ask(f, "POST /asked HTTP/1.1\r\nContent-Length: 60000\r\n" HOST, "}}"),
                           "403 Forbidden"));
    assert_non_null(strstr(ask(f, "POST /asked HTTP/1.1\r\nContent-Length: 3\r\n" HOST "abc", "}}"),
                           "403 Forbidden"));
    assert_non_null(
        strstr(ask(f, "POST /asked HTTP/1.1\r\nContent-Length: 70000\r\n" HOST, "}}"), "413 "));
}

static void test_slow_verdicts_delay_no_bytes_and_outnumber_workers(void **state)
{
    struct fixture *f = *state;
    int fds[2 * SPY_LANE_WORKERS];
    f->slow_ms = 800;
    for (size_t i = 0; i < 2 * SPY_LANE_WORKERS; i++) {
        fds[i] = connect_to(spy_http_plain_port(f->http));
        say(fds[i], "POST /asked HTTP/1.1\r\nContent-Length: 3\r\n" HOST "abc");
    }
    uint64_t began = spy_clock_mono_ns();
    assert_non_null(strstr(ask(f, "GET /now HTTP/1.1\r\n" HOST, "\r\n\r\n0"), "200 OK"));
    assert_true(spy_clock_mono_ns() - began < 750 * SPY_NS_PER_MS);
    for (size_t i = 0; i < 2 * SPY_LANE_WORKERS; i++) {
        assert_non_null(strstr(hear(fds[i], "\r\n\r\n3"), "200 OK"));
        close(fds[i]);
    }
    // Clients that leave meanwhile, and an end while verdicts are under way.
    for (size_t i = 0; i < SPY_LANE_WORKERS; i++) {
        int fd = connect_to(spy_http_plain_port(f->http));
        say(fd, "POST /asked HTTP/1.1\r\nContent-Length: 3\r\n" HOST);
        close(fd);
    }
}

static void *keep_connecting(void *arg)
{
    static const char ask_now[] = "GET /now HTTP/1.1\r\n" HOST;
    const struct fixture *f = arg;
    unsigned port = spy_http_plain_port(f->http);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (!__atomic_load_n(&f->stopped, __ATOMIC_RELAXED)) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) // it may be closed at once
            (void)!send(fd, ask_now, sizeof ask_now - 1, MSG_NOSIGNAL);
        close(fd);
    }
    return NULL;
}

// libmicrohttpd aborts the program if two of its threads take the listening socket out of a set.
static void test_the_server_ends_while_clients_come(void **state)
{
    enum { ENDS = 40, CLIENTS = 4 };
    for (int i = 0; i < ENDS; i++) {
        pthread_t clients[CLIENTS];
        set_up(state);
        struct fixture *f = *state;
        for (int k = 0; k < CLIENTS; k++)
            assert_int_equal(pthread_create(&clients[k], NULL, keep_connecting, f), 0);
        usleep(2000);
        spy_http_free(f->http);
        f->http = NULL;
        __atomic_store_n(&f->stopped, 1, __ATOMIC_RELAXED);
        for (int k = 0; k < CLIENTS; k++)
            pthread_join(clients[k], NULL);
        tear_down(state);
    }
}

RUN(T(test_the_server_ends_while_clients_come),
    cmocka_unit_test_setup_teardown(test_parameters_are_decoded, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_requests_outnumber_workers_and_are_all_answered, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(
        test_routes_that_never_block_are_answered_while_all_workers_are_busy, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_one_connection_serves_many_requests, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_bodies_in_memory_are_bounded_together, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_an_early_refusal_says_why, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_the_stop_waits_for_requests_under_way, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_a_slow_verdict_comes_before_body_and_handler, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_slow_verdicts_delay_no_bytes_and_outnumber_workers, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_large_bodies_leave_room_for_small_ones,
                                    set_up_large_bodies, tear_down),
    cmocka_unit_test_setup_teardown(test_an_answer_is_compressed_where_memory_holds_both_copies,
                                    set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_unread_answers_delay_no_small_answer, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_queries_delay_no_push_and_large_queries_no_small_one,
                                    set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_too_many_queries_are_refused, set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_one_address_has_half_of_a_queue_and_waits_behind_others,
                                    set_up, tear_down),
    cmocka_unit_test_setup_teardown(test_queries_of_clients_that_left_are_dropped, set_up,
                                    tear_down),
    cmocka_unit_test_setup_teardown(test_the_server_stops_in_time_whatever_it_answers, set_up,
                                    tear_down),
    T(test_addresses_are_parsed), T(test_names_of_loopback_are_recognized),
    T(test_a_lingering_socket_reads_late_bytes))
