#include "shared/base/token.h"
#include "shared/base/file.h"
#include <ctype.h>
#include <fcntl.h>
#include <string.h>

ssize_t spy_token_read(const char *path, char *out, size_t size)
{
    ssize_t n = spy_file_read_small(AT_FDCWD, path, out, size);
    while (n > 0 && isspace((unsigned char)out[n - 1]))
        out[--n] = 0;
    return n;
}

bool spy_token_is_visible(const char *token)
{
    while (isgraph((unsigned char)*token))
        token++;
    return !*token;
}

const char *spy_token_read_to_send(const char *path, char *out, size_t size)
{
    ssize_t n = spy_token_read(path, out, size);
    if (n < 0)
        return "cannot be read";
    if ((size_t)n >= size - 1)
        return "is too long";
    size_t skip = strspn(out, " \t\r\n");
    memmove(out, out + skip, (size_t)n - skip + 1);
    if (!*out)
        return "is empty";
    // A NUL in the file would hide what follows it.
    if (strlen(out) != (size_t)n - skip || !spy_token_is_visible(out))
        return "does not hold one line of visible characters";
    return NULL;
}
