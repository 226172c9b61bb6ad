#include "agent/discover/pods.h"
#include "shared/base/mem.h"
#include "tests/unit/agent/discover/podtext.h"
#include "tests/unit/test.h"
#include <string.h>

static struct spy_pod *parse(struct podtext p)
{
    const char *text = pod_text(p);
    struct spy_pod *pod = NULL;
    struct spy_err err = {0};
    if (spy_pod_parse(text, strlen(text), "podspy.dev", &pod, &err) < 0)
        fail_msg("%s: %s", err.msg, text);
    return pod;
}

static void a_pod_is_reduced_to_what_is_needed(void **state)
{
    (void)state;
    struct spy_pod *pod = parse((struct podtext){
        .annotations = YES ",\"podspy.dev/rate\":\"50\",\"podspy.dev/containers\":\"web, side\","
                           "\"podspy.dev/blocking\":\"never\",\"other\":\"x\""});
    assert_string_equal(pod->uid, "uid-1");
    assert_string_equal(pod->name, "web-0");
    assert_string_equal(pod->namespace_name, "shop");
    assert_string_equal(pod->service, "web-0");
    assert_int_equal(pod->labels.consent, SPY_CONSENT_YES);
    assert_int_equal(pod->labels.rate, 50);
    assert_int_equal(pod->labels.blocking, SPY_PAUSE_NEVER);
    assert_int_equal(pod->labels.n_problems, 0);
    assert_true(spy_labels_choose(&pod->labels, "web"));
    assert_true(spy_labels_choose(&pod->labels, "side"));
    assert_false(spy_labels_choose(&pod->labels, "we"));
    assert_false(spy_labels_choose(&pod->labels, "sidecar"));
    assert_int_equal(pod->n, 1);
    assert_string_equal(pod->containers[0].name, "web");
    assert_string_equal(pod->containers[0].id, ID1);
    assert_string_equal(pod->containers[0].image, "shop:1");
    assert_string_equal(pod->containers[0].state, "");
    spy_pod_unref(pod);
}

static void init_and_ephemeral_containers_are_containers(void **state)
{
    (void)state;
    struct spy_pod *pod = parse((struct podtext){
        .spec = ",\"initContainers\":[{\"name\":\"prepare\",\"image\":\"p:1\"}],"
                "\"ephemeralContainers\":[{\"name\":\"debug\",\"image\":\"d:1\"}]",
        .status =
            ",\"initContainerStatuses\":[{\"name\":\"prepare\",\"containerID\":\"docker://" ID2
            "\",\"state\":{\"terminated\":{\"reason\":\"Completed\"}}}],"
            "\"ephemeralContainerStatuses\":[{\"name\":\"debug\",\"containerID\":"
            "\"cri-o://" ID3 "\",\"state\":{\"running\":{}}}]"});
    assert_int_equal(pod->n, 3);
    assert_string_equal(pod->containers[1].id, ID2);
    assert_string_equal(pod->containers[1].state, "Completed");
    assert_string_equal(pod->containers[2].name, "debug");
    assert_string_equal(pod->containers[2].id, ID3);
    spy_pod_unref(pod);
}

static void a_container_that_was_not_started_has_a_reason(void **state)
{
    (void)state;
    struct spy_pod *pod =
        parse((struct podtext){.spec = ",\"initContainers\":[{\"name\":\"a\"},{\"name\":\"b\"}]",
                               .status = ",\"initContainerStatuses\":[{\"name\":\"a\",\"state\":"
                                         "{\"waiting\":{\"reason\":\"ImagePullBackOff\"}}}]",
                               .id = "not-hex"});
    assert_string_equal(pod->containers[0].id, "");
    assert_string_equal(pod->containers[1].state, "ImagePullBackOff");
    assert_string_equal(pod->containers[2].state, "not started");
    spy_pod_unref(pod);
}

#define OWNER(kind, name)                                                                          \
    ",\"ownerReferences\":[{\"kind\":\"Other\",\"name\":\"no\"},{\"kind\":\"" kind                 \
    "\",\"name\":\"" name "\",\"controller\":true}]"
#define HASH ",\"labels\":{\"pod-template-hash\":\"5d4f8c7b9\"}"

