#include "agent/target/reasons.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill_reason(struct spy_reason *ret, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void fill_reason(struct spy_reason *ret, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ret->text, sizeof ret->text, fmt, ap);
    va_end(ap);
}

// --- common to several bars ---

static bool is_read_refused(const struct spy_rights *r, const struct spy_guard *g)
{
    return g->look_errno || (g->read_errno && !r->read_errno);
}

// Outside the machine's own user namespace, a capability counts only within that namespace.
static bool traces_everything(const struct spy_rights *r)
{
    return r->can_trace && r->initial_userns;
}

// The effective, real or saved id that is not ours.
static unsigned other_id(const unsigned id[3], unsigned ours)
{
    return id[1] != ours ? id[1] : id[0] != ours ? id[0] : id[2];
}

static bool same_user(const struct spy_rights *r, const struct spy_guard *g)
{
    return g->uid[0] == r->uid && g->uid[1] == r->uid && g->uid[2] == r->uid;
}

static bool same_group(const struct spy_rights *r, const struct spy_guard *g)
{
    return g->gid[0] == r->gid && g->gid[1] == r->gid && g->gid[2] == r->gid;
}

// True if podspy, started by the user of the process, could read it.
static bool its_user_may(const struct spy_rights *r, const struct spy_guard *g)
{
    return g->uid[0] == g->uid[1] && g->uid[1] == g->uid[2] && g->dumpable == SPY_YES &&
           !g->capabilities && r->yama <= 0 && !g->other_userns;
}

// How podspy gets CAP_SYS_PTRACE in the place where it runs.
static const char *how_to_trace(const struct spy_rights *r)
{
    if (!r->may_get_trace)
        return r->uid == 0
                   ? "add CAP_SYS_PTRACE (docker: --cap-add SYS_PTRACE; Kubernetes: "
                     "securityContext.capabilities.add: [SYS_PTRACE])"
                   : "run as root (docker: --user 0 --cap-add SYS_PTRACE; Kubernetes: runAsUser: "
                     "0, capabilities.add: [SYS_PTRACE])";
    if (r->uid == 0)
        return "start podspy from a shell of root that has CAP_SYS_PTRACE";
    return r->no_new_privs ? "run as root (docker: --user 0; Kubernetes: runAsUser: 0); sudo is of "
                             "no use, since "
                             "no_new_privs is set"
                           : "run as root (sudo podspy ...)";
}

static void cure_by_tracing(const struct spy_rights *r, struct spy_reason *ret)
{
    snprintf(ret->cure, sizeof ret->cure, "%s", how_to_trace(r));
}

// --- the bars: each fills *ret when it holds ---

static bool bar_proc(const struct spy_rights *r, const struct spy_guard *g, struct spy_reason *ret)
{
    (void)g;
    static const char *const texts[] = {
        [SPY_PROC_MISSING] = "/proc is not mounted",
        [SPY_PROC_STRANGE] = "what is mounted at /proc is not a proc file system",
        [SPY_PROC_FOREIGN] = "/proc shows the processes of another PID namespace than podspy's",
    };
    if (r->proc == SPY_PROC_OURS)
        return false;
    fill_reason(ret, "%s", texts[r->proc]);
    snprintf(ret->cure, sizeof ret->cure, "%s",
             r->proc == SPY_PROC_FOREIGN
                 ? "mount -t proc proc /proc, or enter the other one: nsenter -t PID -p"
                 : "mount -t proc proc /proc");
    return true;
}

static const char *name_of_hidepid(enum spy_hidepid h)
{
    return h == SPY_HIDEPID_NOACCESS    ? "noaccess, 1"
           : h == SPY_HIDEPID_INVISIBLE ? "invisible, 2"
                                        : "ptraceable, 4";
}

