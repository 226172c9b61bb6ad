// podspy doctor without a process: could an agent work here?
#include "agent/cli/doctor.h"
#include "agent/discover/access.h"
#include "agent/upload/push.h"
#include "shared/base/buf.h"
#include "shared/base/clock.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

enum { ANSWER_MAX = 64 << 10, MOUNTS_MAX = 1 << 20 };
#define INITIAL_PID_NAMESPACE "pid:[4026531836]" // PROC_PID_INIT_INO of the kernel

// --- configuration ---

static enum spy_finding configuration(struct spy_doctor *d)
{
    struct spy_err err = {0};
    if (spy_agent_config_load(d->config_path, &d->config, &err) < 0) {
        SPY_DOCTOR_SAY(d, "%s", err.msg);
        return SPY_DOCTOR_STOP;
    }
    SPY_DOCTOR_SAY(d, "%s",
                   d->config_path ? d->config_path : "none given: the defaults (--config)");
    return d->config_path ? SPY_DOCTOR_OK : SPY_DOCTOR_NOTE;
}

// --- rights ---

static enum spy_finding capability(struct spy_doctor *d)
{
    bool can = spy_doctor_may_trace();
    SPY_DOCTOR_SAY(d, "user %u, %s CAP_SYS_PTRACE", geteuid(), can ? "with" : "without");
    if (can)
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d, "only processes of this very user can be read: run as root with "
                       "docker run --cap-add SYS_PTRACE; Kubernetes: runAsUser: 0 and "
                       "securityContext.capabilities.add: [SYS_PTRACE]");
    return geteuid() == 0 ? SPY_DOCTOR_NO : SPY_DOCTOR_NOTE;
}

static enum spy_finding yama(struct spy_doctor *d)
{
    int scope = spy_doctor_yama();
    bool can = spy_doctor_may_trace();
    SPY_DOCTOR_SAY(d, "kernel.yama.ptrace_scope is %d", scope);
    if (!scope || (can && scope < 3))
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d, "%s",
                    scope == 3 ? "3 forbids it to everybody until the machine is started anew with "
                                 "another value"
                               : "give it CAP_SYS_PTRACE, or: sysctl kernel.yama.ptrace_scope=0");
    return SPY_DOCTOR_NO;
}

// errno of reading eight bytes of a child, which every rule but a profile's allows; or 0.
static int try_to_read(void)
{
    long here = 1, there = 0;
    pid_t child = fork();
    if (child < 0)
        return errno;
    if (child == 0) {
        for (;;)
            pause();
    }
    struct iovec to = {&there, sizeof there}, from = {&here, sizeof here};
    int failed = process_vm_readv(child, &to, 1, &from, 1, 0) == (ssize_t)sizeof there ? 0 : errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return failed;
}

static enum spy_finding system_call(struct spy_doctor *d)
{
    char confined[160];
    int failed = try_to_read();
    SPY_DOCTOR_SAY(d, "process_vm_readv %s%s", failed ? "fails: " : "works",
                   failed ? strerror(failed) : "");
    if (!failed)
        return SPY_DOCTOR_OK;
    spy_doctor_confined(confined, sizeof confined);
    SPY_DOCTOR_CURE(d,
                    "it is forbidden by the %s. Kubernetes: seccompProfile: {type: RuntimeDefault} "
                    "together with SYS_PTRACE, and AppArmor unconfined; docker: --security-opt "
                    "apparmor=unconfined",
                    *confined ? confined : "kernel's own settings");
    return SPY_DOCTOR_NO;
}

// --- view ---

static enum spy_finding pid_namespace(struct spy_doctor *d)
{
    char link[64] = "";
    bool pod = getenv("KUBERNETES_SERVICE_HOST") != NULL;
    if (readlink("/proc/self/ns/pid", link, sizeof link - 1) < 0) {
        SPY_DOCTOR_SAY(d, "/proc is not there: %s", strerror(errno));
        SPY_DOCTOR_CURE(d, "mount -t proc proc /proc");
        return SPY_DOCTOR_STOP;
    }
    bool all = !strcmp(link, INITIAL_PID_NAMESPACE);
    SPY_DOCTOR_SAY(d, "%s",
                   all ? "the machine's own: all processes are seen"
                       : "one of its own: only the processes in it are seen");
    if (all)
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d, "%s",
                    pod ? "for the node's pods: hostPID: true; beside one service "
                          "shareProcessNamespace: true is enough"
                        : "for the machine's processes: docker run --pid host");
    return SPY_DOCTOR_NOTE;
}

// The options of the uppermost mount at /proc (proc(5): the last words of a line).
static bool proc_options(char *out, size_t size)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(MOUNTS_MAX);
    bool found = false;
    if (spy_file_read(AT_FDCWD, "/proc/self/mountinfo", &text, NULL) < 0)
        return false;
    for (const char *line = spy_buf_str(&text); *line;) {
        size_t n = strcspn(line, "\n");
        char one[1024];
        snprintf(one, sizeof one, "%.*s", (int)(n < sizeof one ? n : sizeof one - 1), line);
        const char *kind = strstr(one, " - proc ");
        if (kind && strstr(one, " /proc ")) {
            snprintf(out, size, "%s", strrchr(kind, ' ') + 1);
            found = true;
        }
        line += n + (line[n] == '\n');
    }
    return found;
}

