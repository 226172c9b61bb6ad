#include "shared/base/utf8.h"
#include "shared/base/mem.h"

// RFC 3629, section 4: no overlong forms, no surrogates, nothing above U+10FFFF.
size_t spy_utf8_len(const char *s, size_t left)
{
    const uint8_t *u = (const uint8_t *)s;
    if (u[0] < 0x80)
        return 1;
    size_t n = u[0] >= 0xc2 && u[0] <= 0xdf   ? 2
               : (u[0] & 0xf0) == 0xe0        ? 3
               : u[0] >= 0xf0 && u[0] <= 0xf4 ? 4
                                              : 0;
    if (!n || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) ||
        (u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return n;
}

uint32_t spy_utf8_code(const char *s, size_t n)
{
    static const uint8_t first[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t code = (uint8_t)s[0] & first[n];
    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((uint8_t)s[i] & 0x3fu);
    return code;
}

bool spy_utf8_is_fit(uint32_t code)
{
    static const struct {
        uint32_t from, to;
    } unfit[] = {
        {0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},   {0x200b, 0x200b}, {0x200e, 0x200f},
        {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f},
    };
    for (size_t i = 0; i < SPY_COUNT(unfit); i++)
        if (code >= unfit[i].from && code <= unfit[i].to)
            return false;
    return true;
}
