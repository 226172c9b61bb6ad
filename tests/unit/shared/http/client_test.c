// What a request sends, how it ends, and which connection it uses. TLS (its floor, the authority,
// the name and purpose of the server's certificate) is held by tests/contract/upload and
// tests/contract/kubernetes.
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/http/client.h"
#include "shared/http/url.h"
#include "tests/unit/shared/http/server.h"
#include "tests/unit/test.h"

static struct server server;
static struct spy_client *client;
static struct spy_client_answer answer;
static struct spy_err err;
static char url[64], file[] = "/tmp/podspy-client.XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(file, sizeof file, "/tmp/podspy-client.XXXXXX");
    int fd = mkstemp(file);
    close(fd);
    if (fd < 0 || !server_new(&server))
        return -1;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/a/b", server.port);
    server_answer(&server, 200, "", "hello");
    client = NULL;
    answer = (struct spy_client_answer){0};
    err = (struct spy_err){0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    spy_client_answer_free(&answer);
    spy_client_free(client);
    server_free(&server);
    unlink(file);
    return 0;
}

static void make_client(struct spy_client_options o)
{
    o.plain = true;
    assert_int_equal(spy_client_new(&o, &client, &err), 0);
}

static int send_request(struct spy_client_request q)
{
    q.url = q.url ? q.url : url;
    q.timeout_ms = q.timeout_ms ? q.timeout_ms : 10000;
    q.answer_max = q.answer_max ? q.answer_max : 1000;
    spy_client_answer_free(&answer);
    answer = (struct spy_client_answer){0};
    return spy_client_send(client, &q, &answer, &err);
}

static bool was_sent(const char *text)
{
    pthread_mutex_lock(&server.lock);
    bool found = strstr(server.last, text);
    pthread_mutex_unlock(&server.lock);
    return found;
}

static void assert_sent(const char *text)
{
    if (!was_sent(text))
        fail_msg("'%s' was not sent", text);
}

// --- what is sent ---

static void a_request_carries_its_headers_body_and_token(void **state)
{
    (void)state;
    static const char *const headers[] = {"Accept: x/y", "Content-Type: a/b"};
    write_file("secret\n");
    make_client((struct spy_client_options){.token_file = file, .user_agent = "test/1"});
    assert_int_equal(send_request((struct spy_client_request){.headers = headers, .n_headers = 1}),
                     0);
    assert_sent("GET /a/b HTTP/1.1\r\n");
    assert_sent("\r\nAccept: x/y\r\n");
    assert_sent("\r\nAuthorization: Bearer secret\r\n");
    assert_sent("\r\nUser-Agent: test/1\r\n");
    assert_string_equal(spy_buf_str(&answer.body), "hello");
    struct spy_client_request post = {
        .headers = headers, .n_headers = 2, .body = "a\0b", .body_len = 3};
    assert_int_equal(send_request(post), 0);
    assert_sent("POST /a/b HTTP/1.1\r\n");
    assert_sent("\r\nContent-Length: 3\r\n");
    post.method = "PUT";
    assert_int_equal(send_request(post), 0);
    assert_sent("PUT /a/b HTTP/1.1\r\n");
    assert_false(was_sent("Expect"));
}

static void the_token_is_read_for_each_request(void **state)
{
    (void)state;
    make_client((struct spy_client_options){.token_file = file, .idle_max = 1});
    write_file("first");
    assert_int_equal(send_request((struct spy_client_request){0}), 0);
    assert_sent("Bearer first\r\n");
    write_file("second");
    assert_int_equal(send_request((struct spy_client_request){0}), 0);
    assert_sent("Bearer second\r\n");
    assert_int_equal(server_count(&server, &server.connections), 1);
}

static void without_a_usable_token_nothing_is_sent(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "\n", "a b", "a\r\nX-Evil: 1", "\xff"};
    make_client((struct spy_client_options){.token_file = file});
    for (size_t i = 0; i < SPY_COUNT(wrong); i++) {
        write_file(wrong[i]);
        assert_int_equal(send_request((struct spy_client_request){0}), SPY_ERR_DENIED);
        assert_non_null(strstr(err.msg, file));
    }
    unlink(file);
    assert_int_equal(send_request((struct spy_client_request){0}), SPY_ERR_DENIED);
    assert_non_null(strstr(err.msg, file));
    assert_int_equal(server_count(&server, &server.connections), 0);
}