static enum spy_finding proc(struct spy_doctor *d)
{
    char options[256] = "";
    if (!proc_options(options, sizeof options)) {
        SPY_DOCTOR_SAY(d, "how it is mounted cannot be told");
        return SPY_DOCTOR_NOTE;
    }
    const char *hide = strstr(options, "hidepid=");
    bool hidden =
        hide && strncmp(hide, "hidepid=0", 9) != 0 && strncmp(hide, "hidepid=off", 11) != 0;
    SPY_DOCTOR_SAY(d, "mounted with %s", options);
    if (!hidden || spy_doctor_may_trace())
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d, "hidepid hides other users' processes: give podspy CAP_SYS_PTRACE, or "
                       "mount -o remount,hidepid=0 /proc");
    return SPY_DOCTOR_NO;
}

// --- what it asks ---

static int reach(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        return ENAMETOOLONG;
    memcpy(a.sun_path, path, strlen(path) + 1);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0 ? errno : 0;
}

static enum spy_finding docker(struct spy_doctor *d)
{
    const char *path = d->config.discovery.docker_socket;
    enum spy_switch want = d->config.discovery.docker;
    if (want == SPY_SWITCH_OFF) {
        SPY_DOCTOR_SAY(d, "not asked (discovery.docker: off)");
        return SPY_DOCTOR_OK;
    }
    int failed = reach(path);
    SPY_DOCTOR_SAY(d, "%s %s%s", path, failed ? "is not reached: " : "answers",
                   failed ? strerror(failed) : "");
    if (!failed)
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d,
                    "labels of containers are not seen: mount the socket (-v %s:%s) or set "
                    "discovery.docker_socket; without Docker set discovery.docker: off",
                    path, path);
    return want == SPY_SWITCH_ON ? SPY_DOCTOR_NO : SPY_DOCTOR_NOTE;
}

static size_t keep(char *data, size_t size, size_t n, void *arg)
{
    return spy_buf_append(arg, data, size * n) < 0 ? 0 : size * n;
}

// May this account do that with pods or events? 1, 0, or -1 with why in err.
static int may(const struct spy_access *a, const char *verb, const char *resource,
               struct spy_err *err)
{
    char body[300];
    CURL *c = NULL;
    struct curl_slist *headers = NULL;
    long status = 0;
    _cleanup_buf_ struct spy_buf answer = SPY_BUF_INIT(ANSWER_MAX);
    snprintf(body, sizeof body,
             "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SelfSubjectAccessReview\","
             "\"spec\":{\"resourceAttributes\":{\"verb\":\"%s\",\"resource\":\"%s\"}}}",
             verb, resource);
    if (spy_access_request(a, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body, &c,
                           &headers, err) < 0)
        return -1;
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &answer);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 15L);
    CURLcode code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    curl_slist_free_all(headers);
    if (code != CURLE_OK)
        return spy_err_set(err, -1, 0, "%s is not reached: %s", a->url, curl_easy_strerror(code));
    json_t *said = status == 201 ? json_loads(spy_buf_str(&answer), 0, NULL) : NULL;
    json_t *allowed = json_object_get(json_object_get(said, "status"), "allowed");
    int yes = json_is_true(allowed);
    if (!allowed)
        spy_err_set(err, -1, 0, "%s answered with HTTP %ld", a->url, status);
    bool known = allowed != NULL;
    json_decref(said);
    return known ? yes : -1;
}

static enum spy_finding no_access(struct spy_doctor *d, const struct spy_err *err)
{
    SPY_DOCTOR_SAY(d, "%s", err->msg);
    SPY_DOCTOR_CURE(d, "%s",
                    strstr(err->msg, "HTTP 401")
                        ? "the token is refused: is the account's token mounted, and the account "
                          "still there? kubectl apply -f deploy/k8s"
                        : "does a network policy or a proxy stand between? The address comes from "
                          "KUBERNETES_SERVICE_HOST or discovery.kubernetes_url");
    return SPY_DOCTOR_NO;
}

