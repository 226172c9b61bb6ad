// ready.c - podspy-collector --ready: asks the collector that runs with this configuration for
// /readyz. For probes inside of its container, which holds no other HTTP client.
#include "collector/cli/collector.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_MAX = 4096, WAIT_SECS = 3 };

// A connected socket that waits WAIT_SECS at most, or -1 with errno.
static int connect_address(const struct addrinfo *ai)
{
    const struct timeval wait = {.tv_sec = WAIT_SECS};
    _cleanup_close_ int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) < 0 ||
        connect(fd, ai->ai_addr, ai->ai_addrlen) < 0)
        return -1;
    int ret = fd;
    fd = -1;
    return ret;
}

static int connect_plain(const char *address, struct spy_err *err)
{
    char host[256], service[16];
    unsigned port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *ai;
    int r = spy_http_split_address(address, host, sizeof host, &port, err);
    if (r < 0)
        return r;
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(*host ? host : NULL, service, &hints, &ai) != 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "cannot look up the address '%s'", host);
    int fd = connect_address(ai), sys = errno;
    freeaddrinfo(ai);
    return fd >= 0 ? fd : spy_err_set(err, SPY_ERR_IO, sys, "no collector answers at %s", address);
}

static size_t read_answer(int fd, char *out, size_t size)
{
    size_t len = 0;
    for (ssize_t n; len + 1 < size && (n = read(fd, out + len, size - 1 - len)) != 0;) {
        if (n < 0 && errno != EINTR)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    out[len] = 0;
    return len;
}

int spy_collector_ask_ready(const struct spy_collector_config *config, struct spy_err *err)
{
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n"
                                  "Connection: close\r\n\r\n";
    const char *address = config->listen.http;
    char answer[ANSWER_MAX], shown[200];
    if (!*address || !strcmp(address, "off"))
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "--ready asks the plain listener, and listen.http is off");
    _cleanup_close_ int fd = connect_plain(address, err);
    if (fd < 0)
        return fd;
    if (spy_file_write_all(fd, request, sizeof request - 1) < 0 ||
        !read_answer(fd, answer, sizeof answer))
        return spy_err_set(err, SPY_ERR_IO, 0, "the collector at %s gives no answer", address);
    if (!strncmp(answer, "HTTP/1.1 200 ", 13))
        return 0;
    const char *body = strstr(answer, "\r\n\r\n");
    char *line = body ? answer + (body - answer) + 4 : answer;
    line[strcspn(line, "\r\n")] = 0;
    return spy_err_set(err, SPY_ERR_AGAIN, 0, "the collector is not ready: %s",
                       spy_text_show(shown, sizeof shown, line));
}
