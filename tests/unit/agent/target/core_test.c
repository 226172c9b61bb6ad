// Core files: what they hold is read back, what they leave out comes only from the file that was
// mapped, and what makes no sense is refused.
#include "agent/target/core.h"
#include "agent/target/maps_load.h"
#include "agent/target/still.h"
#include "agent/target/threads.h"
#include "shared/base/mem.h"
#include "tests/unit/test.h"
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <unistd.h>

enum { PAGE = 4096, A = 0x10000, LOADS = 4 };

struct made {
    Elf64_Ehdr eh;
    Elf64_Phdr note, load[LOADS];
    uint8_t notes[4096];
    uint8_t memory[LOADS][PAGE];
};

static void put_note(struct made *m, uint32_t type, const void *desc, size_t len)
{
    Elf64_Nhdr n = {.n_namesz = 5, .n_descsz = (uint32_t)len, .n_type = type};
    uint8_t *at = m->notes + m->note.p_filesz;
    memcpy(at, &n, sizeof n);
    memcpy(at + sizeof n, "CORE\0\0\0", 8);
    memcpy(at + sizeof n + 8, desc, len);
    m->note.p_filesz += sizeof n + 8 + (len + 3) / 4 * 4;
}

static void put_file(struct made *m, uint64_t start, uint64_t pages, const char *path)
{
    uint64_t words[5] = {1, PAGE, start, start + pages * PAGE, 0};
    char desc[512];
    memcpy(desc, words, sizeof words);
    memcpy(desc + sizeof words, path, strlen(path) + 1);
    put_note(m, NT_FILE, desc, sizeof words + strlen(path) + 1);
}

// Pages at A, A + 1 page, A + 4 pages; the last is longer than what is in the file.
static struct made *make(void)
{
    struct made *m = calloc(1, sizeof *m);
    assert_non_null(m);
    memcpy(m->eh.e_ident, ELFMAG, SELFMAG);
    m->eh.e_ident[EI_CLASS] = ELFCLASS64;
    m->eh.e_ident[EI_DATA] = ELFDATA2LSB;
    m->eh.e_type = ET_CORE;
#if defined(__x86_64__)
    m->eh.e_machine = EM_X86_64;
#else
    m->eh.e_machine = EM_AARCH64;
#endif
    m->eh.e_phoff = offsetof(struct made, note);
    m->eh.e_phentsize = sizeof(Elf64_Phdr);
    m->eh.e_phnum = 1 + LOADS;
    m->note = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = offsetof(struct made, notes)};
    static const uint64_t at[LOADS] = {A, A + PAGE, A + 4 * PAGE, A + 8 * PAGE};
    for (int i = 0; i < LOADS; i++) {
        m->load[i] = (Elf64_Phdr){.p_type = PT_LOAD,
                                  .p_flags = PF_R | PF_W,
                                  .p_offset = offsetof(struct made, memory) + (size_t)i * PAGE,
                                  .p_vaddr = at[i],
                                  .p_filesz = PAGE,
                                  .p_memsz = PAGE};
        memset(m->memory[i], 'a' + i, PAGE);
    }
    m->load[2].p_memsz = 2 * PAGE;
    struct elf_prstatus st = {.pr_pid = 77, .pr_cursig = 11};
    struct elf_prpsinfo ps = {.pr_pid = 70};
    memcpy(ps.pr_psargs, "python \x1b[2Jx.py ", 15);
    put_note(m, NT_PRSTATUS, &st, sizeof st);
    st.pr_pid = 70;
    st.pr_cursig = 0;
    put_note(m, NT_PRSTATUS, &st, sizeof st);
    put_note(m, NT_PRPSINFO, &ps, sizeof ps);
    return m;
}

static int open_made(struct made *m, size_t size, struct spy_target **t, struct spy_core *core,
                     struct spy_err *err)
{
    int fd = memfd_create("core", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, m, size), size);
    free(m);
    return spy_core_open_fd(fd, "made", t, core, err);
}

