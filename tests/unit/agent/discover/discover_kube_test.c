// Pods of a made-up API server joined to the processes of a made-up /proc.
#include "agent/discover/discover.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/unit/agent/discover/apiserver.h"
#include "tests/unit/agent/discover/fakeproc.h"
#include "tests/unit/agent/discover/podtext.h"
#include "tests/unit/agent/discover/problems.h"
#include "tests/unit/test.h"

static struct api api;
static struct spy_agent_config config;
static struct spy_discover *d;

// What is in now, by pid, and how often each was told.
static struct member {
    bool in, lives;
    int added, removed;
    uint32_t rate, generation;
    char pod[64], namespace_name[64], uid[64], container[64], image[64], service[64], reason[64];
} members[100];

static void on_process(void *arg, enum spy_discover_event event, const struct spy_process *p)
{
    (void)arg;
    struct member *m = &members[p->pid];
    assert_true(event != SPY_DISCOVER_ADDED || !m->in);
    assert_true(event != SPY_DISCOVER_REMOVED || m->in);
    m->in = event != SPY_DISCOVER_REMOVED;
    m->lives = p->lives;
    m->added += event == SPY_DISCOVER_ADDED;
    m->removed += event == SPY_DISCOVER_REMOVED;
    m->rate = p->rate;
    snprintf(m->pod, sizeof m->pod, "%s", p->place.pod);
    snprintf(m->namespace_name, sizeof m->namespace_name, "%s", p->place.namespace_name);
    snprintf(m->uid, sizeof m->uid, "%s", p->place.pod_uid);
    snprintf(m->container, sizeof m->container, "%s", p->place.container);
    snprintf(m->image, sizeof m->image, "%s", p->place.image);
    snprintf(m->service, sizeof m->service, "%s", p->place.service);
    snprintf(m->reason, sizeof m->reason, "%s", p->reason);
}

static void look(void)
{
    struct spy_err err = {0};
    if (spy_discover_poll(d, on_process, NULL, &err) < 0)
        fail_msg("%s", err.msg);
}

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        int left_ = 500;                                                                           \
        while (!(look(), (condition)) && left_--)                                                  \
            usleep(20000);                                                                         \
        if (left_ < 0)                                                                             \
            fail_msg("%s does not come true", #condition);                                         \
    } while (0)

// Looks around long enough for anything that should not happen.
static void look_for(int ms)
{
    for (int i = 0; i < ms / 50; i++) {
        look();
        usleep(50000);
    }
}

static const char *problems(void)
{
    static struct spy_buf b = {.max = 65536};
    spy_buf_reset(&b);
    put_problems(&b, d);
    assert_int_equal(b.failed, 0);
    return spy_buf_str(&b);
}

static void start(const char *rules)
{
    char yaml[512];
    struct spy_err err = {0};
    snprintf(yaml, sizeof yaml,
             "discovery: {docker: off, kubernetes: on, kubernetes_url: 'http://127.0.0.1:%d'%s}\n",
             api.port, rules);
    if (spy_agent_config_parse("test", yaml, strlen(yaml), &config, &err) < 0 ||
        spy_discover_new(&config, fake, &d, &err) < 0)
        fail_msg("%s", err.msg);
}

static int set_up(void **state)
{
    memset(members, 0, sizeof members);
    return fake_open(state) == 0 && api_new(&api) ? 0 : -1;
}

static int tear_down(void **state)
{
    spy_discover_free(d);
    d = NULL;
    spy_agent_config_free(&config);
    api_free(&api);
    return fake_close(state);
}

#define UID1      "11111111-0000-4000-8000-000000000001"
#define UID2      "22222222-0000-4000-8000-000000000002"
#define IN(u, id) "5:memory:/kubepods/burstable/pod" u "/" id "\n0::/\n"

static void say(const char *type, struct podtext p)
{
    api_say(&api, event_text(type, p));
}

static void all_processes_of_an_annotated_pod_are_opted_in(void **state)
{
    (void)state;
    fake_process(20, 1, 5, "pause", IN(UID1, ID3)); // the sandbox
    fake_process(21, 1, 6, "gunicorn", IN(UID1, ID1));
    fake_process(22, 21, 7, "worker", IN(UID1, ID1));
    fake_process(23, 1, 8, "exec", IN(UID1, ID1)); // by kubectl exec
    fake_process(24, 1, 5, "other", IN(UID2, ID2));
    fake_process(25, 1, 5, "node", "0::/\n");
    api_list(&api,
             list_text(10, pod_text((struct podtext){
                               .uid = UID1, .annotations = YES ",\"podspy.dev/rate\":\"50\""})));
    start("");
    UNTIL(members[21].in && members[22].in && members[23].in);
    look_for(300);
    assert_false(members[20].in || members[24].in || members[25].in);
    const struct member *m = &members[22];
    assert_int_equal(m->rate, 50);
    assert_string_equal(m->pod, "web-0");
    assert_string_equal(m->namespace_name, "shop");
    assert_string_equal(m->uid, UID1);
    assert_string_equal(m->container, "web");
    assert_string_equal(m->image, "shop:1");
    assert_string_equal(m->service, "web-0");
    assert_string_equal(m->reason, "pod annotation");
    assert_string_equal(problems(), "");
}