static bool bar_hidden(const struct spy_rights *r, const struct spy_guard *g,
                       struct spy_reason *ret)
{
    if (!r->hidepid || (g ? g->seen || !g->exists : traces_everything(r)))
        return false;
    if (g)
        fill_reason(ret, "it exists, but /proc hides it (hidepid=%s)", name_of_hidepid(r->hidepid));
    else
        fill_reason(ret, "/proc hides other users' processes (hidepid=%s)",
                    name_of_hidepid(r->hidepid));
    snprintf(ret->cure, sizeof ret->cure, "%.140s, or: mount -o remount,hidepid=0 /proc",
             r->can_trace ? "run podspy outside of this user namespace" : how_to_trace(r));
    ret->partly = true;
    return true;
}

static bool bar_ended(const struct spy_rights *r, const struct spy_guard *g, struct spy_reason *ret)
{
    (void)r;
    if (!g || !g->known)
        return false;
    bool zombie = (g->state == 'Z' || g->state == 'X') && g->threads <= 1;
    if (zombie)
        fill_reason(ret, "it has ended, and its parent has not taken notice (a zombie)");
    else if (g->kernel)
        fill_reason(ret, "it is a kernel thread, which has no Python");
    return zombie || g->kernel;
}

static bool bar_system_call(const struct spy_rights *r, const struct spy_guard *g,
                            struct spy_reason *ret)
{
    (void)g;
    if (!r->read_errno)
        return false;
    if (!r->seccomp) {
        fill_reason(ret, "process_vm_readv fails even on podspy itself: %s",
                    strerror(r->read_errno));
        snprintf(ret->cure, sizeof ret->cure, "%s",
                 r->read_errno == ENOSYS
                     ? "the kernel lacks CONFIG_CROSS_MEMORY_ATTACH: use another"
                     : "see which security module forbids it");
        return true;
    }
    fill_reason(ret, "a seccomp filter forbids process_vm_readv, even of podspy itself");
    snprintf(ret->cure, sizeof ret->cure, "%s",
             r->can_trace
                 ? "docker: --security-opt seccomp=unconfined; Kubernetes: seccompProfile: "
                   "{type: Unconfined}"
                 : "docker: --cap-add SYS_PTRACE; Kubernetes: capabilities.add: "
                   "[SYS_PTRACE]: their default filters then let it through");
    return true;
}

static bool bar_userns(const struct spy_rights *r, const struct spy_guard *g,
                       struct spy_reason *ret)
{
    if (!g) {
        if (r->initial_userns || !r->can_trace)
            return false;
        fill_reason(ret, "CAP_SYS_PTRACE holds in podspy's own user namespace only");
    } else {
        if (!g->known || !g->look_errno)
            return false;
        bool elsewhere = g->other_userns || (r->can_trace && !r->label[0] && !g->label[0]);
        bool by_caps = r->can_trace || (same_user(r, g) && same_group(r, g));
        if (!elsewhere || (r->initial_userns && !by_caps) || traces_everything(r))
            return false;
        if (r->can_trace)
            fill_reason(
                ret, "podspy has CAP_SYS_PTRACE in its own user namespace only, and this process "
                     "is not in it");
        else
            fill_reason(ret,
                        "it is in another user namespace than podspy, which lacks CAP_SYS_PTRACE");
    }
    ret->partly = true;
    if (r->initial_userns)
        cure_by_tracing(r, ret);
    else
        snprintf(ret->cure, sizeof ret->cure,
                 "run podspy as root outside of that namespace (docker: --userns=host; Kubernetes: "
                 "hostUsers: true)");
    return true;
}

