// word.h - numbers at an offset of bytes that were read from a target. Inside of agent/python.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t spy_py_word(const uint8_t *bytes, size_t at)
{
    uint64_t v;
    memcpy(&v, bytes + at, sizeof v);
    return v;
}

static inline uint32_t spy_py_half(const uint8_t *bytes, size_t at)
{
    uint32_t v;
    memcpy(&v, bytes + at, sizeof v);
    return v;
}
