// series_labels.h - the labels of one series, collected before it is added. Inside of agent/daemon.
//
// Texts are borrowed, except the numbers, which have room here. Empty labels are left out.
#pragma once
#include "agent/discover/discover.h"
#include "shared/profile/profile.h"
#include <stddef.h>

struct spy_series_labels {
    const char *pairs[24][2];
    size_t n;
    char pid[16], ns_pid[16], ppid[16];
};

static inline void spy_series_label(struct spy_series_labels *l, const char *key, const char *value)
{
    if (value && *value) {
        l->pairs[l->n][0] = key;
        l->pairs[l->n++][1] = value;
    }
}

static inline void spy_series_label_place(struct spy_series_labels *l, const struct spy_place *at)
{
    spy_series_label(l, SPY_LABEL_POD, at->pod);
    spy_series_label(l, SPY_LABEL_POD_UID, at->pod_uid);
    spy_series_label(l, SPY_LABEL_NAMESPACE, at->namespace_name);
    spy_series_label(l, SPY_LABEL_CONTAINER, at->container);
    spy_series_label(l, SPY_LABEL_CONTAINER_ID, at->container_id);
    spy_series_label(l, SPY_LABEL_IMAGE, at->image);
    spy_series_label(l, SPY_LABEL_SERVICE, at->service);
}