static bool bar_user(const struct spy_rights *r, const struct spy_guard *g, struct spy_reason *ret)
{
    if (r->can_trace)
        return false;
    ret->partly = true;
    if (!g) {
        fill_reason(ret,
                    "user %u without CAP_SYS_PTRACE: only processes of this very user can be read",
                    r->uid);
        cure_by_tracing(r, ret);
        return true;
    }
    if (!g->known || !is_read_refused(r, g) || (same_user(r, g) && same_group(r, g)))
        return false;
    if (!r->initial_userns && g->other_userns) // no user of this namespace can change it
        return false;
    if (!same_user(r, g))
        fill_reason(ret, "it runs as user %u, podspy as user %u without CAP_SYS_PTRACE",
                    other_id(g->uid, r->uid), r->uid);
    else
        fill_reason(ret, "it runs as group %u, podspy as group %u without CAP_SYS_PTRACE",
                    other_id(g->gid, r->gid), r->gid);
    bool or_as_it = r->may_get_trace && its_user_may(r, g);
    snprintf(ret->cure, sizeof ret->cure, "%s%s", how_to_trace(r),
             !or_as_it         ? ""
             : same_user(r, g) ? " or as that group"
                               : " or as that user");
    return true;
}

// "SYS_ADMIN, NET_ADMIN and 3 more".
static void list_capabilities(uint64_t set, char *out, size_t size)
{
    enum { SHOWN = 2 };
    int n = 0;
    size_t len = 0;
    out[0] = 0;
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(set >> bit & 1) || n++ >= SHOWN)
            continue;
        const char *name = spy_capability_name(bit);
        int more = name ? snprintf(out + len, size - len, "%sCAP_%s", len ? ", " : "", name)
                        : snprintf(out + len, size - len, "%s%u", len ? ", " : "", bit);
        len += more > 0 && (size_t)more < size - len ? (size_t)more : 0;
    }
    if (n > SHOWN)
        snprintf(out + len, size - len, " and %d more", n - SHOWN);
}

// A process of podspy's own user with more rights than podspy: from its file (setcap), or kept from
// root.
static bool bar_capabilities(const struct spy_rights *r, const struct spy_guard *g,
                             struct spy_reason *ret)
{
    char names[80];
    if (!g || r->can_trace || !g->known || !is_read_refused(r, g) || !same_user(r, g) ||
        !same_group(r, g) || g->other_userns || !(g->capabilities & ~r->capabilities))
        return false;
    list_capabilities(g->capabilities & ~r->capabilities, names, sizeof names);
    fill_reason(ret, "it has capabilities that podspy lacks: %s", names);
    cure_by_tracing(r, ret);
    return true;
}

static bool bar_dumpable(const struct spy_rights *r, const struct spy_guard *g,
                         struct spy_reason *ret)
{
    if (!g || r->can_trace || !g->known || !is_read_refused(r, g) || !same_user(r, g) ||
        !same_group(r, g) || g->dumpable != SPY_NO)
        return false;
    fill_reason(ret, "it is not dumpable: it changed its user or asked for it (PR_SET_DUMPABLE)");
    cure_by_tracing(r, ret);
    return true;
}

static bool bar_yama(const struct spy_rights *r, const struct spy_guard *g, struct spy_reason *ret)
{
    if (r->yama <= 0 || (r->can_trace && r->yama < SPY_YAMA_NOBODY))
        return false;
    // If the kernel would refuse without Yama, too, another bar is the reason.
    if (g && (r->read_errno || !g->read_errno || (g->look_errno && r->yama < SPY_YAMA_NOBODY)))
        return false;
    ret->partly = r->yama == 1;
    fill_reason(ret, "kernel.yama.ptrace_scope is %d (%s)", r->yama,
                r->yama == 1   ? "parents only"
                : r->yama == 2 ? "root only"
                               : "nobody");
    if (r->yama >= SPY_YAMA_NOBODY)
        snprintf(ret->cure, sizeof ret->cure,
                 "set another value in /etc/sysctl.d and boot again: it cannot be changed before");
    else
        snprintf(ret->cure, sizeof ret->cure, "%.150s, or: sysctl kernel.yama.ptrace_scope=0",
                 how_to_trace(r));
    return true;
}

