#include "agent/discover/kube.h"
#include "shared/base/clock.h"
#include "shared/base/mem.h"
#include "tests/unit/agent/discover/apiserver.h"
#include "tests/unit/agent/discover/podtext.h"
#include "tests/unit/test.h"

static struct api api;
static struct spy_kube *kube;
static struct spy_kube_view view;
static char text[8192];

static void start(void)
{
    struct spy_access a = {.node = "node1", .prefix = "podspy.dev"};
    struct spy_err err = {0};
    snprintf(a.url, sizeof a.url, "http://127.0.0.1:%d", api.port);
    if (spy_kube_new(&a, &kube, &err) < 0)
        fail_msg("%s", err.msg);
}

static int set_up(void **state)
{
    (void)state;
    view = (struct spy_kube_view){0};
    return api_new(&api) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    uint64_t t = spy_clock_mono_ns();
    spy_kube_free(kube);
    kube = NULL;
    assert_true(spy_clock_mono_ns() - t < SPY_NS_PER_SEC); // no wait for a server, whatever it does
    spy_pods_free(&view.pods);
    api_free(&api);
    return 0;
}

static bool take(void)
{
    struct spy_kube_view v;
    if (!spy_kube_take(kube, &v))
        return false;
    spy_pods_free(&view.pods);
    view = v;
    return true;
}

// Takes what is told until the condition holds, for at most 10 seconds.
#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        int left_ = 2000;                                                                          \
        while (!(take(), (condition)) && left_--)                                                  \
            usleep(5000);                                                                          \
        if (left_ < 0)                                                                             \
            fail_msg("%s does not come true", #condition);                                         \
    } while (0)

static bool has(const char *uid)
{
    return spy_pods_find(&view.pods, uid) != NULL;
}

static void a_list_is_followed_by_a_watch(void **state)
{
    (void)state;
    api_list(&api, list_text(10, pod_text((struct podtext){.uid = "a"})));
    start();
    UNTIL(view.synced && has("a"));
    UNTIL(api_count(&api, &api.watches) == 1);
    assert_non_null(strstr(api_text(&api, api.list_line, text), "spec.nodeName%3Dnode1"));
    assert_non_null(strstr(text, "resourceVersion=0"));
    assert_non_null(strstr(api_text(&api, api.watch_line, text), "spec.nodeName%3Dnode1"));
    assert_non_null(strstr(text, "resourceVersion=10&"));
    assert_non_null(strstr(text, "allowWatchBookmarks=true"));
    api_say(&api, event_text("ADDED", (struct podtext){.uid = "b", .version = 11}));
    UNTIL(has("b"));
    api_say(&api, event_text("MODIFIED",
                             (struct podtext){.uid = "b", .annotations = YES, .version = 12}));
    UNTIL(spy_pods_find(&view.pods, "b")->labels.consent == SPY_CONSENT_YES);
    api_say(&api, event_text("DELETED", (struct podtext){.uid = "a", .version = 13}));
    UNTIL(!has("a"));
    assert_true(has("b"));
    assert_int_equal(api_count(&api, &api.lists), 1);
}

static void a_watch_that_ends_resumes_at_the_bookmark(void **state)
{
    (void)state;
    start();
    UNTIL(view.synced);
    api_say(&api, "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"metadata\":"
                  "{\"resourceVersion\":\"500\"}}}");
    UNTIL(api_count(&api, &api.watches) == 1);
    usleep(1200000); // it ran long enough to be no failure
    api_mode(&api, API_OK, API_OK, 0);
    UNTIL(api_count(&api, &api.watches) == 2);
    assert_non_null(strstr(api_text(&api, api.watch_line, text), "resourceVersion=500&"));
    assert_int_equal(api_count(&api, &api.lists), 1);
    assert_false(view.failing);
}

