#include "agent/target/rights.h"
#include "agent/target/memory.h"
#include "shared/base/buf.h"
#include "shared/base/file.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { STATUS_MAX = 1 << 20, MOUNTS_MAX = 1 << 20 }; // a status lists up to 65536 groups
#define INITIAL_USER_NAMESPACE "user:[4026531837]"   // PROC_USER_INIT_INO of the kernel

// linux/capability.h, in its order.
static const char *const capability_names[] = {"CHOWN",
                                               "DAC_OVERRIDE",
                                               "DAC_READ_SEARCH",
                                               "FOWNER",
                                               "FSETID",
                                               "KILL",
                                               "SETGID",
                                               "SETUID",
                                               "SETPCAP",
                                               "LINUX_IMMUTABLE",
                                               "NET_BIND_SERVICE",
                                               "NET_BROADCAST",
                                               "NET_ADMIN",
                                               "NET_RAW",
                                               "IPC_LOCK",
                                               "IPC_OWNER",
                                               "SYS_MODULE",
                                               "SYS_RAWIO",
                                               "SYS_CHROOT",
                                               "SYS_PTRACE",
                                               "SYS_PACCT",
                                               "SYS_ADMIN",
                                               "SYS_BOOT",
                                               "SYS_NICE",
                                               "SYS_RESOURCE",
                                               "SYS_TIME",
                                               "SYS_TTY_CONFIG",
                                               "MKNOD",
                                               "LEASE",
                                               "AUDIT_WRITE",
                                               "AUDIT_CONTROL",
                                               "SETFCAP",
                                               "MAC_OVERRIDE",
                                               "MAC_ADMIN",
                                               "SYSLOG",
                                               "WAKE_ALARM",
                                               "BLOCK_SUSPEND",
                                               "AUDIT_READ",
                                               "PERFMON",
                                               "BPF",
                                               "CHECKPOINT_RESTORE"};

const char *spy_capability_name(unsigned bit)
{
    return bit < SPY_COUNT(capability_names) ? capability_names[bit] : NULL;
}

// --- /proc ---

// /proc/self has podspy's pid in the PID namespace of that procfs, and is missing where podspy is
// not in that namespace.
bool spy_proc_is_ours(void)
{
    char link[16] = "";
    ssize_t n = readlink("/proc/self", link, sizeof link - 1);
    if (n < 0)
        return errno != ENOENT || access("/proc/1", F_OK) < 0;
    return strtol(link, NULL, 10) == getpid();
}

static enum spy_proc_mount look_at_proc(void)
{
    struct statfs fs;
    struct stat here, above;
    if (statfs("/proc", &fs) == 0 && (unsigned long)fs.f_type == PROC_SUPER_MAGIC)
        return spy_proc_is_ours() ? SPY_PROC_OURS : SPY_PROC_FOREIGN;
    bool mounted =
        stat("/proc", &here) == 0 && stat("/", &above) == 0 && here.st_dev != above.st_dev;
    return mounted ? SPY_PROC_STRANGE : SPY_PROC_MISSING;
}

static bool in_group(gid_t gid)
{
    int n = getgroups(0, NULL);
    _cleanup_free_ gid_t *list = n > 0 ? calloc((size_t)n, sizeof *list) : NULL;
    n = list ? getgroups(n, list) : 0;
    for (int i = 0; i < n; i++)
        if (list[i] == gid)
            return true;
    return getegid() == gid;
}

// The options of the uppermost mount at /proc: the last word of its line in mountinfo (proc(5)).
static void find_proc_options(const char *mountinfo, char *out, size_t size)
{
    out[0] = 0;
    for (const char *line = mountinfo; *line;) {
        size_t n = strcspn(line, "\n");
        char one[1024], at[256], kind[32];
        snprintf(one, sizeof one, "%.*s", (int)(n < sizeof one ? n : sizeof one - 1), line);
        const char *rest = strstr(one, " - ");
        if (rest && sscanf(one, "%*s %*s %*s %*s %255s", at) == 1 && !strcmp(at, "/proc") &&
            sscanf(rest, " - %31s", kind) == 1 && !strcmp(kind, "proc"))
            snprintf(out, size, "%s", strrchr(one, ' ') + 1);
        line += n + (line[n] == '\n');
    }
}

