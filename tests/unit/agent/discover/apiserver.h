// A small HTTP server in threads of the test that lists and watches as a Kubernetes API server
// does, or as none should. The real one is used in tests/e2e/kubernetes.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum api_mode { API_OK, API_GARBAGE, API_CLOSE, API_HANG, API_STATUS };

enum { API_THREADS = 512, API_TEXT = 6 << 20 };

struct api {
    int listener, port;
    pthread_t acceptor, threads[API_THREADS];
    int n_threads;
    bool stop; // atomic

    pthread_mutex_t lock; // of all that follows
    enum api_mode list_mode, watch_mode;
    int status, events_status; // of API_STATUS; of a POST
    char *list;                // the body
    char *said;                // to be told by the watch, each line once
    size_t said_len, told;
    int drops; // grows: watches that run end
    int lists, watches, events;
    char list_line[1024], watch_line[1024], token[1024], event[8192];
};

static inline void api_write(int fd, const char *s, size_t n)
{
    while (n) {
        ssize_t done = send(fd, s, n, MSG_NOSIGNAL);
        if (done <= 0)
            return;
        s += done;
        n -= (size_t)done;
    }
}

static inline void api_reply(int fd, int status, const char *body)
{
    char head[160];
    snprintf(head, sizeof head,
             "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
             "Connection: close\r\n\r\n",
             status, strlen(body));
    api_write(fd, head, strlen(head));
    api_write(fd, body, strlen(body));
}

static inline bool api_stopped(struct api *a)
{
    return __atomic_load_n(&a->stop, __ATOMIC_SEQ_CST);
}

// As chunks, until the client goes, the test drops it or all ends.
static inline void api_watch(struct api *a, int fd, int drops)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    char byte, size[32];
    api_write(fd, head, sizeof head - 1);
    while (!api_stopped(a) && recv(fd, &byte, 1, MSG_DONTWAIT) != 0) {
        pthread_mutex_lock(&a->lock);
        bool end = a->drops != drops;
        size_t n = end ? 0 : a->said_len - a->told;
        if (n) {
            snprintf(size, sizeof size, "%zx\r\n", n);
            api_write(fd, size, strlen(size));
            api_write(fd, a->said + a->told, n);
            api_write(fd, "\r\n", 2);
            a->told += n;
        }
        pthread_mutex_unlock(&a->lock);
        if (end) {
            api_write(fd, "0\r\n\r\n", 5);
            return;
        }
        usleep(5000);
    }
}

static inline void api_hang(struct api *a, int fd)
{
    char byte;
    while (!api_stopped(a) && recv(fd, &byte, 1, MSG_DONTWAIT) != 0)
        usleep(10000);
}

static inline void api_answer(struct api *a, int fd, const char *text)
{
    pthread_mutex_lock(&a->lock);
    bool post = strncmp(text, "POST ", 5) == 0, watch = strstr(text, "watch=1") != NULL;
    const char *token = strstr(text, "Bearer "), *content = strstr(text, "\r\n\r\n");
    snprintf(a->token, sizeof a->token, "%.*s", token ? (int)strcspn(token + 7, "\r") : 0,
             token ? token + 7 : "");
    int line = (int)strcspn(text, "\r");
    enum api_mode mode = watch ? a->watch_mode : a->list_mode;
    if (post) {
        a->events++;
        snprintf(a->event, sizeof a->event, "%s", content ? content + 4 : "");
    } else if (watch) {
        a->watches++;
        snprintf(a->watch_line, sizeof a->watch_line, "%.*s", line, text);
    } else {
        a->lists++;
        snprintf(a->list_line, sizeof a->list_line, "%.*s", line, text);
    }
    int status = post ? a->events_status : mode == API_STATUS ? a->status : 200, drops = a->drops;
    char *list = strdup(a->list);
    pthread_mutex_unlock(&a->lock);
    if (post || (mode == API_STATUS))
        api_reply(fd, status, "{\"kind\":\"Status\",\"message\":\"said by the test\"}");
    else if (mode == API_GARBAGE)
        api_write(fd, "\x16\x03 no http\r\n\r\n", 14);
    else if (mode == API_HANG)
        api_hang(a, fd);
    else if (mode == API_OK && watch)
        api_watch(a, fd, drops);
    else if (mode == API_OK)
        api_reply(fd, 200, list);
    free(list);
}