static void too_old_leads_to_a_new_list_that_is_not_from_the_cache(void **state)
{
    (void)state;
    api_list(&api, list_text(10, pod_text((struct podtext){.uid = "old"})));
    start();
    UNTIL(has("old") && api_count(&api, &api.watches) == 1);
    const struct spy_pod *kept;
    api_list(&api, list_text(900, pod_text((struct podtext){.uid = "new"})));
    api_say(&api, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,"
                  "\"reason\":\"Expired\",\"message\":\"too old resource version\"}}");
    UNTIL(has("new"));
    assert_false(has("old"));
    assert_false(view.failing);
    assert_null(strstr(api_text(&api, api.list_line, text), "resourceVersion"));
    UNTIL(api_count(&api, &api.watches) == 2);
    assert_non_null(strstr(api_text(&api, api.watch_line, text), "resourceVersion=900&"));
    // the same as a status, before any line; and what did not change stays the same object
    kept = spy_pods_find(&view.pods, "new");
    api_mode(&api, API_OK, API_STATUS, 410);
    UNTIL(api_count(&api, &api.lists) >= 3);
    api_mode(&api, API_OK, API_OK, 0);
    api_say(&api, event_text("ADDED", (struct podtext){.uid = "more", .version = 901}));
    UNTIL(has("more"));
    assert_ptr_equal(spy_pods_find(&view.pods, "new"), kept);
}

static void known_pods_stay_while_the_server_is_down(void **state)
{
    (void)state;
    api_list(&api, list_text(10, pod_text((struct podtext){.uid = "a"})));
    start();
    UNTIL(has("a") && api_count(&api, &api.watches) == 1);
    api_down(&api);
    UNTIL(view.failing);
    assert_non_null(strstr(view.err.msg, "127.0.0.1"));
    usleep(1500000);
    take();
    assert_true(has("a") && view.synced);
    assert_true(api_listen(&api));
    api_say(&api, event_text("ADDED", (struct podtext){.uid = "b", .version = 11}));
    UNTIL(has("b"));
    UNTIL(!view.failing);
}

static void a_server_that_comes_back_is_noticed_without_a_change(void **state)
{
    (void)state;
    start();
    UNTIL(view.synced && api_count(&api, &api.watches) == 1);
    api_mode(&api, API_STATUS, API_STATUS, 503);
    UNTIL(view.failing && strstr(view.err.msg, "503"));
    assert_non_null(strstr(view.err.msg, "said by the test"));
    api_mode(&api, API_OK, API_OK, 0);
    UNTIL(!view.failing);
}

static void bad_answers_are_retried_with_growing_waits(void **state)
{
    (void)state;
    static const enum api_mode modes[] = {API_GARBAGE, API_CLOSE, API_STATUS};
    api_mode(&api, API_GARBAGE, API_OK, 403);
    start();
    for (size_t i = 0; i < SPY_COUNT(modes); i++) {
        api_mode(&api, modes[i], API_OK, 403);
        UNTIL(view.failing);
    }
    UNTIL(strstr(view.err.msg, "get, list and watch"));
    usleep(3000000);
    // 0.5, 1, 2, 4 s, each at least half of it
    assert_true(api_count(&api, &api.lists) <= 6);
    assert_false(view.synced);
    api_list(&api, "{\"kind\":\"PodList\"}");
    api_mode(&api, API_OK, API_OK, 0);
    UNTIL(strstr(view.err.msg, "not a list of pods"));
    api_list(&api, list_text(10, pod_text((struct podtext){.uid = "a"})));
    UNTIL(has("a") && !view.failing);
}

static void a_watch_that_ends_at_once_is_not_retried_in_a_spin(void **state)
{
    (void)state;
    api_mode(&api, API_OK, API_CLOSE, 0);
    start();
    UNTIL(view.failing);
    usleep(3000000);
    assert_true(api_count(&api, &api.watches) <= 6);
    assert_true(api_count(&api, &api.lists) <= 4);
}

static void a_silent_server_delays_nobody(void **state)
{
    (void)state;
    api_mode(&api, API_HANG, API_HANG, 0);
    start();
    UNTIL(api_count(&api, &api.lists) == 1);
    uint64_t t = spy_clock_mono_ns();
    assert_false(take());
    assert_true(spy_clock_mono_ns() - t < 100 * SPY_NS_PER_MS);
}

static void garbage_in_a_watch_leads_to_a_new_list(void **state)
{
    (void)state;
    static const char *const garbage[] = {"garbage", "{\"type\":\"ADDED\",\"object\":{}}", "[[[[",
                                          "{\"type\":\"?\"}", "null"};
    start();
    UNTIL(view.synced);
    for (size_t i = 0; i < SPY_COUNT(garbage); i++) {
        int lists = api_count(&api, &api.lists);
        api_say(&api, garbage[i]);
        UNTIL(api_count(&api, &api.lists) > lists);
    }
    api_say(&api, event_text("ADDED", (struct podtext){.uid = "b", .version = 11}));
    UNTIL(has("b"));
}