static enum spy_hidepid hidepid_of(char *options)
{
    static const struct {
        const char *text;
        enum spy_hidepid value;
    } words[] = {{"1", SPY_HIDEPID_NOACCESS},   {"noaccess", SPY_HIDEPID_NOACCESS},
                 {"2", SPY_HIDEPID_INVISIBLE},  {"invisible", SPY_HIDEPID_INVISIBLE},
                 {"4", SPY_HIDEPID_PTRACEABLE}, {"ptraceable", SPY_HIDEPID_PTRACEABLE}};
    enum spy_hidepid found = SPY_HIDEPID_OFF;
    gid_t excepted = 0;
    for (char *option; (option = strsep(&options, ","));) {
        if (!strncmp(option, "gid=", strlen("gid=")))
            excepted = (gid_t)strtoul(option + strlen("gid="), NULL, 10);
        for (size_t i = 0; i < SPY_COUNT(words); i++)
            if (!strncmp(option, "hidepid=", strlen("hidepid=")) &&
                !strcmp(option + strlen("hidepid="), words[i].text))
                found = words[i].value;
    }
    return found == SPY_HIDEPID_PTRACEABLE || !in_group(excepted) ? found : SPY_HIDEPID_OFF;
}

static enum spy_hidepid look_for_hidepid(void)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(MOUNTS_MAX);
    char options[256];
    if (spy_file_read(AT_FDCWD, "/proc/self/mountinfo", &text, NULL) < 0)
        return SPY_HIDEPID_OFF;
    find_proc_options(spy_buf_str(&text), options, sizeof options);
    return hidepid_of(options);
}

// --- ourselves ---

static uint64_t effective_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    if (syscall(SYS_capget, &head, data) < 0)
        return 0;
    return (uint64_t)data[1].effective << 32 | data[0].effective;
}

static bool is_initial_userns(void)
{
    char link[64] = "";
    ssize_t n = readlink("/proc/self/ns/user", link, sizeof link - 1);
    return n < 0 || !strcmp(link, INITIAL_USER_NAMESPACE);
}

static int yama_scope(void)
{
    char text[16] = "";
    if (spy_file_read_small(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", text, sizeof text) < 0)
        return access("/proc/sys/kernel/ostype", F_OK) == 0 ? 0 : SPY_YAMA_UNKNOWN;
    return text[0] >= '0' && text[0] <= '9' ? text[0] - '0' : SPY_YAMA_UNKNOWN; // one digit
}

static int read_ourselves(bool *ret_reads_files)
{
    long here = 1, there = 0;
    struct iovec to = {&there, sizeof there}, from = {&here, sizeof here};
    *ret_reads_files = false;
    if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) >= 0)
        return 0;
    int sys = errno;
    _cleanup_close_ int mem_fd = -1;
    _cleanup_close_ int proc_fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret_reads_files =
        proc_fd >= 0 && spy_memory_read(getpid(), proc_fd, &mem_fd, &to, &from, 1) >= 0;
    return *ret_reads_files ? 0 : sys;
}

// ptrace of process 0 fails in any case; a seccomp filter answers before the kernel looks for it.
static int trace_nobody(void)
{
    return ptrace(PTRACE_DETACH, 0, NULL, NULL) < 0 && errno != ESRCH ? errno : 0;
}

// The domain that AppArmor or SELinux confines a process to; "": none. Both modules show it in
// attr/current; where modules are stacked, only AppArmor's own file is certain to be AppArmor's.
static void read_label(int proc_fd, char out[static SPY_LABEL_BYTES])
{
    static const char *const files[] = {"attr/apparmor/current", "attr/current"};
    char text[256] = "";
    out[0] = 0;
    for (size_t i = 0; i < SPY_COUNT(files) && !text[0]; i++)
        if (spy_file_read_small(proc_fd, files[i], text, sizeof text) < 0)
            text[0] = 0;
    text[strcspn(text, "\n")] = 0;
    if (text[0] && !strstr(text, "unconfined") && strcmp(text, "kernel") != 0)
        snprintf(out, SPY_LABEL_BYTES, "%.*s", SPY_LABEL_BYTES - 1, text);
}

void spy_rights_load(struct spy_rights *ret)
{
    *ret = (struct spy_rights){.proc = look_at_proc(),
                               .hidepid = look_for_hidepid(),
                               .uid = getuid(),
                               .gid = getgid(),
                               .capabilities = effective_capabilities(),
                               .may_get_trace = prctl(PR_CAPBSET_READ, CAP_SYS_PTRACE) == 1,
                               .no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1,
                               .initial_userns = is_initial_userns(),
                               .yama = yama_scope(),
                               .seccomp = prctl(PR_GET_SECCOMP) > 0,
                               .trace_errno = trace_nobody()};
    ret->read_errno = read_ourselves(&ret->reads_files);
    ret->can_trace = ret->capabilities >> CAP_SYS_PTRACE & 1;
    _cleanup_close_ int self = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (self >= 0)
        read_label(self, ret->label);
}

// --- another process ---

// The text after "\nNAME:\t"; NULL: the field is missing. A process cannot forge a field by its
// name: the kernel escapes newlines there.
static const char *find_line(const char *status, const char *name)
{
    char mark[32];
    snprintf(mark, sizeof mark, "\n%s:\t", name);
    const char *at = strstr(status, mark);
    return at ? at + strlen(mark) : NULL;
}