static void an_annotation_that_comes_and_goes_is_followed(void **state)
{
    (void)state;
    fake_process(21, 1, 6, "gunicorn", IN(UID1, ID1));
    fake_process(22, 21, 7, "worker", IN(UID1, ID1));
    fake_process(23, 22, 8, "helper", "0::/system.slice/elsewhere.service\n"); // left its cgroup
    api_list(&api, list_text(10, pod_text((struct podtext){.uid = UID1})));
    start("");
    UNTIL(strstr(problems(), "not annotated"));
    assert_false(members[21].in);
    say("MODIFIED", (struct podtext){.uid = UID1, .annotations = YES});
    UNTIL(members[21].in && members[22].in && members[23].in);
    assert_string_equal(problems(), "");
    // a change that says nothing about profiling changes nothing
    say("MODIFIED",
        (struct podtext){.uid = UID1, .annotations = YES ",\"x\":\"y\"", .version = 12});
    look_for(300);
    assert_int_equal(members[21].added, 1);
    say("MODIFIED", (struct podtext){.uid = UID1, .annotations = YES ",\"podspy.dev/rate\":\"7\""});
    UNTIL(members[21].rate == 7 && members[22].rate == 7 && members[23].rate == 7);
    UNTIL(members[21].in && members[22].in && members[23].in);
    say("MODIFIED", (struct podtext){.uid = UID1});
    UNTIL(!members[21].in && !members[22].in && !members[23].in);
    assert_true(members[21].lives && members[22].lives);
    say("MODIFIED", (struct podtext){.uid = UID1, .annotations = YES});
    UNTIL(members[21].in);
    say("MODIFIED", (struct podtext){.uid = UID1, .annotations = "\"podspy.dev/profile\":\"no\""});
    UNTIL(!members[21].in);
    UNTIL(strstr(problems(), "give \\\"true\\\""));
}

static void a_recreated_container_waits_for_its_pods_annotation(void **state)
{
    (void)state;
    fake_process(21, 1, 6, "gunicorn", IN(UID1, ID1));
    api_list(&api, list_text(10, pod_text((struct podtext){.uid = UID1, .annotations = YES})));
    start(", processes: [{name: all, cmdline: gunicorn}]");
    UNTIL(members[21].in);
    fake_end(21);
    UNTIL(!members[21].in);
    assert_false(members[21].lives);
    fake_process(31, 1, 90, "gunicorn", IN(UID1, ID2));
    look_for(1500);
    assert_false(members[31].in); // the rule waits for what the pod says of the new container
    say("MODIFIED", (struct podtext){.uid = UID1, .annotations = YES, .id = ID2});
    UNTIL(members[31].in);
    assert_string_equal(members[31].reason, "pod annotation");
}

static void a_pod_annotated_false_is_left_alone_whatever_a_rule_says(void **state)
{
    (void)state;
    fake_process(21, 1, 6, "gunicorn", IN(UID1, ID1));
    fake_process(22, 1, 6, "gunicorn", IN(UID2, ID2));
    fake_process(23, 22, 7, "child", IN(UID2, ID2));
    char items[20000];
    snprintf(
        items, sizeof items, "%s,%s",
        pod_text((struct podtext){.uid = UID1, .annotations = "\"podspy.dev/profile\":\"false\""}),
        pod_text((struct podtext){.uid = UID2, .name = "ruled", .id = ID2}));
    api_list(&api, list_text(10, items));
    start(", processes: [{name: all, cmdline: gunicorn}]");
    UNTIL(members[22].in && members[23].in);
    look_for(300);
    assert_false(members[21].in);
    assert_string_equal(members[22].reason, "rule all");
    assert_string_equal(members[22].pod, "ruled");
    assert_string_equal(members[22].namespace_name, "shop");
    // a rule's child whose parent is gone stays when its pod changes
    fake_end(22);
    fake_process(23, 1, 7, "child", IN(UID2, ID2));
    UNTIL(!members[22].in);
    say("MODIFIED",
        (struct podtext){
            .uid = UID2, .name = "ruled", .id = ID2, .annotations = "\"podspy.dev/rate\":\"9\""});
    look_for(500);
    assert_true(members[23].in);
    say("MODIFIED", (struct podtext){.uid = UID2,
                                     .name = "ruled",
                                     .id = ID2,
                                     .annotations = "\"podspy.dev/profile\":\"false\""});
    UNTIL(!members[23].in);
}