static void a_line_over_the_limit_is_skipped(void **state)
{
    (void)state;
    size_t n = (2 << 20) + 100;
    char *huge = malloc(n + 1);
    start();
    UNTIL(view.synced && api_count(&api, &api.watches) == 1);
    memset(huge, '{', n);
    huge[n] = 0;
    api_say(&api, huge);
    api_say(&api, "");
    api_say(&api, event_text("ADDED", (struct podtext){.uid = "b", .version = 11}));
    free(huge);
    UNTIL(has("b"));
    assert_int_equal(view.skipped, 1);
    assert_int_equal(api_count(&api, &api.lists), 1);
}

static void an_irrelevant_change_is_not_reported(void **state)
{
    (void)state;
    api_list(&api, list_text(10, pod_text((struct podtext){.uid = "a"})));
    start();
    UNTIL(has("a"));
    for (int i = 0; i < 20; i++)
        api_say(&api, event_text("MODIFIED", (struct podtext){.uid = "a", .version = 11 + i}));
    api_say(&api, "{\"type\":\"BOOKMARK\",\"object\":{}}");
    usleep(300000);
    assert_false(take());
}

static void a_wrong_annotation_becomes_one_event(void **state)
{
    (void)state;
    struct podtext wrong = {.uid = "a", .annotations = YES ",\"podspy.dev/rate\":\"fast\""};
    api_list(&api, list_text(10, pod_text(wrong)));
    start();
    UNTIL(api_count(&api, &api.events) == 1);
    assert_non_null(strstr(api_text(&api, api.event, text), "\"message\":\"podspy.dev/rate is "));
    assert_non_null(strstr(text, "\"uid\":\"a\""));
    assert_non_null(strstr(text, "\"reason\":\"WrongAnnotation\""));
    assert_non_null(strstr(text, "\"namespace\":\"shop\""));
    wrong.version = 12;
    wrong.id = ID2; // the pod changes, the problem does not
    api_say(&api, event_text("MODIFIED", wrong));
    UNTIL(spy_pods_find(&view.pods, "a") &&
          !strcmp(spy_pods_find(&view.pods, "a")->containers[0].id, ID2));
    wrong.annotations = YES ",\"podspy.dev/native\":\"maybe\"";
    api_say(&api, event_text("MODIFIED", wrong));
    UNTIL(api_count(&api, &api.events) == 2);
    assert_non_null(strstr(api_text(&api, api.event, text), "podspy.dev/native"));
}

static void refused_events_are_not_retried(void **state)
{
    (void)state;
    struct podtext wrong = {.uid = "a", .annotations = "\"podspy.dev/profile\":\"1\""};
    api.events_status = 403;
    api_list(&api, list_text(10, pod_text(wrong)));
    start();
    UNTIL(api_count(&api, &api.events) == 1);
    usleep(200000);
    wrong.uid = "b";
    api_say(&api, event_text("ADDED", wrong));
    UNTIL(has("b"));
    usleep(1500000);
    assert_int_equal(api_count(&api, &api.events), 1);
    take();
    assert_false(view.failing);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

RUN(TEST(a_list_is_followed_by_a_watch), TEST(a_watch_that_ends_resumes_at_the_bookmark),
    TEST(too_old_leads_to_a_new_list_that_is_not_from_the_cache),
    TEST(known_pods_stay_while_the_server_is_down),
    TEST(a_server_that_comes_back_is_noticed_without_a_change),
    TEST(bad_answers_are_retried_with_growing_waits),
    TEST(a_watch_that_ends_at_once_is_not_retried_in_a_spin), TEST(a_silent_server_delays_nobody),
    TEST(garbage_in_a_watch_leads_to_a_new_list), TEST(a_line_over_the_limit_is_skipped),
    TEST(an_irrelevant_change_is_not_reported), TEST(a_wrong_annotation_becomes_one_event),
    TEST(refused_events_are_not_retried))
