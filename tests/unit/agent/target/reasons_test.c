// Why a process cannot be read, told from facts: also from those that no machine of a test has
// together, as each scope of Yama and each security module.
#include "agent/target/reasons.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#define CAP(name) (UINT64_C(1) << CAP_##name)
#define NONE      SPY_BARS

// A user's podspy on an ordinary machine, and a process of that user which cannot be read.
static struct spy_rights user = {
    .uid = 1000, .gid = 1000, .may_get_trace = true, .initial_userns = true};
static struct spy_guard refused = {.exists = true,
                                   .seen = true,
                                   .known = true,
                                   .state = 'S',
                                   .threads = 1,
                                   .uid = {1000, 1000, 1000},
                                   .gid = {1000, 1000, 1000},
                                   .dumpable = SPY_YES,
                                   .look_errno = EACCES,
                                   .read_errno = EPERM};

static enum spy_bar find(struct spy_rights r, struct spy_guard g, struct spy_reason *ret)
{
    *ret = (struct spy_reason){.bar = NONE};
    spy_reason_find(&r, &g, ret);
    // Whatever it is, it fits an error's text behind "not allowed to read process 4194304: ".
    assert_true(strlen(ret->text) + strlen(ret->cure) + 38 < sizeof((struct spy_err *)0)->msg);
    return ret->bar;
}

#define WITH(base, ...)                                                                            \
    ({                                                                                             \
        __typeof__(base) copy_ = (base);                                                           \
        __typeof__(&copy_) it = &copy_;                                                            \
        __VA_ARGS__;                                                                               \
        *it;                                                                                       \
    })

static struct spy_rights root(void)
{
    return WITH(user, it->uid = it->gid = 0, it->can_trace = true, it->capabilities = ~0ULL);
}

static void a_readable_process_has_no_reason_against_it(void **state)
{
    (void)state;
    struct spy_reason why;
    struct spy_guard open = WITH(refused, it->look_errno = it->read_errno = 0);
    assert_int_equal(find(user, open, &why), NONE);
    assert_int_equal(find(WITH(user, it->yama = 1), open, &why), NONE); // podspy started it
    assert_int_equal(find(root(), open, &why), NONE);
}

static void a_refused_read_always_has_a_reason(void **state)
{
    (void)state;
    // Every combination of what matters; the second half of the loop is without a known status.
    for (unsigned i = 0; i < 1u << 13; i++) {
        struct spy_reason why;
        struct spy_rights r = WITH(i & 1 ? root() : user);
        struct spy_guard g = refused;
        r.initial_userns = i & 2;
        r.yama = i >> 2 & 3;
        r.read_errno = i & 16 ? EPERM : 0;
        r.seccomp = i & 32;
        g.look_errno = i & 64 ? EACCES : 0;
        g.dumpable = i & 128 ? SPY_NO : SPY_UNKNOWN;
        g.other_userns = i & 256;
        g.uid[0] = g.uid[1] = i & 512 ? 0 : 1000;
        g.capabilities = i & 1024 ? CAP(NET_RAW) : 0;
        snprintf(g.label, sizeof g.label, "%s", i & 2048 ? "a (enforce)" : "");
        g.known = !(i & 4096);
        assert_int_not_equal(find(r, g, &why), NONE);
        assert_true(why.text[0] && why.cure[0]);
    }
}

static void other_users_and_groups_are_explained_with_a_remedy(void **state)
{
    (void)state;
    struct spy_reason why;
    struct spy_guard other = WITH(refused, it->uid[0] = it->uid[1] = it->uid[2] = 1001);
    assert_int_equal(find(user, other, &why), SPY_BAR_USER);
    assert_string_equal(why.cure, "run as root (sudo podspy ...) or as that user");
    // Its own user would be refused too.
    find(user, WITH(other, it->dumpable = SPY_NO), &why);
    assert_string_equal(why.cure, "run as root (sudo podspy ...)");
    find(user, WITH(other, it->capabilities = CAP(NET_RAW)), &why);
    assert_string_equal(why.cure, "run as root (sudo podspy ...)");
    find(WITH(user, it->yama = 1), other, &why);
    assert_string_equal(why.cure, "run as root (sudo podspy ...)");
    // sudo is of no use there.
    find(WITH(user, it->no_new_privs = true), other, &why);
    assert_non_null(strstr(why.cure, "no_new_privs"));
    find(WITH(user, it->may_get_trace = false), other, &why);
    assert_non_null(strstr(why.cure, "--user 0 --cap-add SYS_PTRACE"));
    assert_int_equal(find(user, WITH(refused, it->uid[2] = 0), &why), SPY_BAR_USER);
    assert_non_null(strstr(why.text, "user 0,"));
    assert_int_equal(find(user, WITH(refused, it->gid[0] = 5), &why), SPY_BAR_USER);
    assert_non_null(strstr(why.text, "group 5,"));
    struct spy_rights bare = WITH(root(), it->can_trace = it->may_get_trace = false);
    assert_int_equal(find(bare, refused, &why), SPY_BAR_USER);
    assert_non_null(strstr(why.cure, "capabilities.add: [SYS_PTRACE]"));
}