static void the_service_is_what_a_person_deployed(void **state)
{
    (void)state;
    static const struct {
        const char *name, *meta, *annotations, *service;
    } rows[] = {
        {"web-5d4f8c7b9-x", OWNER("ReplicaSet", "web-5d4f8c7b9") HASH, "", "web"},
        {"web-5d4f8c7b9-x", OWNER("ReplicaSet", "web-5d4f8c7b9"), "", "web-5d4f8c7b9"},
        {"web-x", OWNER("ReplicaSet", "web"), "", "web"},
        {"db-0", OWNER("StatefulSet", "db"), "", "db"},
        {"log-x", OWNER("DaemonSet", "log"), "", "log"},
        {"j-x", OWNER("Job", "count"), "", "count"},
        {"j-x", OWNER("Job", "nightly-29925391"), "", "nightly"},    // minutes
        {"j-x", OWNER("Job", "nightly-1795523460"), "", "nightly"},  // seconds, before 1.21
        {"j-x", OWNER("Job", "load-20261124"), "", "load-20261124"}, // a date
        {"j-x", OWNER("Job", "build-1234"), "", "build-1234"},       // a number
        {"j-x", OWNER("Job", "-29925391"), "", "-29925391"},         // nothing before it
        {"etcd-node1", OWNER("Node", "node1"), "\"kubernetes.io/config.mirror\":\"abc\"", "etcd"},
        {"bare", "", "", "bare"},
        {"web-x", OWNER("ReplicaSet", "web-5d4f8c7b9") HASH, "\"podspy.dev/service\":\"checkout\"",
         "web"}, // said apart, in labels.service
    };
    for (size_t i = 0; i < SPY_COUNT(rows); i++) {
        struct spy_pod *pod = parse((struct podtext){
            .name = rows[i].name, .meta = rows[i].meta, .annotations = rows[i].annotations});
        assert_string_equal(pod->service, rows[i].service);
        spy_pod_unref(pod);
    }
}

static void wrong_values_are_problems_and_not_failures(void **state)
{
    (void)state;
    struct spy_pod *pod = parse((struct podtext){
        .annotations = "\"podspy.dev/profile\":\"yes\",\"podspy.dev/rate\":\"0\","
                       "\"podspy.dev/containers\":\"Web\",\"podspy.dev/rat\":\"1\",\"x\":7"});
    assert_int_equal(pod->labels.consent, SPY_CONSENT_NO);
    assert_int_equal(pod->labels.n_problems, 4);
    bool told = false;
    for (unsigned i = 0; i < pod->labels.n_problems; i++)
        told |= strstr(pod->labels.problems[i], "podspy.dev/containers is 'Web'") != NULL;
    assert_true(told);
    spy_pod_unref(pod);
}

static void an_object_that_is_not_a_pod_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "null",
                                        "[]",
                                        "{}",
                                        "{\"metadata\":{\"name\":\"a\"}}",
                                        "{\"metadata\":[]}",
                                        "{\"metadata\":{\"name\":\"a\",\"uid\":7}}"};
    for (size_t i = 0; i < SPY_COUNT(texts); i++) {
        struct spy_pod *pod = NULL;
        assert_int_equal(spy_pod_parse(texts[i], strlen(texts[i]), "podspy.dev", &pod, NULL),
                         SPY_ERR_INVALID);
        assert_null(pod);
    }
    // the shapes inside may be anything
    static const char odd[] =
        "{\"metadata\":{\"name\":\"a\",\"uid\":\"u\",\"annotations\":[1],\"ownerReferences\":{}},"
        "\"spec\":{\"containers\":[1,{},{\"name\":[]}]},\"status\":7}";
    struct spy_pod *pod = NULL;
    assert_int_equal(spy_pod_parse(odd, sizeof odd - 1, "podspy.dev", &pod, NULL), 0);
    assert_int_equal(pod->n, 3);
    spy_pod_unref(pod);
}

static int event(const char *text, struct spy_watch_event *e)
{
    *e = (struct spy_watch_event){0};
    return spy_watch_parse(text, strlen(text), "podspy.dev", e, NULL);
}

static void a_watch_reports_changes_bookmarks_and_errors(void **state)
{
    (void)state;
    struct spy_watch_event e;
    assert_int_equal(event(event_text("MODIFIED", (struct podtext){.version = 42}), &e), 0);
    assert_int_equal(e.kind, SPY_WATCH_PUT);
    assert_string_equal(e.version, "42");
    assert_string_equal(e.pod->name, "web-0");
    spy_pod_unref(e.pod);
    assert_int_equal(event(event_text("DELETED", (struct podtext){0}), &e), 0);
    assert_int_equal(e.kind, SPY_WATCH_DELETE);
    spy_pod_unref(e.pod);
    assert_int_equal(event("{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"metadata\":"
                           "{\"resourceVersion\":\"77\"},\"spec\":{\"containers\":null}}}",
                           &e),
                     0);
    assert_int_equal(e.kind, SPY_WATCH_BOOKMARK);
    assert_string_equal(e.version, "77");
    assert_int_equal(event("{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,"
                           "\"message\":\"too old\\nresource\"}}",
                           &e),
                     0);
    assert_int_equal(e.kind, SPY_WATCH_ERROR);
    assert_int_equal(e.status, 410);
    assert_string_equal(e.message, "too old?resource");
    assert_int_equal(event("{\"type\":\"WHAT\",\"object\":{}}", &e), SPY_ERR_INVALID);
    assert_int_equal(event("{\"type\":\"ADDED\",\"object\":{}}", &e), SPY_ERR_INVALID);
    assert_int_equal(event("{\"type\":\"BOOKMARK\"}", &e), 0);
    assert_string_equal(e.version, "");
}

