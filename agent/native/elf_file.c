#include "agent/native/elf_file.h"
#include "agent/native/arch.h"
#include "shared/base/mem.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTION_NAMES_MAX = 1 << 20, NOTES_MAX = 4096, PAGE = 4096 };

int spy_elf_get(const struct spy_elf *e, uint64_t at, void *to, size_t len)
{
    if (at > e->size || e->size - at < len)
        return SPY_ERR_INVALID;
    if (e->fd < 0) {
        memcpy(to, e->bytes + at, len);
        return 0;
    }
    for (size_t done = 0; done < len;) { // one call returns at most 2 GiB
        ssize_t n = pread(e->fd, (char *)to + done, len - done, (off_t)(at + done));
        if (n <= 0)
            return SPY_ERR_INVALID;
        done += (size_t)n;
    }
    return 0;
}

int spy_elf_load(const struct spy_elf *e, uint64_t at, uint64_t len, uint64_t max, uint8_t **ret)
{
    if (len > max)
        return SPY_ERR_LIMIT;
    if (at > e->size || e->size - at < len)
        return SPY_ERR_INVALID;
    uint8_t *bytes = malloc(len + 1);
    if (!bytes)
        return SPY_ERR_NOMEM;
    int r = spy_elf_get(e, at, bytes, len);
    if (r < 0) {
        free(bytes);
        return r;
    }
    bytes[len] = 0;
    *ret = bytes;
    return 0;
}

static int load_sections(struct spy_elf *e, const Elf64_Ehdr *eh)
{
    uint8_t *sections, *names;
    const Elf64_Shdr *texts;
    if (!eh->e_shnum || eh->e_shentsize != sizeof *e->sh || eh->e_shnum > SPY_ELF_SECTIONS_MAX ||
        eh->e_shstrndx >= eh->e_shnum)
        return 0; // those that stripped them still have program headers
    int r = spy_elf_load(e, eh->e_shoff, eh->e_shnum * sizeof *e->sh, UINT32_MAX, &sections);
    if (r < 0)
        return r == SPY_ERR_NOMEM ? r : 0;
    texts = (const Elf64_Shdr *)sections + eh->e_shstrndx;
    r = spy_elf_load(e, texts->sh_offset, texts->sh_size, SECTION_NAMES_MAX, &names);
    if (r < 0) {
        free(sections);
        return r == SPY_ERR_NOMEM ? r : 0;
    }
    e->names_len = texts->sh_size;
    e->sh = (Elf64_Shdr *)sections;
    e->n_sh = eh->e_shnum;
    e->names = (char *)names;
    return 0;
}

static int read_elf_headers(struct spy_elf *e)
{
    Elf64_Ehdr eh;
    int r = spy_elf_get(e, 0, &eh, sizeof eh);
    if (r < 0)
        return r;
    if (memcmp(eh.e_ident, ELFMAG, SELFMAG))
        return SPY_ERR_INVALID;
    if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB ||
        eh.e_machine != SPY_ELF_MACHINE)
        return SPY_ERR_UNSUPPORTED;
    if (eh.e_phnum && eh.e_phentsize != sizeof *e->ph)
        return SPY_ERR_INVALID;
    e->n_ph = spy_min(eh.e_phnum, SPY_ELF_PHDRS_MAX);
    r = spy_elf_get(e, eh.e_phoff, e->ph, e->n_ph * sizeof *e->ph);
    return r < 0 ? r : load_sections(e, &eh);
}

int spy_elf_open_fd(int fd, struct spy_elf *ret)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return SPY_ERR_INVALID;
    *ret = (struct spy_elf){.fd = fd, .size = (uint64_t)st.st_size};
    return read_elf_headers(ret);
}

int spy_elf_open_bytes(const void *bytes, size_t len, struct spy_elf *ret)
{
    *ret = (struct spy_elf){.fd = -1, .bytes = bytes, .size = len};
    return read_elf_headers(ret);
}

void spy_elf_done(struct spy_elf *e)
{
    free(e->sh);
    free(e->names);
    e->sh = NULL;
    e->names = NULL;
    e->n_sh = 0;
}

const Elf64_Shdr *spy_elf_section(const struct spy_elf *e, const char *name)
{
    for (size_t i = 0; i < e->n_sh; i++)
        if (e->sh[i].sh_name < e->names_len && e->sh[i].sh_type != SHT_NOBITS &&
            !strcmp(e->names + e->sh[i].sh_name, name))
            return &e->sh[i];
    return NULL;
}

const Elf64_Shdr *spy_elf_section_of_type(const struct spy_elf *e, uint32_t type)
{
    for (size_t i = 0; i < e->n_sh; i++)
        if (e->sh[i].sh_type == type)
            return &e->sh[i];
    return NULL;
}

static size_t find_id_in_notes(const uint8_t *notes, size_t len, uint8_t ret[SPY_ELF_ID_MAX])
{
    Elf64_Nhdr nh;
    for (size_t at = 0; at + sizeof nh <= len;) {
        memcpy(&nh, notes + at, sizeof nh);
        at += sizeof nh;
        size_t name = ((size_t)nh.n_namesz + 3) & ~(size_t)3;
        size_t desc = ((size_t)nh.n_descsz + 3) & ~(size_t)3;
        if (name > len - at || nh.n_descsz > len - at - name)
            return 0;
        if (nh.n_type == NT_GNU_BUILD_ID && nh.n_namesz == 4 && !memcmp(notes + at, "GNU", 4) &&
            nh.n_descsz <= SPY_ELF_ID_MAX) {
            memcpy(ret, notes + at + name, nh.n_descsz);
            return nh.n_descsz;
        }
        if (desc > len - at - name)
            return 0;
        at += name + desc;
    }
    return 0;
}

// By sections too: a file of debug information has program headers that lie.
size_t spy_elf_build_id(const struct spy_elf *e, uint8_t ret[SPY_ELF_ID_MAX])
{
    uint8_t notes[NOTES_MAX];
    const Elf64_Shdr *s = spy_elf_section(e, ".note.gnu.build-id");
    if (s) {
        size_t len = spy_min(s->sh_size, sizeof notes);
        return spy_elf_get(e, s->sh_offset, notes, len) < 0 ? 0 : find_id_in_notes(notes, len, ret);
    }
    size_t n = 0;
    for (size_t i = 0; !n && i < e->n_ph; i++) {
        size_t len = spy_min(e->ph[i].p_filesz, sizeof notes);
        if (e->ph[i].p_type == PT_NOTE && spy_elf_get(e, e->ph[i].p_offset, notes, len) == 0)
            n = find_id_in_notes(notes, len, ret);
    }
    return n;
}

const Elf64_Phdr *spy_elf_segment(const struct spy_elf *e, uint64_t offset)
{
    const Elf64_Phdr *found = NULL;
    for (size_t i = 0; i < e->n_ph; i++) {
        const Elf64_Phdr *p = &e->ph[i];
        uint64_t start = p->p_offset & ~(uint64_t)(PAGE - 1);
        if (p->p_type != PT_LOAD || offset < start || p->p_filesz > e->size ||
            offset - start >= p->p_filesz + (p->p_offset - start))
            continue;
        if (!found || (p->p_flags & PF_X)) // two segments may share a page
            found = p;
    }
    return found;
}