static void bytes_and_threads_are_those_of_the_core(void **state)
{
    (void)state;
    struct spy_target *t;
    struct spy_core core;
    struct spy_err err;
    assert_int_equal(open_made(make(), sizeof(struct made), &t, &core, &err), 0);
    assert_int_equal(core.pid, 70);
    assert_int_equal(core.signal, 11);
    assert_string_equal(core.args, "python  [2Jx.py");
    assert_int_equal(core.cut_bytes, 0);
    assert_false(spy_target_is_live(t));
    assert_int_equal(spy_target_pid(t), 70);

    char got[8] = "";
    assert_int_equal(spy_target_read(t, A + PAGE - 2, got, 4), 0);
    assert_string_equal(got, "aabb");
    assert_int_equal(spy_target_read(t, A + 2 * PAGE - 2, got, 4), SPY_ERR_TORN);
    assert_int_equal(spy_target_read(t, A + 5 * PAGE, got, 1), SPY_ERR_TORN); // not in the file
    assert_int_equal(spy_target_read(t, A - 1, got, 2), SPY_ERR_TORN);
    assert_int_equal(spy_target_read(t, UINT64_MAX - 1, got, 4), SPY_ERR_TORN);
    struct spy_span spans[] = {{A, got, 1}, {A + 4 * PAGE, got + 1, 1}, {A + 3 * PAGE, got, 1}};
    size_t done = 9;
    assert_int_equal(spy_target_read_spans(t, spans, 3, &done), SPY_ERR_TORN);
    assert_int_equal(done, 2);
    assert_memory_equal(got, "ac", 2);

    struct spy_tid *tids;
    size_t n;
    assert_int_equal(spy_threads_list(t, &tids, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(tids[0].tid, 70);
    assert_int_equal(tids[1].ns_tid, 77);
    free(tids);
    struct spy_thread_probe probe;
    struct spy_thread_state doing;
    spy_thread_probe_init(&probe, t, 70);
    assert_int_equal(spy_thread_probe_state(&probe, &doing), SPY_ERR_NOTFOUND);
    struct spy_maps maps = {0};
    assert_int_equal(spy_maps_load(t, &maps, &err), 0);
    assert_int_equal(maps.n, LOADS);
    assert_int_equal(maps.list[2].end - maps.list[2].start, 2 * PAGE);
    spy_maps_free(&maps);
    spy_target_free(t);
}

// A made-up core that names any file of this machine must not have it read.
static void only_the_mapped_file_is_read(void **state)
{
    (void)state;
    char self[256];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = 0;
    const char *paths[] = {self, "/etc/passwd", "/dev/zero", "/nowhere", "relative"};
    for (size_t i = 0; i < SPY_COUNT(paths); i++) {
        for (int same = 0; same < 2; same++) {
            struct made *m = make();
            put_file(m, A + 8 * PAGE, 2, paths[i]);
            int fd = open(paths[i], O_RDONLY);
            if (same && fd >= 0)
                assert_true(pread(fd, m->memory[3], PAGE, 0) > 0);
            uint8_t there[16] = "", got[16];
            if (fd >= 0) {
                assert_true(pread(fd, there, sizeof there, PAGE) >= 0);
                close(fd);
            }
            struct spy_target *t;
            struct spy_core core;
            struct spy_err err;
            assert_int_equal(open_made(m, sizeof *m, &t, &core, &err), 0);
            int r = spy_target_read(t, A + 9 * PAGE, got, sizeof got);
            if (same && i == 0) {
                assert_int_equal(r, 0);
                assert_memory_equal(got, there, sizeof got);
                assert_string_equal(spy_core_missing(t).path, "");
            } else {
                assert_int_equal(r, SPY_ERR_TORN);
            }
            if (!same && i == 0)
                assert_string_equal(spy_core_missing(t).path, "");
            spy_target_free(t);
        }
    }
}

static void truncation_is_reported(void **state)
{
    (void)state;
    struct spy_target *t;
    struct spy_core core;
    struct spy_err err;
    char got[2];
    assert_int_equal(open_made(make(), sizeof(struct made) - PAGE - 100, &t, &core, &err), 0);
    assert_int_equal(core.cut_bytes, PAGE + 100);
    assert_int_equal(spy_target_read(t, A + 4 * PAGE, got, 2), 0);
    assert_int_equal(spy_target_read(t, A + 5 * PAGE - 100, got, 1), SPY_ERR_TORN);
    assert_int_equal(spy_target_read(t, A + 8 * PAGE, got, 1), SPY_ERR_TORN);
    spy_target_free(t);
}

static void refuse(struct made *m, int code, const char *why)
{
    struct spy_target *t = NULL;
    struct spy_core core;
    struct spy_err err = {0};
    assert_int_equal(open_made(m, sizeof *m, &t, &core, &err), code);
    assert_null(t);
    if (!strstr(err.msg, why))
        fail_msg("%s: not %s", err.msg, why);
}

static void a_malformed_core_is_refused(void **state)
{
    (void)state;
    struct made *m = make();
    m->load[1].p_vaddr = A + 1;
    refuse(m, SPY_ERR_INVALID, "overlap");
    m = make();
    m->load[1].p_memsz = UINT64_MAX;
    refuse(m, SPY_ERR_INVALID, "impossible size");
    m = make();
    m->load[1].p_offset = UINT64_MAX - 1;
    refuse(m, SPY_ERR_INVALID, "impossible size");
    m = make();
    m->eh.e_phnum = 60000;
    refuse(m, SPY_ERR_INVALID, "ends before its program headers");
    m = make();
    m->eh.e_phnum = PN_XNUM;
    m->eh.e_shoff = offsetof(struct made, memory);
    refuse(m, SPY_ERR_LIMIT, "segments");
    m = make();
    m->note.p_filesz += UINT64_MAX / 2;
    refuse(m, SPY_ERR_INVALID, "ends before its notes");
    m = make();
    m->note.p_filesz = 0;
    refuse(m, SPY_ERR_INVALID, "of what process");
    m = make();
    put_note(m, NT_PRSTATUS, "short", 5);
    refuse(m, SPY_ERR_INVALID, "thread makes no sense");
    m = make();
    uint64_t files[2] = {1ull << 60, PAGE};
    put_note(m, NT_FILE, files, sizeof files);
    refuse(m, SPY_ERR_INVALID, "mapped files makes no sense");
    m = make();
    for (int i = 0; i < LOADS; i++)
        m->load[i].p_filesz = 0;
    refuse(m, SPY_ERR_INVALID, "holds no memory");
}

RUN(T(bytes_and_threads_are_those_of_the_core), T(only_the_mapped_file_is_read),
    T(truncation_is_reported), T(a_malformed_core_is_refused))