// What remains if the kernel's own rules allow podspy to read the process.
static bool bar_module(const struct spy_rights *r, const struct spy_guard *g,
                       struct spy_reason *ret)
{
    if (!g || !is_read_refused(r, g))
        return false;
    struct spy_reason other;
    for (int bar = 0; bar < SPY_BAR_MODULE; bar++)
        if (spy_bar_holds((enum spy_bar)bar, r, g, &other))
            return false;
    bool selinux = strchr(r->label[0] ? r->label : g->label, ':') != NULL;
    if (!r->label[0] && !g->label[0]) {
        fill_reason(ret, "the kernel refuses it, and neither user, capabilities nor Yama are why");
        snprintf(ret->cure, sizeof ret->cure,
                 "start podspy outside of the sandbox (Landlock, a BPF module) that it runs in%s",
                 r->can_trace ? "" : ", or with CAP_SYS_PTRACE");
        return true;
    }
    fill_reason(ret, "%s forbids it: podspy is %.24s, it is %.24s",
                selinux ? "SELinux" : "AppArmor", r->label[0] ? r->label : "unconfined",
                g->label[0] ? g->label : "unconfined");
    snprintf(ret->cure, sizeof ret->cure, "%s",
             selinux ? "docker: --security-opt label=disable; Kubernetes: seLinuxOptions: {type: "
                       "spc_t}; setsebool deny_ptrace off"
                     : "docker: --security-opt apparmor=unconfined; Kubernetes: appArmorProfile: "
                       "{type: Unconfined}");
    return true;
}

// --- all ---

bool spy_bar_holds(enum spy_bar bar, const struct spy_rights *r, const struct spy_guard *g,
                   struct spy_reason *ret)
{
    static bool (*const bars[SPY_BARS])(const struct spy_rights *, const struct spy_guard *,
                                        struct spy_reason *) = {
        [SPY_BAR_PROC] = bar_proc,
        [SPY_BAR_HIDDEN] = bar_hidden,
        [SPY_BAR_ENDED] = bar_ended,
        [SPY_BAR_SYSTEM_CALL] = bar_system_call,
        [SPY_BAR_USERNS] = bar_userns,
        [SPY_BAR_USER] = bar_user,
        [SPY_BAR_CAPABILITIES] = bar_capabilities,
        [SPY_BAR_DUMPABLE] = bar_dumpable,
        [SPY_BAR_YAMA] = bar_yama,
        [SPY_BAR_MODULE] = bar_module,
    };
    struct spy_reason found = {.bar = bar};
    if (!bars[bar](r, g, &found))
        return false;
    *ret = found;
    return true;
}

bool spy_reason_find(const struct spy_rights *r, const struct spy_guard *g, struct spy_reason *ret)
{
    for (int bar = 0; bar < SPY_BARS; bar++)
        if (spy_bar_holds((enum spy_bar)bar, r, g, ret))
            return true;
    return false;
}

int spy_reason_explain(pid_t pid, int proc_fd, struct spy_err *err)
{
    struct spy_rights r;
    struct spy_guard g;
    struct spy_reason why;
    spy_rights_load(&r);
    spy_guard_load(pid, proc_fd, &g);
    bool found = spy_reason_find(&r, &g, &why);
    if (found && why.bar == SPY_BAR_ENDED)
        return spy_err_set(err, SPY_ERR_GONE, 0, "nothing to read in process %d: %s", (int)pid,
                           why.text);
    if (found)
        return spy_err_set(err, SPY_ERR_DENIED, 0, "%s process %d: %s; %s",
                           why.bar == SPY_BAR_PROC ? "cannot read" : "not allowed to read",
                           (int)pid, why.text, why.cure);
    if (!g.exists || !g.seen)
        return spy_err_set(err, SPY_ERR_GONE, 0, "there is no process %d", (int)pid);
    if (!g.known || g.state == 'Z' || g.state == 'X')
        return spy_err_set(err, SPY_ERR_GONE, 0, "process %d has ended", (int)pid);
    return spy_err_set(err, SPY_ERR_DENIED, 0,
                       "process %d could not be read a moment ago, and can be now: try again",
                       (int)pid);
}
