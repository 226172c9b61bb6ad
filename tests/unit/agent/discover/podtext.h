// Pods as an API server writes them, made of the few parts that the tests change.
#pragma once
#include <stdio.h>
#include <stdlib.h>

#define ID1 "1111111111111111111111111111111111111111111111111111111111111111"
#define ID2 "2222222222222222222222222222222222222222222222222222222222222222"
#define ID3 "3333333333333333333333333333333333333333333333333333333333333333"

struct podtext {
    const char *uid, *name, *annotations, *meta, *spec, *status, *id;
    int version;
};

// The text is overwritten by the next call but 7.
static inline const char *pod_text(struct podtext p)
{
    static char all[8][8192];
    static unsigned turn;
    char *out = all[turn++ % 8];
    snprintf(
        out, sizeof all[0],
        "{\"metadata\":{\"name\":\"%s\",\"generateName\":\"x-\",\"namespace\":\"shop\","
        "\"uid\":\"%s\",\"resourceVersion\":\"%d\",\"creationTimestamp\":\"2026-01-01T00:00:00Z\","
        "\"annotations\":{%s},\"managedFields\":[{\"manager\":\"kubelet\",\"fieldsV1\":"
        "{\"f:status\":{\"f:containerStatuses\":{}}}}]%s},"
        "\"spec\":{\"nodeName\":\"node1\",\"containers\":[{\"name\":\"web\",\"image\":\"shop:1\","
        "\"resources\":{}}]%s},"
        "\"status\":{\"phase\":\"Running\",\"containerStatuses\":[{\"name\":\"web\",\"state\":"
        "{\"running\":{\"startedAt\":\"2026-01-01T00:00:01Z\"}},\"lastState\":{},\"ready\":true,"
        "\"restartCount\":0,\"image\":\"docker.io/library/shop:1\",\"imageID\":\"sha256:aa\","
        "\"containerID\":\"containerd://%s\",\"started\":true}]%s}}",
        p.name ? p.name : "web-0", p.uid ? p.uid : "uid-1", p.version ? p.version : 11,
        p.annotations ? p.annotations : "", p.meta ? p.meta : "", p.spec ? p.spec : "",
        p.id ? p.id : ID1, p.status ? p.status : "");
    return out;
}

static inline const char *event_text(const char *type, struct podtext p)
{
    static char out[9000];
    snprintf(out, sizeof out, "{\"type\":\"%s\",\"object\":%s}", type, pod_text(p));
    return out;
}

static inline const char *list_text(int version, const char *items)
{
    static char out[32768];
    snprintf(
        out, sizeof out,
        "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"%d\"},"
        "\"items\":[%s]}\n",
        version, items);
    return out;
}

#define YES "\"podspy.dev/profile\":\"true\""
