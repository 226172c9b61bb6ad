#include "agent/python/tids.h"
#include "shared/base/mem.h"
#include <string.h>

enum {
    STRUCT_BYTES = 1024,
    COMPARED = 16,
    GLIBC_OFFSET = 720,   // struct pthread, nptl/descr.h, x86-64
    MUSL_OFFSET = 48,     // struct pthread, src/internal/pthread_impl.h, since 1.2.0
    OLD_MUSL_OFFSET = 56, // before
};

static pid_t number_at(const uint8_t *bytes, uint32_t offset)
{
    int32_t v;
    memcpy(&v, bytes + offset, sizeof v);
    return v;
}

// How many of the structures hold the number of a thread at that offset; 0 if two hold the same.
static size_t count_fitting_tids(const struct spy_tid *tids, size_t n_tids,
                                 uint8_t bytes[][STRUCT_BYTES], size_t n, uint32_t offset)
{
    size_t fit = 0;
    for (size_t i = 0; i < n; i++) {
        if (!spy_threads_find(tids, n_tids, number_at(bytes[i], offset)))
            continue;
        for (size_t k = 0; k < i; k++)
            if (number_at(bytes[i], offset) == number_at(bytes[k], offset))
                return 0;
        fit++;
    }
    return fit;
}

// Two thread states share an ident if a subinterpreter runs on top of another.
static bool has_ident(const uint64_t *idents, size_t n, uint64_t ident)
{
    for (size_t k = 0; k < n; k++)
        if (idents[k] == ident)
            return true;
    return false;
}

// 0: not known. A single structure, whose thread may be number 1, proves only the offset of a known
// C library.
static uint32_t learn_offset(const struct spy_target *t, const struct spy_tid *tids, size_t n_tids,
                             const uint64_t *idents, size_t n)
{
    static const uint32_t known[] = {GLIBC_OFFSET, MUSL_OFFSET, OLD_MUSL_OFFSET};
    uint8_t bytes[COMPARED][STRUCT_BYTES];
    uint64_t read[COMPARED];
    size_t n_read = 0;
    for (size_t i = 0; i < n && n_read < COMPARED; i++)
        if (idents[i] && !has_ident(read, n_read, idents[i]) &&
            spy_target_read(t, idents[i], bytes[n_read], STRUCT_BYTES) == 0)
            read[n_read++] = idents[i];
    // Not all must fit: after a fork, 2.7 still lists the parent's threads.
    uint32_t best = 0;
    size_t most = 0;
    for (size_t i = 0; i < SPY_COUNT(known); i++) {
        size_t fit = count_fitting_tids(tids, n_tids, bytes, n_read, known[i]);
        if (fit > most) {
            most = fit;
            best = known[i];
        }
    }
    for (uint32_t offset = 4; !best && n_read > 1 && offset + 4 <= STRUCT_BYTES; offset += 4)
        if (count_fitting_tids(tids, n_tids, bytes, n_read, offset) == n_read)
            best = offset;
    return best;
}

void spy_py_tids(const struct spy_target *t, const struct spy_tid *tids, size_t n_tids,
                 const uint64_t *idents, pid_t *ret, size_t n, uint32_t *offset)
{
    if (!*offset)
        *offset = learn_offset(t, tids, n_tids, idents, n);
    for (size_t i = 0; i < n; i++) {
        int32_t tid = 0;
        bool known =
            *offset && idents[i] && spy_target_read(t, idents[i] + *offset, &tid, sizeof tid) == 0;
        ret[i] = known && tid > 0 && spy_threads_find(tids, n_tids, tid) ? tid : 0;
    }
}
