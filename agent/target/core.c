#include "agent/target/core.h"
#include "agent/target/still.h"
#include "shared/base/mem.h"
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64 };
#else
enum { MACHINE = EM_AARCH64 };
#endif
enum { PHDRS_MAX = SPY_STILL_PIECES_MAX + 64 };

SPY_CLEANUP(still_done, struct spy_still, spy_still_free)

// The file that is being read.
struct reader {
    unsigned n_notes; // of the whole file
    struct spy_still *still;
    const char *name;
    uint64_t size; // of the file
    Elf64_Phdr *ph;
    size_t n_ph;
    struct spy_core core;
    bool has_status, has_info;
};

static int read_core_bytes(const struct reader *rd, uint64_t at, void *to, size_t len)
{
    if (at > rd->size || len > rd->size - at)
        return SPY_ERR_TORN;
    ssize_t n = len ? pread(rd->still->fd, to, len, (off_t)at) : 0;
    return n >= 0 && (size_t)n == len ? 0 : SPY_ERR_TORN;
}

static int refuse_damaged(const struct reader *rd, const char *what, struct spy_err *err)
{
    return spy_err_set(err, SPY_ERR_INVALID, 0, "%s is a damaged core file: %s", rd->name, what);
}

static int not_core(const struct reader *rd, const uint8_t *start, struct spy_err *err)
{
    static const struct {
        const char *magic, *tool;
    } packed[] = {{"\x28\xb5\x2f\xfd", "zstd -d"},
                  {"\x04\x22\x4d\x18", "lz4 -d"},
                  {"\x1f\x8b", "gzip -d"},
                  {"\xfd"
                   "7zXZ",
                   "xz -d"}};
    for (size_t i = 0; i < SPY_COUNT(packed); i++)
        if (!memcmp(start, packed[i].magic, strlen(packed[i].magic)))
            return spy_err_set(err, SPY_ERR_INVALID, 0, "%s is compressed: unpack it first (%s)",
                               rd->name, packed[i].tool);
    return spy_err_set(err, SPY_ERR_INVALID, 0, "%s is not an ELF core file; gcore PID writes one",
                       rd->name);
}

static int check_header(const struct reader *rd, const Elf64_Ehdr *eh, struct spy_err *err)
{
    if (memcmp(eh->e_ident, ELFMAG, SELFMAG))
        return not_core(rd, eh->e_ident, err);
    if (eh->e_ident[EI_DATA] == ELFDATA2LSB && eh->e_type != ET_CORE)
        return spy_err_set(err, SPY_ERR_INVALID, 0,
                           "%s is an ELF file, but not a core file of a process", rd->name);
    if (eh->e_ident[EI_CLASS] != ELFCLASS64 || eh->e_ident[EI_DATA] != ELFDATA2LSB ||
        eh->e_machine != MACHINE)
        return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                           "%s is a core file of another kind of machine (ELF machine %u, class "
                           "%u); this build reads those of its own",
                           rd->name, eh->e_machine, eh->e_ident[EI_CLASS]);
    if (eh->e_phentsize != sizeof(Elf64_Phdr))
        return refuse_damaged(rd, "its program headers have another size", err);
    return 0;
}

// More than 65534 program headers are counted in the first section header (elf(5), PN_XNUM).
static int count_headers(struct reader *rd, const Elf64_Ehdr *eh, struct spy_err *err)
{
    Elf64_Shdr sh;
    rd->n_ph = eh->e_phnum;
    if (eh->e_phnum == PN_XNUM) {
        if (read_core_bytes(rd, eh->e_shoff, &sh, sizeof sh) < 0)
            return refuse_damaged(rd, "it does not tell its number of segments", err);
        rd->n_ph = sh.sh_info;
    }
    if (!rd->n_ph)
        return refuse_damaged(rd, "it has no segments", err);
    if (rd->n_ph > PHDRS_MAX)
        return spy_err_set(err, SPY_ERR_LIMIT, 0, "%s has more than %d segments", rd->name,
                           PHDRS_MAX);
    return 0;
}

