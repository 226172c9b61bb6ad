// A small HTTP server in threads of the test. It keeps connections open, notes what it was asked,
// and answers each request with the bytes that the test gave it.
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

enum { SERVER_THREADS = 64, SERVER_TEXT = 64 << 10 };

struct server {
    int listener, port;
    pthread_t acceptor, threads[SERVER_THREADS];
    int fds[SERVER_THREADS];

    pthread_mutex_t lock; // of all below
    int connections, requests;
    bool silent; // takes requests and does not answer
    char *answer;
    char last[SERVER_TEXT]; // request
};

struct server_connection {
    struct server *server;
    int fd;
};

// Reads one request, head and body. False: the client is gone.
static inline bool server_read(int fd, char *text)
{
    for (size_t n = 0; n < SERVER_TEXT - 1;) {
        ssize_t got = recv(fd, text + n, SERVER_TEXT - 1 - n, 0);
        if (got <= 0)
            return false;
        n += (size_t)got;
        text[n] = 0;
        const char *end = strstr(text, "\r\n\r\n"), *len = strstr(text, "Content-Length: ");
        if (end && n >= (size_t)(end + 4 - text) + (len ? strtoul(len + 16, NULL, 10) : 0))
            return true;
    }
    return false;
}

static inline void *server_serve(void *arg)
{
    struct server_connection c = *(struct server_connection *)arg;
    char *text = malloc(SERVER_TEXT);
    free(arg);
    while (server_read(c.fd, text)) {
        struct server *s = c.server;
        pthread_mutex_lock(&s->lock);
        s->requests++;
        snprintf(s->last, sizeof s->last, "%s", text);
        char *answer = s->silent ? NULL : strdup(s->answer);
        pthread_mutex_unlock(&s->lock);
        for (size_t n = answer ? strlen(answer) : 0, at = 0; at < n;) {
            ssize_t sent = send(c.fd, answer + at, n - at, MSG_NOSIGNAL);
            if (sent <= 0)
                break;
            at += (size_t)sent;
        }
        free(answer);
    }
    free(text);
    return NULL;
}

static inline void *server_accept(void *arg)
{
    struct server *s = arg;
    for (int fd; (fd = accept(s->listener, NULL, NULL)) >= 0;) {
        struct server_connection *c = malloc(sizeof *c);
        *c = (struct server_connection){s, fd};
        pthread_mutex_lock(&s->lock);
        int i = s->connections++;
        pthread_mutex_unlock(&s->lock);
        if (i == SERVER_THREADS || pthread_create(&s->threads[i], NULL, server_serve, c) != 0)
            abort();
        s->fds[i] = fd;
    }
    return NULL;
}

static inline bool server_new(struct server *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->answer = strdup("");
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s->listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(s->listener, 16) < 0 ||
        getsockname(s->listener, (struct sockaddr *)&at, &len) < 0)
        return false;
    s->port = ntohs(at.sin_port);
    return pthread_create(&s->acceptor, NULL, server_accept, s) == 0;
}

static inline void server_free(struct server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->acceptor, NULL);
    close(s->listener);
    for (int i = 0; i < s->connections; i++) {
        shutdown(s->fds[i], SHUT_RDWR);
        pthread_join(s->threads[i], NULL);
        close(s->fds[i]);
    }
    free(s->answer);
    pthread_mutex_destroy(&s->lock);
}

// The bytes that answer each request from now on.
static inline void server_say(struct server *s, const char *answer)
{
    pthread_mutex_lock(&s->lock);
    free(s->answer);
    s->answer = strdup(answer);
    pthread_mutex_unlock(&s->lock);
}

// The same, made of a status, more headers (each with its CRLF) and a body.
static inline void server_answer(struct server *s, int status, const char *headers,
                                 const char *body)
{
    char *text;
    if (asprintf(&text, "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
                 strlen(body), body) < 0)
        abort();
    server_say(s, text);
    free(text);
}

static inline int server_count(struct server *s, const int *which)
{
    pthread_mutex_lock(&s->lock);
    int n = *which;
    pthread_mutex_unlock(&s->lock);
    return n;
}
