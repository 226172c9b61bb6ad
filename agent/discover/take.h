// take.h - the answers of Docker and Kubernetes. Inside of agent/discover.
#pragma once
#include <stdbool.h>

struct spy_discover;

// Take what came since the last poll, and decide again about the processes that it concerns.
void spy_take_docker(struct spy_discover *d);
void spy_take_kube(struct spy_discover *d);
// Docker should answer and does not.
bool spy_take_docker_fails(const struct spy_discover *d);