static int read_headers(struct reader *rd, struct spy_err *err)
{
    Elf64_Ehdr eh = {0};
    struct stat st;
    if (fstat(rd->still->fd, &st) < 0)
        return spy_err_set(err, SPY_ERR_IO, errno, "cannot look at %s", rd->name);
    if (!S_ISREG(st.st_mode))
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%s is not a regular file", rd->name);
    rd->size = (uint64_t)st.st_size;
    if (read_core_bytes(rd, 0, &eh, sizeof eh) < 0)
        return spy_err_set(err, SPY_ERR_INVALID, 0, "%s is not an ELF core file: too short",
                           rd->name);
    int r = check_header(rd, &eh, err);
    if (r == 0)
        r = count_headers(rd, &eh, err);
    if (r < 0)
        return r;
    rd->ph = calloc(rd->n_ph, sizeof *rd->ph);
    if (!rd->ph)
        return spy_err_nomem(err);
    if (read_core_bytes(rd, eh.e_phoff, rd->ph, rd->n_ph * sizeof *rd->ph) < 0)
        return refuse_damaged(rd, "it ends before its program headers do", err);
    return 0;
}

// --- notes ---

static int note_status(struct reader *rd, uint64_t at, uint64_t len)
{
    struct elf_prstatus s;
    if (len < offsetof(struct elf_prstatus, pr_reg))
        return SPY_ERR_TORN;
    int r = read_core_bytes(rd, at, &s, offsetof(struct elf_prstatus, pr_reg));
    if (r < 0)
        return r;
    if (!rd->has_status) {
        rd->core.signal = s.pr_cursig;
        rd->core.pid = rd->has_info ? rd->core.pid : s.pr_pid;
    }
    rd->has_status = true;
    return s.pr_pid > 0 ? spy_still_add_tid(rd->still, s.pr_pid) : 0;
}

static int note_info(struct reader *rd, uint64_t at, uint64_t len)
{
    struct elf_prpsinfo p;
    if (len < sizeof p)
        return SPY_ERR_TORN;
    int r = read_core_bytes(rd, at, &p, sizeof p);
    if (r < 0)
        return r;
    rd->has_info = true;
    rd->core.pid = p.pr_pid;
    size_t n = strnlen(p.pr_psargs, sizeof p.pr_psargs);
    while (n && p.pr_psargs[n - 1] == ' ')
        n--;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p.pr_psargs[i];
        rd->core.args[i] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    rd->core.args[n] = 0;
    return 0;
}

static int note_signal(struct reader *rd, uint64_t at, uint64_t len)
{
    int32_t signo = 0;
    if (len < sizeof signo || read_core_bytes(rd, at, &signo, sizeof signo) < 0)
        return SPY_ERR_TORN;
    if (!rd->core.signal && signo > 0 && signo <= SIGRTMAX)
        rd->core.signal = signo;
    return 0;
}

// One file mapping; neighbours of one path share one file.
static int add_file(struct spy_still *s, const uint64_t range[3], uint64_t page, const char *path)
{
    struct spy_mapping m = {.start = range[0], .end = range[1], .readable = true};
    const struct spy_mapping *last = s->maps.n ? &s->maps.list[s->maps.n - 1] : NULL;
    if (range[1] <= range[0] || (page && range[2] > INT64_MAX / page))
        return SPY_ERR_TORN;
    m.offset = range[2] * page;
    bool same = last && !strcmp(spy_maps_path(&s->maps, last), path);
    int r = 0;
    if (!same)
        r = spy_grow(&s->files, &s->cap_files, s->n_files + 1, sizeof *s->files, SPY_MAPS_MAX);
    if (r == 0 && !same)
        s->files[s->n_files++] = SPY_STILL_UNTRIED;
    m.inode = s->n_files;
    return r == 0 ? spy_maps_add(&s->maps, &m, path) : r;
}