static void other_schemes_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"ftp://127.0.0.1", "file:///etc/passwd", "127.0.0.1", ""};
    make_client((struct spy_client_options){0});
    for (size_t i = 0; i < SPY_COUNT(wrong); i++)
        assert_int_equal(send_request((struct spy_client_request){.url = wrong[i]}),
                         SPY_ERR_INVALID);
    spy_client_free(client);
    struct spy_client_options tls_only = {0};
    assert_int_equal(spy_client_new(&tls_only, &client, &err), 0);
    assert_int_equal(send_request((struct spy_client_request){0}), SPY_ERR_INVALID);
    assert_int_equal(server_count(&server, &server.connections), 0);
}

// --- how it ends ---

static void the_outcome_follows_from_the_status(void **state)
{
    (void)state;
    static const struct {
        int status;
        enum spy_client_outcome outcome;
    } rows[] = {
        {200, SPY_CLIENT_DONE},    {201, SPY_CLIENT_DONE},    {302, SPY_CLIENT_REFUSED},
        {400, SPY_CLIENT_REFUSED}, {401, SPY_CLIENT_REFUSED}, {404, SPY_CLIENT_REFUSED},
        {408, SPY_CLIENT_AGAIN},   {429, SPY_CLIENT_AGAIN},   {500, SPY_CLIENT_AGAIN},
        {503, SPY_CLIENT_AGAIN},   {599, SPY_CLIENT_AGAIN},
    };
    make_client((struct spy_client_options){0});
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        server_answer(&server, rows[i].status, "Location: /else\r\nRetry-After: 7\r\n", "why");
        assert_int_equal(send_request((struct spy_client_request){0}), 0);
        assert_int_equal(answer.status, rows[i].status);
        assert_int_equal(answer.outcome, rows[i].outcome);
        assert_string_equal(spy_buf_str(&answer.body), "why");
        assert_int_equal(answer.retry_after_ns,
                         rows[i].outcome == SPY_CLIENT_AGAIN ? 7 * SPY_NS_PER_SEC : 0);
        assert_int_equal(server_count(&server, &server.requests), i + 1); // no redirect is followed
    }
}

static void a_server_that_is_not_there_is_unreachable(void **state)
{
    (void)state;
    make_client((struct spy_client_options){0});
    assert_int_equal(send_request((struct spy_client_request){.url = "http://127.0.0.1:1"}), 0);
    assert_int_equal(answer.outcome, SPY_CLIENT_UNREACHABLE);
    assert_int_equal(answer.status, 0);
    assert_non_null(strstr(answer.reason, "connect"));
}

static void an_answer_over_its_limit_is_given_up(void **state)
{
    (void)state;
    char body[3000];
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = 0;
    server_answer(&server, 200, "", body);
    make_client((struct spy_client_options){0});
    assert_int_equal(send_request((struct spy_client_request){.answer_max = 2999}), 0);
    assert_int_equal(answer.outcome, SPY_CLIENT_DONE);
    assert_int_equal(send_request((struct spy_client_request){.answer_max = 2998}), 0);
    assert_int_equal(answer.outcome, SPY_CLIENT_UNREACHABLE);
    assert_true(answer.body.failed);
    assert_non_null(strstr(answer.reason, "2998"));
}

