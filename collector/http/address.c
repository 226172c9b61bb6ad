#include "collector/http/server.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

int spy_http_split_address(const char *text, char *host, size_t size, unsigned *ret_port,
                           struct spy_err *err)
{
    const char *colon = strrchr(text, ':');
    const char *from = text, *to = colon;
    char *end = NULL;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!colon || colon[1] < '0' || colon[1] > '9' || *end || port > 65535)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "'%s' is not an address: write ADDR:PORT, such as 127.0.0.1:8443", text);
    if (*from == '[' && to - from >= 2 && to[-1] == ']') {
        from++;
        to--;
    }
    if ((size_t)(to - from) >= size)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "'%s' is too long for an address", text);
    memcpy(host, from, (size_t)(to - from));
    host[to - from] = 0;
    *ret_port = (unsigned)port;
    return 0;
}

static bool is_loopback_address(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;
    return a->sa_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == 127;
}

bool spy_http_same_client(const struct sockaddr *a, const struct sockaddr *b)
{
    if (!a || !b || a->sa_family != b->sa_family)
        return a == b;
    if (a->sa_family == AF_INET6)
        return IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                                  &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr);
    return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
           ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
}

static int bind_and_listen(const struct addrinfo *ai)
{
    int one = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, 1024) == 0)
        return fd;
    int sys = errno;
    close(fd);
    errno = sys;
    return -1;
}

static unsigned bound_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
        return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

int spy_http_listen(const char *address, bool loopback_only, unsigned *ret_port,
                    struct spy_err *err)
{
    char host[256], service[8];
    unsigned port = 0;
    int r = spy_http_split_address(address, host, sizeof host, &port, err);
    if (r < 0)
        return r;
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *ai;
    if (getaddrinfo(*host ? host : NULL, service, &hints, &ai) != 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "cannot look up the address '%s'", host);
    if (loopback_only && !is_loopback_address(ai->ai_addr)) {
        freeaddrinfo(ai);
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "listen.http is '%s', but the plain listener asks for no credential and "
                           "takes loopback addresses only: use listen.https",
                           address);
    }
    int fd = bind_and_listen(ai);
    int sys = errno;
    freeaddrinfo(ai);
    if (fd < 0)
        return spy_err_set(err, SPY_ERR_IO, sys, "cannot listen on %s", address);
    *ret_port = bound_port(fd);
    return fd;
}

bool spy_http_host_is_loopback(const char *host)
{
    char name[64];
    struct in_addr v4;
    struct in6_addr v6;
    size_t n = *host == '[' ? strcspn(host, "]") : strcspn(host, ":");
    const char *from = *host == '[' ? host + 1 : host;
    n -= (size_t)(from - host);
    if (n >= sizeof name)
        return false;
    memcpy(name, from, n);
    name[n] = 0;
    if (!*host || !strcasecmp(name, "localhost"))
        return true;
    if (inet_pton(AF_INET, name, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}
