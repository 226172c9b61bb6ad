#include "shared/base/mem.h"
#include "shared/base/err.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void spy_cleanup_free(void *p)
{
    free(*(void **)p);
}

void spy_cleanup_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

void spy_cleanup_fclose(void *p)
{
    FILE *f = *(FILE **)p;
    if (f)
        fclose(f);
}

void spy_cleanup_closedir(void *p)
{
    DIR *d = *(DIR **)p;
    if (d)
        closedir(d);
}

int spy_grow(void *pointer_to_array, size_t *cap, size_t need, size_t size, size_t max)
{
    if (need <= *cap)
        return 0;
    if (need > max || need > SIZE_MAX / 2)
        return SPY_ERR_LIMIT;
    size_t n = *cap ? *cap : 16;
    while (n < need)
        n *= 2;
    if (n > max)
        n = max;
    void *old;
    memcpy(&old, pointer_to_array, sizeof old);
    void *p = reallocarray(old, n, size);
    if (!p)
        return SPY_ERR_NOMEM;
    memcpy(pointer_to_array, &p, sizeof p);
    *cap = n;
    return 0;
}
