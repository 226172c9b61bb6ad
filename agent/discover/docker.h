// docker.h - the containers that a Docker Engine (or Podman's compatible service) runs. Inside of
// agent/discover.
//
// A thread of its own asks over the Unix socket, so a daemon that hangs never holds up sampling. It
// asks every 10 s, every 2 s after a failure, and at once after spy_docker_ask, which is called when
// a process of an unknown container is seen. spy_docker_take returns each answer or failure once.
//
// Bounds: 4 MiB an answer, 5 s a request, four requests a second.
#pragma once
#include "agent/discover/labels.h"
#include <stdbool.h>

struct spy_docker;

struct spy_docker_answer {
    uint64_t asked_ns; // CLOCK_MONOTONIC when the request began: what ran then is in the list
    bool reached;
    bool absent;                // not reached because there is no socket
    struct spy_err err;         // when not reached
    struct spy_containers list; // when reached; the taker's to free
};

// socket_path and prefix are copied.
int spy_docker_new(const char *socket_path, const char *prefix, struct spy_docker **ret,
                   struct spy_err *err);
void spy_docker_free(struct spy_docker *d); // ends the thread; takes up to a second
// True when there is an answer newer than the last one taken.
bool spy_docker_take(struct spy_docker *d, struct spy_docker_answer *ret);
void spy_docker_ask(struct spy_docker *d); // does not wait
