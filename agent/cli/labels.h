// labels.h - the labels of one series while it is put together. Inside of agent/cli.
//
// Texts are borrowed but for the numbers. Empty ones are left out.
#pragma once
#include "agent/discover/discover.h"
#include "shared/profile/profile.h"
#include <stddef.h>

struct spy_cli_labels {
    const char *pairs[24][2];
    size_t n;
    char pid[16], ns_pid[16], ppid[16];
};

static inline void spy_cli_label(struct spy_cli_labels *l, const char *key, const char *value)
{
    if (value && *value) {
        l->pairs[l->n][0] = key;
        l->pairs[l->n++][1] = value;
    }
}