static void a_process_with_more_capabilities_is_explained(void **state)
{
    (void)state;
    struct spy_reason why;
    struct spy_guard g = WITH(refused, it->capabilities = CAP(NET_BIND_SERVICE) | CAP(NET_RAW));
    assert_int_equal(find(user, g, &why), SPY_BAR_CAPABILITIES);
    assert_non_null(strstr(why.text, "CAP_NET_BIND_SERVICE, CAP_NET_RAW"));
    find(WITH(user, it->capabilities = CAP(NET_RAW)), g, &why);
    assert_null(strstr(why.text, "NET_RAW"));
    find(user, WITH(g, it->capabilities = ~0ULL), &why);
    assert_non_null(strstr(why.text, "and 62 more"));
    assert_int_equal(find(user, WITH(refused, it->dumpable = SPY_NO), &why), SPY_BAR_DUMPABLE);
}

static void processes_of_other_user_namespaces_are_explained(void **state)
{
    (void)state;
    struct spy_reason why;
    struct spy_rights inside = WITH(root(), it->initial_userns = false);
    struct spy_guard outside = WITH(refused, it->other_userns = true);
    assert_int_equal(find(inside, outside, &why), SPY_BAR_USERNS);
    assert_non_null(strstr(why.text, "in its own user namespace only"));
    assert_non_null(strstr(why.cure, "--userns=host"));
    // No user of the namespace changes it, and no capability in it.
    inside.can_trace = false;
    assert_int_equal(find(inside, outside, &why), SPY_BAR_USERNS);
    assert_null(strstr(why.cure, "sudo"));
    // From the machine's own namespace CAP_SYS_PTRACE reaches everything below.
    assert_int_equal(find(user, outside, &why), SPY_BAR_USERNS);
    assert_string_equal(why.cure, "run as root (sudo podspy ...)");
}

static void each_scope_of_yama_is_explained(void **state)
{
    (void)state;
    struct spy_reason why;
    struct spy_guard g = WITH(refused, it->look_errno = 0); // Yama minds attaching only
    static const int scopes[] = {1, 2, 3};
    for (size_t i = 0; i < SPY_COUNT(scopes); i++) {
        char text[40];
        snprintf(text, sizeof text, "ptrace_scope is %d", scopes[i]);
        assert_int_equal(find(WITH(user, it->yama = scopes[i]), g, &why), SPY_BAR_YAMA);
        assert_non_null(strstr(why.text, text));
        assert_int_equal(strstr(why.cure, "sysctl kernel.yama.ptrace_scope=0") != NULL,
                         scopes[i] < 3);
    }
    assert_int_equal(find(WITH(root(), it->yama = 3), g, &why), SPY_BAR_YAMA);
    assert_non_null(strstr(why.cure, "boot again"));
    assert_int_not_equal(find(WITH(root(), it->yama = 2), g, &why), SPY_BAR_YAMA);
    find(WITH(user, it->yama = 2, it->may_get_trace = false), g, &why); // the longest text
}

static void seccomp_filters_and_security_modules_are_explained(void **state)
{
    (void)state;
    struct spy_reason why;
    struct spy_guard g = WITH(refused, it->look_errno = 0);
    struct spy_rights filtered = WITH(user, it->seccomp = true, it->read_errno = EPERM);
    assert_int_equal(find(filtered, g, &why), SPY_BAR_SYSTEM_CALL);
    assert_non_null(strstr(why.text, "seccomp"));
    assert_non_null(strstr(why.cure, "--cap-add SYS_PTRACE"));
    find(WITH(filtered, it->can_trace = true), g, &why); // it has that already
    assert_non_null(strstr(why.cure, "seccomp=unconfined"));
    assert_int_equal(find(WITH(user, it->read_errno = ENOSYS), g, &why), SPY_BAR_SYSTEM_CALL);
    assert_non_null(strstr(why.cure, "CONFIG_CROSS_MEMORY_ATTACH"));
    struct spy_rights confined = root();
    snprintf(confined.label, sizeof confined.label, "docker-default (enforce)");
    assert_int_equal(find(confined, g, &why), SPY_BAR_MODULE);
    assert_non_null(strstr(why.text, "AppArmor"));
    assert_non_null(strstr(why.cure, "apparmor=unconfined"));
    snprintf(confined.label, sizeof confined.label, "system_u:system_r:container_t:s0:c1,c2");
    find(confined, g, &why);
    assert_non_null(strstr(why.text, "SELinux"));
    assert_int_equal(find(root(), g, &why), SPY_BAR_MODULE);
    assert_non_null(strstr(why.cure, "Landlock"));
}