static void a_truncated_answer_is_a_failure(void **state)
{
    (void)state;
    server_say(&server, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    make_client((struct spy_client_options){0});
    assert_int_equal(send_request((struct spy_client_request){.timeout_ms = 300}), 0);
    assert_int_equal(answer.outcome, SPY_CLIENT_UNREACHABLE);
    assert_int_equal(answer.status, 200);
}

static void a_silent_server_costs_the_time_limit(void **state)
{
    (void)state;
    server.silent = true;
    make_client((struct spy_client_options){.connect_ms = 10000});
    uint64_t began = spy_clock_mono_ns();
    assert_int_equal(send_request((struct spy_client_request){.timeout_ms = 200}), 0);
    assert_int_equal(answer.outcome, SPY_CLIENT_UNREACHABLE);
    assert_true(answer.timed_out);
    assert_in_range(spy_clock_mono_ns() - began, 150 * SPY_NS_PER_MS, 5 * SPY_NS_PER_SEC);
}

static void *abort_soon(void *arg)
{
    usleep(100000);
    spy_client_abort(client);
    return arg;
}

static void an_abort_ends_a_waiting_request_and_all_later_ones(void **state)
{
    (void)state;
    pthread_t thread;
    server.silent = true;
    make_client((struct spy_client_options){0});
    uint64_t began = spy_clock_mono_ns();
    assert_int_equal(pthread_create(&thread, NULL, abort_soon, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(send_request((struct spy_client_request){0}), 0);
        assert_int_equal(answer.outcome, SPY_CLIENT_UNREACHABLE);
        assert_string_equal(answer.reason, "stopped");
    }
    pthread_join(thread, NULL);
    assert_true(spy_clock_mono_ns() - began < 5 * SPY_NS_PER_SEC);
}

// --- connections ---

static void a_connection_is_used_again_until_a_file_changes(void **state)
{
    (void)state;
    make_client((struct spy_client_options){.ca_file = file, .idle_max = 1});
    for (int i = 0; i < 3; i++)
        assert_int_equal(send_request((struct spy_client_request){0}), 0);
    assert_int_equal(server_count(&server, &server.connections), 1);
    assert_false(spy_client_files_changed(client));
    write_file("another authority");
    assert_true(spy_client_files_changed(client));
    for (int i = 0; i < 3; i++)
        assert_int_equal(send_request((struct spy_client_request){0}), 0);
    assert_false(spy_client_files_changed(client));
    assert_int_equal(server_count(&server, &server.connections), 2);
    spy_client_forget(client);
    assert_int_equal(send_request((struct spy_client_request){0}), 0);
    assert_int_equal(server_count(&server, &server.connections), 3);
}

static void without_idle_max_no_connection_is_kept(void **state)
{
    (void)state;
    make_client((struct spy_client_options){0});
    for (int i = 0; i < 3; i++)
        assert_int_equal(send_request((struct spy_client_request){0}), 0);
    assert_int_equal(server_count(&server, &server.connections), 3);
}

// --- several at once ---

struct seen {
    int begun;
    char text[64];
};

static bool keep_data(void *arg, const char *data, size_t len)
{
    struct seen *s = arg;
    size_t at = strlen(s->text);
    snprintf(s->text + at, sizeof s->text - at, "%.*s", (int)len, data);
    return true;
}

static void count_begun(void *arg)
{
    ((struct seen *)arg)->begun++;
}

static const struct spy_client_answer *run_to_end(struct spy_client_loop *l, struct spy_transfer *t)
{
    for (int i = 0; i < 1000 && !spy_transfer_answer(t); i++)
        spy_client_loop_run(l, 10);
    assert_non_null(spy_transfer_answer(t));
    return spy_transfer_answer(t);
}

static void a_loop_runs_a_request_beside_one_that_waits(void **state)
{
    (void)state;
    struct spy_client_loop *l;
    struct spy_transfer *waiting, *t;
    struct seen seen = {0};
    struct spy_client_request q = {.url = url, .answer_max = 100, .timeout_ms = 10000};
    make_client((struct spy_client_options){0});
    assert_int_equal(spy_client_loop_new(client, &l, &err), 0);
    server.silent = true;
    assert_int_equal(spy_client_loop_start(l, &q, &waiting, &err), 0);
    for (int i = 0; i < 500 && !server_count(&server, &server.requests); i++)
        spy_client_loop_run(l, 10);
    pthread_mutex_lock(&server.lock);
    server.silent = false;
    pthread_mutex_unlock(&server.lock);
    q.on_data = keep_data;
    q.on_begin = count_begun;
    q.arg = &seen;
    assert_int_equal(spy_client_loop_start(l, &q, &t, &err), 0);
    assert_int_equal(run_to_end(l, t)->outcome, SPY_CLIENT_DONE);
    assert_string_equal(seen.text, "hello");
    assert_int_equal(seen.begun, 1);
    assert_int_equal(spy_transfer_answer(t)->body.len, 0);
    assert_null(spy_transfer_answer(waiting));
    spy_transfer_free(t);
    spy_transfer_free(waiting);
    spy_client_loop_free(l);
}

static void only_a_200_answer_is_passed_on_in_pieces(void **state)
{
    (void)state;
    struct spy_client_loop *l;
    struct spy_transfer *t;
    struct seen seen = {0};
    struct spy_client_request q = {.url = url,
                                   .answer_max = 100,
                                   .timeout_ms = 10000,
                                   .on_data = keep_data,
                                   .on_begin = count_begun,
                                   .arg = &seen};
    make_client((struct spy_client_options){0});
    assert_int_equal(spy_client_loop_new(client, &l, &err), 0);
    server_answer(&server, 403, "", "no");
    assert_int_equal(spy_client_loop_start(l, &q, &t, &err), 0);
    assert_int_equal(run_to_end(l, t)->outcome, SPY_CLIENT_REFUSED);
    assert_string_equal(spy_buf_str(&spy_transfer_answer(t)->body), "no");
    assert_string_equal(seen.text, "");
    assert_int_equal(seen.begun, 0);
    spy_transfer_free(t);
    spy_client_loop_free(l);
}

static void a_loop_uses_no_connection_from_before_a_change(void **state)
{
    (void)state;
    struct spy_client_loop *l;
    struct spy_client_request q = {.url = url, .answer_max = 100, .timeout_ms = 10000};
    make_client((struct spy_client_options){.ca_file = file});
    assert_int_equal(spy_client_loop_new(client, &l, &err), 0);
    for (int i = 0; i < 4; i++) {
        struct spy_transfer *t;
        assert_int_equal(spy_client_loop_start(l, &q, &t, &err), 0);
        assert_int_equal(run_to_end(l, t)->outcome, SPY_CLIENT_DONE);
        spy_transfer_free(t);
        if (i == 1)
            assert_int_equal(server_count(&server, &server.connections), 1);
        if (i == 1)
            write_file("another authority");
    }
    assert_true(server_count(&server, &server.connections) >= 2);
    spy_client_loop_free(l);
}

static void *wake_soon(void *arg)
{
    usleep(100000);
    spy_client_loop_wake(arg);
    return NULL;
}

static void a_loop_can_be_woken(void **state)
{
    (void)state;
    struct spy_client_loop *l;
    pthread_t thread;
    make_client((struct spy_client_options){0});
    assert_int_equal(spy_client_loop_new(client, &l, &err), 0);
    uint64_t began = spy_clock_mono_ns();
    assert_int_equal(pthread_create(&thread, NULL, wake_soon, l), 0);
    spy_client_loop_run(l, 20000);
    assert_true(spy_clock_mono_ns() - began < 10 * SPY_NS_PER_SEC);
    pthread_join(thread, NULL);
    spy_client_loop_free(l);
}

// --- names in URLs ---

static void a_value_is_escaped(void **state)
{
    (void)state;
    _cleanup_buf_ struct spy_buf b = SPY_BUF_INIT(100);
    assert_int_equal(spy_url_put_value(&b, "a-B_1.~ /&=%\xc3\xa9"), 0);
    assert_string_equal(spy_buf_str(&b), "a-B_1.~%20%2F%26%3D%25%C3%A9");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

RUN(TEST(a_request_carries_its_headers_body_and_token), TEST(the_token_is_read_for_each_request),
    TEST(without_a_usable_token_nothing_is_sent), TEST(other_schemes_are_refused),
    TEST(the_outcome_follows_from_the_status), TEST(a_server_that_is_not_there_is_unreachable),
    TEST(an_answer_over_its_limit_is_given_up), TEST(a_truncated_answer_is_a_failure),
    TEST(a_silent_server_costs_the_time_limit),
    TEST(an_abort_ends_a_waiting_request_and_all_later_ones),
    TEST(a_connection_is_used_again_until_a_file_changes),
    TEST(without_idle_max_no_connection_is_kept), TEST(a_loop_runs_a_request_beside_one_that_waits),
    TEST(only_a_200_answer_is_passed_on_in_pieces),
    TEST(a_loop_uses_no_connection_from_before_a_change), TEST(a_loop_can_be_woken),
    T(a_value_is_escaped))