// count, page size, count * {start, end, offset in pages}, count texts (fs/binfmt_elf.c,
// fill_files_note).
static int note_files(struct reader *rd, uint64_t at, uint64_t len)
{
    uint64_t head[2], range[3];
    if (len < sizeof head || len > SPY_CORE_FILES_BYTES_MAX || rd->still->maps.n)
        return SPY_ERR_TORN;
    _cleanup_free_ char *bytes = malloc((size_t)len + 1);
    if (!bytes)
        return SPY_ERR_NOMEM;
    int r = read_core_bytes(rd, at, bytes, (size_t)len);
    if (r < 0)
        return r;
    bytes[len] = 0;
    memcpy(head, bytes, sizeof head);
    if (head[0] > (len - sizeof head) / sizeof range || head[1] > 1 << 20)
        return SPY_ERR_TORN;
    const char *path = bytes + sizeof head + head[0] * sizeof range, *end = bytes + len;
    for (uint64_t i = 0; r == 0 && i < head[0]; i++) {
        if (path >= end)
            return SPY_ERR_TORN;
        memcpy(range, bytes + sizeof head + i * sizeof range, sizeof range);
        r = add_file(rd->still, range, head[1], path);
        path += strlen(path) + 1;
    }
    return r;
}

static const struct {
    uint32_t type;
    int (*take)(struct reader *rd, uint64_t at, uint64_t len);
    const char *damage;
} note_kinds[] = {
    {NT_PRSTATUS, note_status, "the note of a thread makes no sense"},
    {NT_PRPSINFO, note_info, "the note of the process makes no sense"},
    {NT_SIGINFO, note_signal, "the note of the signal makes no sense"},
    {NT_FILE, note_files, "the list of mapped files makes no sense"},
};

static int take_note(struct reader *rd, const Elf64_Nhdr *n, uint64_t at, struct spy_err *err)
{
    for (size_t i = 0; i < SPY_COUNT(note_kinds); i++) {
        if (note_kinds[i].type != n->n_type)
            continue;
        int r = note_kinds[i].take(rd, at, n->n_descsz);
        if (r == SPY_ERR_TORN)
            return refuse_damaged(rd, note_kinds[i].damage, err);
        if (r < 0)
            return spy_err_set(err, r, 0, "%s has too many threads or mapped files", rd->name);
    }
    return 0;
}

// Those with the name "CORE"; others have types of their own. Many segments may share the same
// notes.
static int read_notes(struct reader *rd, const Elf64_Phdr *ph, struct spy_err *err)
{
    static const char core[] = "CORE";
    uint64_t at = ph->p_offset, end = at + ph->p_filesz;
    if (at > rd->size || ph->p_filesz > rd->size - at)
        return refuse_damaged(rd, "it ends before its notes do", err);
    for (; rd->n_notes < SPY_CORE_NOTES_MAX && end - at >= sizeof(Elf64_Nhdr); rd->n_notes++) {
        Elf64_Nhdr n;
        char name[sizeof core] = "";
        if (read_core_bytes(rd, at, &n, sizeof n) < 0)
            return refuse_damaged(rd, "its notes cannot be read", err);
        uint64_t desc = sizeof n + ((uint64_t)n.n_namesz + 3) / 4 * 4;
        uint64_t whole = desc + ((uint64_t)n.n_descsz + 3) / 4 * 4;
        if (desc + n.n_descsz > end - at)
            return refuse_damaged(rd, "a note is longer than the notes are", err);
        if (n.n_namesz == sizeof core &&
            read_core_bytes(rd, at + sizeof n, name, sizeof name) == 0 &&
            !memcmp(name, core, sizeof core)) {
            int r = take_note(rd, &n, at + desc, err);
            if (r < 0)
                return r;
        }
        if (whole >= end - at)
            break;
        at += whole;
    }
    return 0;
}

// --- segments ---