static bool read_process_status(int proc_fd, struct spy_guard *g)
{
    _cleanup_buf_ struct spy_buf text = SPY_BUF_INIT(STATUS_MAX);
    if (spy_file_read(proc_fd, "status", &text, NULL) < 0)
        return false;
    const char *status = spy_buf_str(&text);
    const char *state = find_line(status, "State"), *threads = find_line(status, "Threads"),
               *uids = find_line(status, "Uid"), *gids = find_line(status, "Gid"),
               *tracer = find_line(status, "TracerPid"), *caps = find_line(status, "CapPrm");
    if (!state || !threads || !uids || !gids || !tracer || !caps ||
        sscanf(uids, "%u %u %u", &g->uid[0], &g->uid[1], &g->uid[2]) != 3 ||
        sscanf(gids, "%u %u %u", &g->gid[0], &g->gid[1], &g->gid[2]) != 3)
        return false;
    g->state = *state;
    g->threads = (uint32_t)strtoul(threads, NULL, 10);
    g->tracer = (pid_t)strtol(tracer, NULL, 10);
    g->capabilities = strtoull(caps, NULL, 16);
    return true;
}

// The flags, field 9 of stat: the seventh after the name, which stands in parentheses.
static bool is_kernel_thread(pid_t pid, int proc_fd)
{
    enum { FLAGS_AFTER_NAME = 7, KTHREAD = 0x00200000 }; // PF_KTHREAD, linux/sched.h
    char name[32], text[1024];
    snprintf(name, sizeof name, "task/%d/stat", (int)pid); // the process's sums up all threads
    if (spy_file_read_small(proc_fd, name, text, sizeof text) < 0)
        return false;
    char *at = strrchr(text, ')');
    for (int i = 0; at && i < FLAGS_AFTER_NAME; i++)
        at = strchr(at + 1, ' ');
    return at && strtoul(at + 1, NULL, 10) & KTHREAD;
}

// uid_map is world-readable and numbered as the reader sees it, so two processes of one user
// namespace have the same text.
static bool is_in_other_userns(int proc_fd)
{
    char ours[1024] = "", its[1024] = "";
    if (spy_file_read_small(AT_FDCWD, "/proc/self/uid_map", ours, sizeof ours) < 0 ||
        spy_file_read_small(proc_fd, "uid_map", its, sizeof its) < 0)
        return false;
    return strcmp(ours, its) != 0;
}

// The files of a process that is not dumpable belong to root of its user namespace (proc(5)). So
// the owner shows nothing for a process of root, nor for a user namespace that numbers users
// otherwise.
static enum spy_known is_dumpable(int proc_fd, const struct spy_guard *g)
{
    struct stat st;
    if (g->kernel || g->state == 'Z' || fstatat(proc_fd, "stat", &st, 0) < 0)
        return SPY_UNKNOWN;
    if (st.st_uid != g->uid[1])
        return SPY_NO;
    return g->uid[1] == 0 || g->other_userns ? SPY_UNKNOWN : SPY_YES;
}

static bool is_refusal(int sys)
{
    return sys == EPERM || sys == EACCES || sys == ENOSYS;
}

// No process can map the last page of the address space: an allowed read fails with EFAULT.
static int try_read(pid_t pid, int proc_fd)
{
    char byte;
    _cleanup_close_ int mem_fd = -1;
    struct iovec to = {&byte, 1}, from = {(void *)(UINTPTR_MAX - 4095), 1}; // NOLINT
    ssize_t n = spy_memory_read(pid, proc_fd, &mem_fd, &to, &from, 1);
    return n < 0 && is_refusal(errno) ? errno : 0;
}

void spy_guard_load(pid_t pid, int proc_fd, struct spy_guard *ret)
{
    _cleanup_close_ int own = -1;
    char path[32], link[64];
    *ret = (struct spy_guard){.dumpable = SPY_UNKNOWN};
    ret->exists = kill(pid, 0) == 0 || errno == EPERM;
    if (proc_fd < 0) {
        snprintf(path, sizeof path, "/proc/%d", (int)pid);
        proc_fd = own = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    ret->read_errno = try_read(pid, proc_fd);
    if (proc_fd < 0)
        return;
    ret->seen = true;
    if (readlinkat(proc_fd, "ns/user", link, sizeof link) < 0 && is_refusal(errno))
        ret->look_errno = errno;
    ret->known = read_process_status(proc_fd, ret);
    ret->kernel = is_kernel_thread(pid, proc_fd);
    ret->other_userns = is_in_other_userns(proc_fd);
    ret->dumpable = is_dumpable(proc_fd, ret);
    read_label(proc_fd, ret->label);
}