struct api_connection {
    struct api *api;
    int fd;
};

static inline void *api_serve(void *arg)
{
    struct api_connection c = *(struct api_connection *)arg;
    free(arg);
    char text[16384];
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n < sizeof text - 1;) {
        text[n] = 0;
        const char *end = strstr(text, "\r\n\r\n"), *len = strstr(text, "Content-Length: ");
        size_t more = end && len && len < end ? strtoul(len + 16, NULL, 10) : 0;
        if (end && n >= (size_t)(end + 4 - text) + more)
            break;
        got = recv(c.fd, text + n, sizeof text - 1 - n, 0);
        n += got > 0 ? (size_t)got : 0;
    }
    text[n] = 0;
    if (n)
        api_answer(c.api, c.fd, text);
    close(c.fd);
    return NULL;
}

static inline void *api_accept(void *arg)
{
    struct api *a = arg;
    for (int fd; (fd = accept(a->listener, NULL, NULL)) >= 0;) {
        struct api_connection *c = malloc(sizeof *c);
        *c = (struct api_connection){a, fd};
        if (a->n_threads == API_THREADS ||
            pthread_create(&a->threads[a->n_threads], NULL, api_serve, c) != 0)
            abort();
        a->n_threads++;
    }
    return NULL;
}

// Listens, at the port it had before if it had one.
static inline bool api_listen(struct api *a)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)a->port)};
    socklen_t len = sizeof at;
    int on = 1;
    a->stop = false;
    a->n_threads = 0;
    a->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(a->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(a->listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(a->listener, 16) < 0 ||
        getsockname(a->listener, (struct sockaddr *)&at, &len) < 0)
        return false;
    a->port = ntohs(at.sin_port);
    return pthread_create(&a->acceptor, NULL, api_accept, a) == 0;
}

// Ends all connections; nobody listens any more.
static inline void api_down(struct api *a)
{
    __atomic_store_n(&a->stop, true, __ATOMIC_SEQ_CST);
    shutdown(a->listener, SHUT_RDWR);
    pthread_join(a->acceptor, NULL);
    for (int i = 0; i < a->n_threads; i++)
        pthread_join(a->threads[i], NULL);
    close(a->listener);
}

static inline bool api_new(struct api *a)
{
    memset(a, 0, sizeof *a);
    pthread_mutex_init(&a->lock, NULL);
    a->list = strdup("{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[]}");
    a->said = calloc(1, API_TEXT);
    a->events_status = 201;
    return a->said && api_listen(a);
}

static inline void api_free(struct api *a)
{
    api_down(a);
    free(a->list);
    free(a->said);
    pthread_mutex_destroy(&a->lock);
}

static inline void api_list(struct api *a, const char *body)
{
    pthread_mutex_lock(&a->lock);
    free(a->list);
    a->list = strdup(body);
    pthread_mutex_unlock(&a->lock);
}

static inline void api_say(struct api *a, const char *line)
{
    pthread_mutex_lock(&a->lock);
    size_t n = strlen(line);
    if (a->said_len + n + 1 > API_TEXT)
        abort();
    memcpy(a->said + a->said_len, line, n);
    a->said_len += n;
    a->said[a->said_len++] = '\n';
    pthread_mutex_unlock(&a->lock);
}

static inline void api_mode(struct api *a, enum api_mode list, enum api_mode watch, int status)
{
    pthread_mutex_lock(&a->lock);
    a->list_mode = list;
    a->watch_mode = watch;
    a->status = status;
    a->drops++;
    pthread_mutex_unlock(&a->lock);
}

static inline int api_count(struct api *a, const int *which)
{
    pthread_mutex_lock(&a->lock);
    int n = *which;
    pthread_mutex_unlock(&a->lock);
    return n;
}

// Copies one of its texts: they change under the lock.
static inline const char *api_text(struct api *a, const char *which, char out[8192])
{
    pthread_mutex_lock(&a->lock);
    snprintf(out, 8192, "%s", which);
    pthread_mutex_unlock(&a->lock);
    return out;
}