static void mount_options_of_proc_are_explained(void **state)
{
    (void)state;
    struct spy_reason why;
    struct spy_guard hidden = {.exists = true, .read_errno = EPERM};
    static const enum spy_hidepid ways[] = {1, 2, 4};
    for (size_t i = 0; i < SPY_COUNT(ways); i++) {
        struct spy_rights r = WITH(user, it->hidepid = ways[i]);
        assert_int_equal(find(r, hidden, &why), SPY_BAR_HIDDEN);
        assert_non_null(strstr(why.cure, "remount,hidepid=0"));
        assert_int_equal(find(r, WITH(hidden, it->exists = false, it->read_errno = 0), &why), NONE);
        find(WITH(r, it->may_get_trace = false), hidden, &why); // the longest text
    }
    assert_int_equal(find(WITH(root(), it->proc = SPY_PROC_MISSING), hidden, &why), SPY_BAR_PROC);
    assert_int_equal(find(WITH(root(), it->proc = SPY_PROC_STRANGE), hidden, &why), SPY_BAR_PROC);
    assert_int_equal(find(WITH(root(), it->proc = SPY_PROC_FOREIGN), refused, &why), SPY_BAR_PROC);
    assert_non_null(strstr(why.text, "PID namespace"));
    assert_int_equal(find(root(), WITH(refused, it->state = 'Z'), &why), SPY_BAR_ENDED);
    assert_int_equal(find(root(), WITH(refused, it->kernel = true), &why), SPY_BAR_ENDED);
}

// Of no process: what an agent will not see.
static void reasons_that_hold_for_every_process_are_found(void **state)
{
    (void)state;
    struct spy_reason why;
    struct spy_rights all = root();
    assert_false(spy_reason_find(&all, NULL, &why));
    all.hidepid =
        SPY_HIDEPID_INVISIBLE; // CAP_SYS_PTRACE sees through it, but not out of its namespace
    assert_false(spy_bar_holds(SPY_BAR_HIDDEN, &all, NULL, &why));
    all.initial_userns = false;
    assert_true(spy_bar_holds(SPY_BAR_HIDDEN, &all, NULL, &why) && why.partly);
    assert_true(spy_bar_holds(SPY_BAR_USERNS, &all, NULL, &why) && why.partly);
    assert_false(spy_bar_holds(SPY_BAR_USER, &all, NULL, &why));
    assert_true(spy_bar_holds(SPY_BAR_USER, &user, NULL, &why));
    struct spy_rights scoped = WITH(user, it->yama = 1), nobody = WITH(root(), it->yama = 3);
    assert_true(spy_bar_holds(SPY_BAR_YAMA, &scoped, NULL, &why) && why.partly);
    assert_true(spy_bar_holds(SPY_BAR_YAMA, &nobody, NULL, &why) && !why.partly);
}

static void capabilities_have_the_names_of_the_kernel(void **state)
{
    (void)state;
    assert_string_equal(spy_capability_name(CAP_CHOWN), "CHOWN");
    assert_string_equal(spy_capability_name(CAP_SYS_PTRACE), "SYS_PTRACE");
    assert_string_equal(spy_capability_name(CAP_CHECKPOINT_RESTORE), "CHECKPOINT_RESTORE");
    assert_null(spy_capability_name(CAP_LAST_CAP + 1));
}

RUN(T(a_readable_process_has_no_reason_against_it), T(a_refused_read_always_has_a_reason),
    T(other_users_and_groups_are_explained_with_a_remedy),
    T(a_process_with_more_capabilities_is_explained),
    T(processes_of_other_user_namespaces_are_explained), T(each_scope_of_yama_is_explained),
    T(seccomp_filters_and_security_modules_are_explained), T(mount_options_of_proc_are_explained),
    T(reasons_that_hold_for_every_process_are_found), T(capabilities_have_the_names_of_the_kernel))
