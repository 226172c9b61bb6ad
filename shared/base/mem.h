// mem.h - cleanup attributes, checked growth and sums that do not wrap.
//
// Early return is safe with `_cleanup_free_ char *s = NULL;` and its kin. Nothing here aborts: out
// of memory comes back as NULL or SPY_ERR_NOMEM.
#pragma once
#include <stddef.h>
#include <stdint.h>

// The sum, or UINT64_MAX if it does not fit: counts stay comparable and never wrap.
static inline uint64_t spy_add_sat(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline size_t spy_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

void spy_cleanup_free(void *pointer_to_pointer);
void spy_cleanup_close(const int *fd);
void spy_cleanup_fclose(void *pointer_to_file);
void spy_cleanup_closedir(void *pointer_to_dir);

#define _cleanup_free_     __attribute__((cleanup(spy_cleanup_free)))
#define _cleanup_close_    __attribute__((cleanup(spy_cleanup_close))) // int fd = -1
#define _cleanup_fclose_   __attribute__((cleanup(spy_cleanup_fclose)))
#define _cleanup_closedir_ __attribute__((cleanup(spy_cleanup_closedir)))
#define _cleanup_(f)       __attribute__((cleanup(f)))

// Defines the function `name`, which frees a variable of a type with a free function, for use with
// _cleanup_(name).
#define SPY_CLEANUP(name, type, free_fn)                                                           \
    static inline void name(type **p)                                                              \
    {                                                                                              \
        if (*p)                                                                                    \
            free_fn(*p);                                                                           \
    }

#define SPY_COUNT(array) (sizeof(array) / sizeof(*(array)))

// Moves ownership out of a _cleanup_ variable: `*ret = spy_steal(&p);`
#define spy_steal(p)                                                                               \
    ({                                                                                             \
        __typeof__(*(p)) stolen_ = *(p);                                                           \
        *(p) = NULL;                                                                               \
        stolen_;                                                                                   \
    })

// Makes room for `need` elements of `size` bytes in *array, doubling *cap; never more than max
// elements. Returns 0, SPY_ERR_NOMEM or SPY_ERR_LIMIT; on failure nothing changes.
int spy_grow(void *pointer_to_array, size_t *cap, size_t need, size_t size, size_t max);
