// labels.h - what a container's owner says about profiling, in labels. Inside of agent/discover.
//
// The list of containers as the Docker Engine API gives it (GET /containers/json), reduced to what
// discovery needs. Labels are written by the owner of the container: hostile.
#pragma once
#include "agent/config/agent_config.h"
#include "shared/base/buf.h"
#include "shared/base/err.h"
#include "shared/base/mem.h"
#include <stdbool.h>

enum { SPY_CONTAINERS_MAX = 4096, SPY_LABEL_PROBLEMS = 4 };

enum spy_consent {
    SPY_CONSENT_UNSAID, // no podspy.dev/profile
    SPY_CONSENT_YES,    // "true"
    SPY_CONSENT_NO,     // anything else
};

struct spy_labels {
    enum spy_consent consent;
    uint32_t rate;        // 0: not given
    int native;           // -1: not given
    int blocking;         // enum spy_pausing, or -1
    char service[256];    // "": not given
    char containers[512]; // names joined by commas; "": all of the pod's
    unsigned n_problems;
    char problems[SPY_LABEL_PROBLEMS][192];
};

struct spy_container {
    char id[65];
    char name[256], image[256];
    char owner[256]; // the Compose service it belongs to, or ""
    struct spy_labels labels;
};

struct spy_containers {
    size_t n;
    struct spy_container *all; // sorted by id
};

void spy_containers_free(struct spy_containers *c); // leaves *c zeroed

void spy_labels_init(struct spy_labels *l);
// Takes one label. Keys that do not begin with "PREFIX/" are skipped; a wrong value or an
// unknown key adds a problem and leaves the default.
void spy_labels_set(struct spy_labels *l, const char *prefix, const char *key, const char *value);

// Does the annotation `containers` choose the container of this name?
bool spy_labels_choose(const struct spy_labels *l, const char *container);

// Parses the answer's body. SPY_ERR_INVALID when it is not such a list. Entries without a usable id,
// and those past SPY_CONTAINERS_MAX, are skipped.
int spy_containers_parse(const char *text, size_t len, const char *prefix,
                         struct spy_containers *ret, struct spy_err *err);
const struct spy_container *spy_containers_find(const struct spy_containers *c, const char *id);