// A segment is a mapping: one of those that NT_FILE names, or an anonymous one. Its bytes may be
// fewer than it is long, or cut off with the end of the file.
static int add_segment(struct reader *rd, const Elf64_Phdr *ph, size_t n_files, struct spy_err *err)
{
    struct spy_still *s = rd->still;
    if (ph->p_memsz > UINT64_MAX - ph->p_vaddr || ph->p_filesz > UINT64_MAX - ph->p_offset)
        return refuse_damaged(rd, "a segment has an impossible size", err);
    uint64_t there = ph->p_filesz < ph->p_memsz ? ph->p_filesz : ph->p_memsz;
    uint64_t left = ph->p_offset < rd->size ? rd->size - ph->p_offset : 0;
    if (there > left) {
        rd->core.cut_bytes += there - left;
        there = left;
    }
    int r = 0;
    if (there) {
        struct spy_still_piece p = {
            .start = ph->p_vaddr, .end = ph->p_vaddr + there, .at = ph->p_offset};
        r = spy_still_add_piece(s, &p);
    }
    struct spy_mapping m = {.start = ph->p_vaddr,
                            .end = ph->p_vaddr + ph->p_memsz,
                            .readable = ph->p_flags & PF_R,
                            .writable = ph->p_flags & PF_W,
                            .executable = ph->p_flags & PF_X};
    struct spy_maps named = {.list = s->maps.list, .n = n_files};
    struct spy_mapping *known = (struct spy_mapping *)spy_maps_find(&named, ph->p_vaddr);
    if (known) {
        known->readable = m.readable;
        known->writable = m.writable;
        known->executable = m.executable;
    } else if (r == 0 && ph->p_memsz) {
        r = spy_maps_add(&s->maps, &m, "");
    }
    return r < 0 ? spy_err_set(err, r, 0, "%s has too many segments", rd->name) : 0;
}

static int read_segments(struct reader *rd, struct spy_err *err)
{
    struct spy_still *s = rd->still;
    if (spy_still_settle(s) < 0) // only the files yet, so that they can be found by address
        return refuse_damaged(rd, "its mapped files overlap", err);
    size_t n_files = s->maps.n;
    int r = 0;
    for (size_t i = 0; r == 0 && i < rd->n_ph; i++)
        if (rd->ph[i].p_type == PT_LOAD)
            r = add_segment(rd, &rd->ph[i], n_files, err);
    if (r < 0)
        return r;
    if (spy_still_settle(s) < 0)
        return refuse_damaged(rd, "its segments overlap", err);
    return s->n_pieces ? 0 : refuse_damaged(rd, "it holds no memory", err);
}

static int read_core(struct reader *rd, struct spy_err *err)
{
    int r = read_headers(rd, err);
    for (size_t i = 0; r == 0 && i < rd->n_ph; i++)
        if (rd->ph[i].p_type == PT_NOTE)
            r = read_notes(rd, &rd->ph[i], err);
    if (r == 0 && !rd->has_status && !rd->has_info)
        return refuse_damaged(rd, "it does not tell of what process it is", err);
    if (r == 0)
        r = read_segments(rd, err);
    return r;
}

int spy_core_open_fd(int fd, const char *name, struct spy_target **ret, struct spy_core *ret_core,
                     struct spy_err *err)
{
    _cleanup_(still_done) struct spy_still *still = spy_still_new();
    if (!still) {
        close(fd);
        return spy_err_nomem(err);
    }
    still->fd = fd;
    struct reader rd = {.still = still, .name = name};
    int r = read_core(&rd, err);
    free(rd.ph);
    if (r < 0)
        return r;
    still->pid = rd.core.pid;
    r = spy_target_of_still(spy_steal(&still), ret);
    if (r < 0)
        return spy_err_set(err, r, 0, "out of memory");
    *ret_core = rd.core;
    return 0;
}

int spy_core_open(const char *path, const char *sysroot, struct spy_target **ret,
                  struct spy_core *ret_core, struct spy_err *err)
{
    _cleanup_close_ int root = -1;
    if (sysroot && (root = open(sysroot, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
        return spy_err_set(err, SPY_ERR_NOTFOUND, errno, "cannot open the folder %s", sysroot);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        int sys = errno, code = sys == ENOENT ? SPY_ERR_NOTFOUND : spy_code_of_errno(sys);
        return spy_err_set(err, code, sys, "cannot open %s", path);
    }
    int r = spy_core_open_fd(fd, path, ret, ret_core, err);
    if (r == 0) {
        spy_target_still(*ret)->root = root;
        root = -1;
    }
    return r;
}

struct spy_core_missing spy_core_missing(const struct spy_target *t)
{
    const struct spy_still *s = spy_target_still(t);
    if (!s || !s->missing)
        return (struct spy_core_missing){.path = ""};
    return (struct spy_core_missing){s->maps.paths + s->missing, s->missing_differs};
}
