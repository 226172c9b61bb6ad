// A hostile module of a target: the same bytes as what its segments are in memory and as its file.
#include "../fuzz.h"
#include "agent/target/still.h"
#include "agent/target/symbols.h"
#include <elf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BASE = 0x40000000, LOADS_MAX = 8 };

static const char *const names[] = {"_PyRuntime", "Py_Version", "interp_head", "x"};

// Maps the file as its program headers ask for; without any that make sense, as one piece.
static int add_segments(struct spy_still *s, const uint8_t *data, size_t size)
{
    Elf64_Ehdr eh;
    Elf64_Phdr ph;
    struct spy_still_piece p = {.start = BASE, .end = BASE + size, .bytes = data};
    if (size < sizeof eh)
        return spy_still_add_piece(s, &p);
    memcpy(&eh, data, sizeof eh);
    int r = 0, n = 0;
    for (size_t i = 0; r == 0 && i < eh.e_phnum && n < LOADS_MAX; i++) {
        uint64_t at = eh.e_phoff + i * sizeof ph;
        if (at > size || size - at < sizeof ph)
            break;
        memcpy(&ph, data + at, sizeof ph);
        if (ph.p_type != PT_LOAD || ph.p_offset > size || ph.p_filesz > size - ph.p_offset ||
            ph.p_vaddr > 1 << 24)
            continue;
        p = (struct spy_still_piece){.start = BASE + ph.p_vaddr,
                                     .end = BASE + ph.p_vaddr + ph.p_filesz,
                                     .bytes = data + ph.p_offset};
        r = spy_still_add_piece(s, &p);
        n++;
    }
    return n || r < 0 ? r : spy_still_add_piece(s, &p);
}

static void in_memory(const uint8_t *data, size_t size)
{
    struct spy_still *s = spy_still_new();
    struct spy_target *t;
    struct spy_module *mods = NULL;
    size_t n = 0;
    struct spy_mapping m = {.start = BASE, .end = BASE + (1 << 25), .readable = true};
    if (!s || spy_maps_add(&s->maps, &m, "/python") < 0 || add_segments(s, data, size) < 0 ||
        spy_still_settle(s) < 0) {
        spy_still_free(s);
        return;
    }
    s->zero_fill = true;
    if (spy_target_of_still(s, &t) < 0)
        return;
    spy_modules(&s->maps, &mods, &n);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            uint64_t addr;
            spy_module_symbol(t, &mods[i], names[k], &addr);
        }
    free(mods);
    spy_target_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1); // so that a read past it is seen
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    in_memory(copy, size);
    free(copy);
    int fd = memfd_create("module", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        uint64_t value;
        spy_symbols_of_file(fd, names[k], &value);
    }
    close(fd);
    return 0;
}
