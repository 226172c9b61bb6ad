#include "collector/http/linger.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "shared/base/thread.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 1 << 20, PIECES = 16 };

struct spy_linger {
    pthread_mutex_t lock;                  // of what follows, up to the thread
    struct pollfd fds[SPY_LINGER_MAX + 1]; // the first is the eventfd
    uint64_t deadlines[SPY_LINGER_MAX + 1];
    size_t n;
    bool stop;
    pthread_t thread;
};

// True at the end of the stream. MSG_TRUNC: TCP discards without copying (tcp(7)).
static bool drain_socket(int fd)
{
    for (int i = 0; i < PIECES; i++) {
        ssize_t n = recv(fd, NULL, PIECE, MSG_TRUNC | MSG_DONTWAIT);
        if (n <= 0)
            return n == 0 || spy_code_of_errno(errno) != SPY_ERR_AGAIN;
    }
    return false;
}

static void drain_all(struct spy_linger *l)
{
    uint64_t now = spy_clock_mono_ns();
    for (size_t i = l->n; i-- > 1;) {
        bool over = now >= l->deadlines[i] || (l->fds[i].revents && drain_socket(l->fds[i].fd));
        if (!over)
            continue;
        close(l->fds[i].fd);
        l->n--;
        l->fds[i] = l->fds[l->n];
        l->deadlines[i] = l->deadlines[l->n];
    }
}

// Only this thread removes entries, so those it polls stay valid while the lock is open.
static void *poll_sockets(void *arg)
{
    struct spy_linger *l = arg;
    struct pollfd polled[SPY_LINGER_MAX + 1];
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        size_t n = l->n;
        for (size_t i = 0; i < n; i++)
            polled[i] = l->fds[i];
        pthread_mutex_unlock(&l->lock);
        poll(polled, n, n > 1 ? 1000 : -1);
        eventfd_t count;
        if (polled[0].revents)
            eventfd_read(polled[0].fd, &count);
        pthread_mutex_lock(&l->lock);
        for (size_t i = 0; i < l->n; i++)
            l->fds[i].revents = i < n ? polled[i].revents : 0;
        drain_all(l);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

int spy_linger_new(struct spy_linger **ret, struct spy_err *err)
{
    struct spy_linger *l = calloc(1, sizeof *l);
    int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!l || wake < 0) {
        free(l);
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "out of memory or file descriptors");
    }
    pthread_mutex_init(&l->lock, NULL);
    l->fds[0] = (struct pollfd){.fd = wake, .events = POLLIN};
    l->n = 1;
    if (spy_thread_start(&l->thread, poll_sockets, l) != 0) {
        close(wake);
        pthread_mutex_destroy(&l->lock);
        free(l);
        return spy_err_set(err, SPY_ERR_NOMEM, 0, "cannot start a thread");
    }
    *ret = l;
    return 0;
}

void spy_linger_free(struct spy_linger *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_mutex_unlock(&l->lock);
    eventfd_write(l->fds[0].fd, 1);
    pthread_join(l->thread, NULL);
    for (size_t i = 0; i < l->n; i++)
        close(l->fds[i].fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void spy_linger_add(struct spy_linger *l, int fd)
{
    pthread_mutex_lock(&l->lock);
    int copy = l->n <= SPY_LINGER_MAX ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy >= 0) {
        l->fds[l->n] = (struct pollfd){.fd = copy, .events = POLLIN};
        l->deadlines[l->n++] = spy_clock_mono_ns() + SPY_LINGER_SECS * SPY_NS_PER_SEC;
        shutdown(copy, SHUT_WR); // the client reads the answer, then the end
    }
    pthread_mutex_unlock(&l->lock);
    if (copy >= 0)
        eventfd_write(l->fds[0].fd, 1);
}