static enum spy_finding kubernetes(struct spy_doctor *d)
{
    struct spy_err err = {0};
    struct spy_access a;
    int r = spy_access_find(&d->config, &a, &err);
    if (r == 0 && !err.code) {
        SPY_DOCTOR_SAY(d, "not asked: %s",
                       d->config.discovery.kubernetes == SPY_SWITCH_OFF
                           ? "discovery.kubernetes: off"
                           : "this is no pod");
        return SPY_DOCTOR_OK;
    }
    if (r <= 0) {
        SPY_DOCTOR_SAY(d, "%s", err.msg);
        return SPY_DOCTOR_NO;
    }
    int list = may(&a, "list", "pods", &err),
        watch = list < 0 ? -1 : may(&a, "watch", "pods", &err);
    int events = watch < 0 ? -1 : may(&a, "create", "events", &err);
    if (events < 0)
        return no_access(d, &err);
    SPY_DOCTOR_SAY(d, "%s answers; node %s; list pods: %s, watch pods: %s, create events: %s",
                   a.url, a.node, list ? "yes" : "no", watch ? "yes" : "no", events ? "yes" : "no");
    if (!list || !watch) {
        SPY_DOCTOR_CURE(d, "%s",
                        "the account lacks its ClusterRole or the binding: kubectl apply -f "
                        "deploy/k8s/10-access.yaml");
        return SPY_DOCTOR_NO;
    }
    SPY_DOCTOR_CURE(d, "%s",
                    "without events a wrong annotation is told in the log and by GET /pods "
                    "alone");
    return events ? SPY_DOCTOR_OK : SPY_DOCTOR_NOTE;
}

// --- where it sends ---

static const char *cure_of(const struct spy_push_result *r)
{
    static const char *const cures[SPY_PUSH_OUTCOMES] = {
        [SPY_PUSH_DENIED] = "collector.token_file must hold the collector's ingest token (or the "
                            "projected token for its audience)",
        [SPY_PUSH_BUSY] = "it is there but does not take profiles now: see the collector's log",
        [SPY_PUSH_UNREACHABLE] = "is collector.url right, does the collector run, and does "
                                 "collector.ca_file vouch for its certificate?",
        [SPY_PUSH_STRANGE] = "what answers at collector.url is no collector",
    };
    return cures[r->outcome] ? cures[r->outcome] : "";
}

// A request that holds no profile: it is checked like any other, and stores nothing.
static enum spy_finding collector(struct spy_doctor *d)
{
    struct spy_err err = {0};
    struct spy_push *p = NULL;
    struct spy_push_result r = {0};
    uint8_t body[64];
    const struct spy_agent_config *c = &d->config;
    struct spy_push_options o = {.url = c->collector.url,
                                 .ca_file = c->collector.ca_file,
                                 .token_file = c->collector.token_file,
                                 .cert_file = c->collector.cert_file,
                                 .key_file = c->collector.key_file,
                                 .timeout_ns = 15 * SPY_NS_PER_SEC};
    if (!o.url) {
        SPY_DOCTOR_SAY(d, "none is configured");
        SPY_DOCTOR_CURE(d, "set collector.url, or use podspy agent --collector URL");
        return SPY_DOCTOR_NOTE;
    }
    if (spy_push_check_url(o.url, &err) < 0 || spy_push_new(&o, &p, &err) < 0) {
        SPY_DOCTOR_SAY(d, "%s", err.msg);
        return SPY_DOCTOR_NO;
    }
    spy_push_send(p, body, ZSTD_compress(body, sizeof body, "", 0, 1), &r);
    spy_push_free(p);
    if (r.outcome == SPY_PUSH_STORED || r.outcome == SPY_PUSH_REJECTED) {
        SPY_DOCTOR_SAY(d, "%.200s takes profiles of this agent", o.url);
        return SPY_DOCTOR_OK;
    }
    SPY_DOCTOR_SAY(d, "%.120s: %s", o.url, r.reason);
    SPY_DOCTOR_CURE(d, "%s", cure_of(&r));
    return SPY_DOCTOR_NO;
}

// Whether the folder, or the nearest above it that is there, lets itself be written; makes nothing.
static enum spy_finding spool(struct spy_doctor *d)
{
    char path[4096];
    const char *dir = d->config.push.spool_dir;
    snprintf(path, sizeof path, "%s", dir);
    int r = access(path, W_OK | X_OK);
    for (char *slash; r < 0 && errno == ENOENT && (slash = strrchr(path, '/'));) {
        slash[slash == path] = 0;
        r = access(path, W_OK | X_OK);
    }
    SPY_DOCTOR_SAY(d, "%.300s %s%s", dir, r ? "cannot be written: " : "can be written",
                   r ? strerror(errno) : "");
    if (r == 0)
        return SPY_DOCTOR_OK;
    SPY_DOCTOR_CURE(d,
                    "make the folder writable for user %u, or set push.spool_dir (Kubernetes: the "
                    "volume `spool`)",
                    geteuid());
    return SPY_DOCTOR_NO;
}

const struct spy_doctor_check spy_doctor_agent[] = {
    {"configuration", configuration},
    {"capability", capability},
    {"Yama", yama},
    {"system call", system_call},
    {"PID namespace", pid_namespace},
    {"/proc", proc},
    {"Docker", docker},
    {"Kubernetes", kubernetes},
    {"collector", collector},
    {"spool", spool},
};
const size_t spy_doctor_n_agent = SPY_COUNT(spy_doctor_agent);
