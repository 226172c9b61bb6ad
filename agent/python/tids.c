#include "agent/python/tids.h"
#include <string.h>

enum { STRUCT_BYTES = 1024, GLIBC_OFFSET = 720, COMPARED = 16 };

static bool is_tid(const struct spy_tid *tids, size_t n, pid_t ns_tid)
{
    for (size_t i = 0; i < n; i++)
        if (ns_tid > 0 && tids[i].ns_tid == ns_tid)
            return true;
    return false;
}

static pid_t number_at(const uint8_t *bytes, uint32_t offset)
{
    int32_t v;
    memcpy(&v, bytes + offset, sizeof v);
    return v;
}

static bool fits(const struct spy_tid *tids, size_t n_tids, uint8_t bytes[][STRUCT_BYTES], size_t n,
                 uint32_t offset)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_tid(tids, n_tids, number_at(bytes[i], offset)))
            return false;
        for (size_t k = 0; k < i; k++)
            if (number_at(bytes[i], offset) == number_at(bytes[k], offset))
                return false;
    }
    return n > 0;
}

static uint32_t learn(const struct spy_target *t, const struct spy_tid *tids, size_t n_tids,
                      const uint64_t *idents, size_t n)
{
    uint8_t bytes[COMPARED][STRUCT_BYTES];
    size_t n_read = 0;
    for (size_t i = 0; i < n && n_read < COMPARED; i++)
        if (idents[i] && spy_target_read(t, idents[i], bytes[n_read], STRUCT_BYTES) == 0)
            n_read++;
    if (fits(tids, n_tids, bytes, n_read, GLIBC_OFFSET))
        return GLIBC_OFFSET;
    for (uint32_t offset = 4; offset + 4 <= STRUCT_BYTES; offset += 4)
        if (fits(tids, n_tids, bytes, n_read, offset))
            return offset;
    return 0;
}

void spy_py_tids(const struct spy_target *t, const struct spy_tid *tids, size_t n_tids,
                 const uint64_t *idents, pid_t *ret, size_t n, uint32_t *offset)
{
    if (!*offset)
        *offset = learn(t, tids, n_tids, idents, n);
    for (size_t i = 0; i < n; i++) {
        int32_t tid = 0;
        bool known =
            *offset && idents[i] && spy_target_read(t, idents[i] + *offset, &tid, sizeof tid) == 0;
        ret[i] = known && is_tid(tids, n_tids, tid) ? tid : 0;
    }
}
