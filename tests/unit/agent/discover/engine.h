// A small HTTP server on a Unix socket, in a thread of the test, that answers as a Docker Engine
// does or as none should. The real daemon is used in tests/e2e.
#pragma once
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum engine_mode {
    ENGINE_OK,      // 200 with body
    ENGINE_ERROR,   // 500
    ENGINE_GARBAGE, // no HTTP
    ENGINE_HUGE,    // 200 and a body without end
    ENGINE_HANG,    // takes the request and says nothing
    ENGINE_CLOSE,   // closes at once
    ENGINE_CUT,     // ends in the middle of the body
};

struct engine {
    char dir[64], path[100];
    int listener;
    pthread_t thread;
    bool stop;         // atomic
    int mode;          // atomic
    int asked;         // atomic: requests so far
    char request[256]; // first line of the last request
    pthread_mutex_t lock;
    char body[65536]; // under lock
};

static inline int engine_asked(struct engine *e)
{
    return __atomic_load_n(&e->asked, __ATOMIC_SEQ_CST);
}

static inline void engine_write(int fd, const char *s, size_t n)
{
    while (n) {
        ssize_t done = send(fd, s, n, MSG_NOSIGNAL);
        if (done <= 0)
            return;
        s += done;
        n -= (size_t)done;
    }
}

static inline void engine_reply(struct engine *e, int fd)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: "
                             "close\r\n\r\n";
    static char zeros[65536];
    switch (__atomic_load_n(&e->mode, __ATOMIC_SEQ_CST)) {
    case ENGINE_OK:
        pthread_mutex_lock(&e->lock);
        engine_write(fd, ok, sizeof ok - 1);
        engine_write(fd, e->body, strlen(e->body));
        pthread_mutex_unlock(&e->lock);
        break;
    case ENGINE_ERROR:
        engine_write(fd, "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}", 42);
        break;
    case ENGINE_GARBAGE:
        engine_write(fd, "\x16\x03\x01 no http at all\r\n\r\n", 23);
        break;
    case ENGINE_HUGE:
        engine_write(fd, ok, sizeof ok - 1);
        memset(zeros, ' ', sizeof zeros);
        for (int i = 0; i < 1024; i++)
            engine_write(fd, zeros, sizeof zeros);
        break;
    case ENGINE_HANG:
        // until the client gives up
        while (recv(fd, zeros, 1, MSG_DONTWAIT) != 0 &&
               !__atomic_load_n(&e->stop, __ATOMIC_SEQ_CST))
            usleep(10000);
        break;
    case ENGINE_CUT:
        engine_write(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{", 43);
        break;
    default:
        break;
    }
}

static inline void *engine_run(void *arg)
{
    struct engine *e = arg;
    while (!__atomic_load_n(&e->stop, __ATOMIC_SEQ_CST)) {
        int fd = accept(e->listener, NULL, NULL);
        if (fd < 0)
            break;
        char text[4096];
        ssize_t n = recv(fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = 0;
        text[strcspn(text, "\r\n")] = 0;
        pthread_mutex_lock(&e->lock);
        snprintf(e->request, sizeof e->request, "%.255s", text);
        pthread_mutex_unlock(&e->lock);
        __atomic_add_fetch(&e->asked, 1, __ATOMIC_SEQ_CST);
        engine_reply(e, fd);
        close(fd);
    }
    return NULL;
}

static inline void engine_set(struct engine *e, enum engine_mode mode, const char *body)
{
    pthread_mutex_lock(&e->lock);
    snprintf(e->body, sizeof e->body, "%s", body);
    pthread_mutex_unlock(&e->lock);
    __atomic_store_n(&e->mode, (int)mode, __ATOMIC_SEQ_CST);
}

static inline bool engine_start(struct engine *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", e->path);
    e->stop = false;
    e->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(e->listener, (struct sockaddr *)&a, sizeof a) == 0 &&
           listen(e->listener, 16) == 0 && pthread_create(&e->thread, NULL, engine_run, e) == 0;
}

static inline void engine_stop(struct engine *e)
{
    __atomic_store_n(&e->stop, true, __ATOMIC_SEQ_CST);
    shutdown(e->listener, SHUT_RDWR);
    pthread_join(e->thread, NULL);
    close(e->listener);
    unlink(e->path);
}

static inline bool engine_new(struct engine *e)
{
    memset(e, 0, sizeof *e);
    pthread_mutex_init(&e->lock, NULL);
    snprintf(e->dir, sizeof e->dir, "/tmp/podspy-engine.XXXXXX");
    if (!mkdtemp(e->dir))
        return false;
    snprintf(e->path, sizeof e->path, "%s/docker.sock", e->dir);
    engine_set(e, ENGINE_OK, "[]");
    return true;
}

static inline void engine_free(struct engine *e)
{
    rmdir(e->dir);
    pthread_mutex_destroy(&e->lock);
}