// It would go into a path.
static void a_version_is_digits(void **state)
{
    (void)state;
    struct spy_watch_event e;
    assert_int_equal(event("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":"
                           "{\"resourceVersion\":\"1&watch=0\"}}}",
                           &e),
                     0);
    assert_string_equal(e.version, "");
}

static void a_list_changes_only_when_a_pod_does(void **state)
{
    (void)state;
    struct spy_pods pods = {0};
    bool full = false;
    assert_true(spy_pods_put(&pods, parse((struct podtext){.uid = "b"}), &full));
    assert_true(spy_pods_put(&pods, parse((struct podtext){.uid = "a", .id = ID2}), &full));
    const struct spy_pod *b = spy_pods_find(&pods, "b");
    assert_false(spy_pods_put(&pods, parse((struct podtext){.uid = "b", .version = 99}), &full));
    assert_ptr_equal(spy_pods_find(&pods, "b"), b);
    struct spy_pod *same = spy_pods_same(&pods, parse((struct podtext){.uid = "b"}));
    assert_ptr_equal(same, b);
    spy_pod_unref(same);
    assert_true(
        spy_pods_put(&pods, parse((struct podtext){.uid = "b", .annotations = YES}), &full));
    assert_int_equal(pods.n, 2);

    struct spy_pods copy;
    assert_int_equal(spy_pods_copy(&pods, &copy), 0);
    struct spy_pod *pod = NULL;
    assert_non_null(spy_pods_container(&copy, ID2, &pod));
    assert_string_equal(pod->uid, "a");
    assert_null(spy_pods_container(&copy, ID3, &pod));
    assert_null(spy_pods_container(&copy, "", &pod));
    assert_true(spy_pods_remove(&pods, "a"));
    assert_false(spy_pods_remove(&pods, "a"));
    assert_non_null(spy_pods_find(&copy, "a")); // what was taken stays
    spy_pods_free(&pods);
    spy_pods_free(&copy);
}

static void a_static_pod_is_found_by_the_uid_of_its_cgroups(void **state)
{
    (void)state;
    struct spy_pods pods = {0};
    bool full = false;
    spy_pods_put(
        &pods,
        parse((struct podtext){.annotations = "\"kubernetes.io/config.mirror\":\"0123abc\""}),
        &full);
    assert_non_null(spy_pods_find(&pods, "0123abc"));
    assert_null(spy_pods_find(&pods, ""));
    spy_pods_free(&pods);
}

static void pods_and_containers_are_bounded(void **state)
{
    (void)state;
    struct spy_pods pods = {0};
    bool full = false;
    char uid[16];
    for (int i = 0; i < SPY_PODS_MAX; i++) {
        snprintf(uid, sizeof uid, "%d", i);
        assert_true(spy_pods_put(&pods, parse((struct podtext){.uid = uid}), &full));
    }
    assert_false(full);
    assert_false(spy_pods_put(&pods, parse((struct podtext){.uid = "more"}), &full));
    assert_true(full);
    assert_int_equal(pods.n, SPY_PODS_MAX);
    spy_pods_free(&pods);

    char many[4000] = ",\"initContainers\":[{}";
    size_t n = strlen(many);
    for (int i = 0; i < 500; i++)
        n += (size_t)snprintf(many + n, sizeof many - n, ",{}");
    snprintf(many + n, sizeof many - n, "]");
    struct spy_pod *pod = parse((struct podtext){.spec = many});
    assert_int_equal(pod->n, SPY_POD_CONTAINERS_MAX);
    spy_pod_unref(pod);
}

RUN(T(a_pod_is_reduced_to_what_is_needed), T(init_and_ephemeral_containers_are_containers),
    T(a_container_that_was_not_started_has_a_reason), T(the_service_is_what_a_person_deployed),
    T(wrong_values_are_problems_and_not_failures), T(an_object_that_is_not_a_pod_is_refused),
    T(a_watch_reports_changes_bookmarks_and_errors), T(a_version_is_digits),
    T(a_list_changes_only_when_a_pod_does), T(a_static_pod_is_found_by_the_uid_of_its_cgroups),
    T(pods_and_containers_are_bounded))