static void only_chosen_containers_are_opted_in(void **state)
{
    (void)state;
    fake_process(21, 1, 6, "web", IN(UID1, ID1));
    fake_process(22, 1, 6, "side", IN(UID1, ID2));
    struct podtext p = {
        .uid = UID1,
        .annotations = YES ",\"podspy.dev/containers\":\"side,ghost\"",
        .spec = ",\"initContainers\":[{\"name\":\"side\",\"image\":\"side:2\"}]",
        .status = ",\"initContainerStatuses\":[{\"name\":\"side\",\"state\":{\"running\":{}},"
                  "\"containerID\":\"containerd://" ID2 "\"}]"};
    api_list(&api, list_text(10, pod_text(p)));
    start("");
    UNTIL(members[22].in);
    look_for(300);
    assert_false(members[21].in);
    assert_string_equal(members[22].container, "side");
    assert_string_equal(members[22].image, "side:2");
    assert_non_null(strstr(problems(), "names 'ghost', which the pod does not have"));
    p.annotations = YES ",\"podspy.dev/containers\":\"web\"";
    say("MODIFIED", p);
    UNTIL(members[21].in && !members[22].in);
}

static void while_the_api_is_down_known_pods_stay_and_rules_work(void **state)
{
    (void)state;
    fake_process(21, 1, 6, "gunicorn", IN(UID1, ID1));
    api_list(&api, list_text(10, pod_text((struct podtext){.uid = UID1, .annotations = YES})));
    start(", processes: [{name: all, cmdline: gunicorn}]");
    UNTIL(members[21].in);
    api_down(&api);
    UNTIL(strstr(problems(), "127.0.0.1"));
    fake_process(22, 21, 9, "worker", IN(UID1, ID1));  // of a container that is known
    fake_process(23, 1, 9, "gunicorn", IN(UID2, ID2)); // of one that is not
    UNTIL(members[22].in && members[23].in);
    assert_string_equal(members[22].reason, "pod annotation");
    assert_string_equal(members[23].reason, "rule all");
    assert_true(members[21].in && members[21].removed == 0);
    // back, and the new pod says no
    char items[20000];
    snprintf(items, sizeof items, "%s",
             pod_text((struct podtext){
                 .uid = UID2, .id = ID2, .annotations = "\"podspy.dev/profile\":\"false\""}));
    assert_true(api_listen(&api));
    say("ADDED", (struct podtext){
                     .uid = UID2, .id = ID2, .annotations = "\"podspy.dev/profile\":\"false\""});
    UNTIL(!members[23].in);
    assert_true(members[21].removed == 0);
    UNTIL(!strstr(problems(), "127.0.0.1"));
}

static void a_deleted_pod_stays_opted_in_until_its_processes_end(void **state)
{
    (void)state;
    fake_process(21, 1, 6, "gunicorn", IN(UID1, ID1));
    api_list(&api, list_text(10, pod_text((struct podtext){.uid = UID1, .annotations = YES})));
    start("");
    UNTIL(members[21].in);
    say("DELETED", (struct podtext){.uid = UID1});
    look_for(500);
    assert_true(members[21].in);
    fake_end(21);
    UNTIL(!members[21].in);
}

static void the_reason_for_a_pod_without_data_is_reported(void **state)
{
    (void)state;
    char items[20000];
    snprintf(items, sizeof items, "%s,%s",
             pod_text((struct podtext){.uid = UID1, .name = "unseen", .annotations = YES}),
             pod_text((struct podtext){
                 .uid = UID2,
                 .name = "broken",
                 .id = "",
                 .annotations = YES,
                 .spec = ",\"initContainers\":[{\"name\":\"pull\"}]",
                 .status = ",\"initContainerStatuses\":[{\"name\":\"pull\",\"state\":{\"waiting\":"
                           "{\"reason\":\"ImagePullBackOff\"}}}]"}));
    api_list(&api, list_text(10, items));
    start("");
    UNTIL(strstr(problems(), "container pull does not run: ImagePullBackOff"));
    UNTIL(strstr(problems(), "no process of container web is seen"));
    assert_non_null(strstr(problems(), "{\"pod\":\"unseen\",\"namespace\":\"shop\""));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    setenv("NODE_NAME", "node1", 1);
    const struct CMUnitTest tests[] = {
        TEST(all_processes_of_an_annotated_pod_are_opted_in),
        TEST(an_annotation_that_comes_and_goes_is_followed),
        TEST(a_recreated_container_waits_for_its_pods_annotation),
        TEST(a_pod_annotated_false_is_left_alone_whatever_a_rule_says),
        TEST(only_chosen_containers_are_opted_in),
        TEST(while_the_api_is_down_known_pods_stay_and_rules_work),
        TEST(a_deleted_pod_stays_opted_in_until_its_processes_end),
        TEST(the_reason_for_a_pod_without_data_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
