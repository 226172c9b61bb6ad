#include "agent/python/value_inside.h"
#include "shared/base/mem.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- integers ---

enum {
    DIGITS_MAX = 480, // of 30 bits. int() itself prints no more than 4300 decimal digits.
    DIGIT_BITS = 30,
    BILLION = 1000000000,
};

// The sign and the number of digits: Include/cpython/longintrepr.h since 3.12; ob_size before.
static int read_int_size(struct spy_py_values *v, uint64_t addr, bool *ret_negative,
                         uint64_t *ret_n)
{
    const struct spy_py_objects *o = &v->objects;
    bool tagged = o->int_tag != SPY_PY_ABSENT;
    uint64_t word;
    int r = spy_value_read_word(v, addr + (tagged ? o->int_tag : v->layout->ob_size), &word);
    if (r < 0)
        return r;
    *ret_negative = tagged ? (word & 3) == 2 : word >> 63;
    *ret_n = tagged ? word >> 3 : word >> 63 ? -word : word;
    if (tagged && (word & 3) == 1)
        *ret_n = 0;
    return 0;
}

// Prints a magnitude, which is used up. digits[0] is the lowest.
static void put_digits(struct spy_py_values *v, uint32_t *digits, size_t n)
{
    uint32_t parts[DIGITS_MAX + 32]; // of nine decimal digits, the lowest first
    size_t n_parts = 0;
    while (n) {
        uint64_t rest = 0;
        for (size_t i = n; i-- > 0;) {
            rest = rest << DIGIT_BITS | (digits[i] & ((1u << DIGIT_BITS) - 1));
            digits[i] = (uint32_t)(rest / BILLION);
            rest %= BILLION;
        }
        parts[n_parts++] = (uint32_t)rest;
        while (n && !digits[n - 1])
            n--;
    }
    spy_value_printf(v, "%u", n_parts ? parts[n_parts - 1] : 0);
    for (size_t i = n_parts; i > 1; i--)
        spy_value_printf(v, "%09u", parts[i - 2]);
}

static void print_digits(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type)
{
    uint32_t digits[DIGITS_MAX];
    bool negative;
    uint64_t n;
    int r = read_int_size(v, addr, &negative, &n);
    if (r == 0 && n > SPY_COUNT(digits)) {
        spy_value_print_opaque(v, addr, type->name);
        return;
    }
    if (r == 0 && n)
        r = spy_value_read(v, addr + v->objects.int_digits, digits, n * sizeof *digits);
    if (r < 0) {
        spy_value_puts(v, "?");
        return;
    }
    while (n && !digits[n - 1])
        n--;
    spy_value_puts(v, negative && n ? "-" : "");
    put_digits(v, digits, n);
    spy_value_puts(v, v->layout->major == 2 ? "L" : "");
}

void spy_value_print_int(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type)
{
    uint64_t value;
    // Python 2: int is a C long, long is what int is today. A subclass says neither by its name.
    bool is_long = v->layout->major == 3 || (type->flags & SPY_FLAG_LONG_SUBCLASS);
    if (is_long)
        print_digits(v, addr, type);
    else if (spy_value_read_word(v, addr + v->objects.short_value, &value) == 0)
        spy_value_printf(v, "%lld", (long long)value);
    else
        spy_value_puts(v, "?");
}

int spy_value_read_bool(struct spy_py_values *v, uint64_t addr, bool *ret)
{
    struct spy_value_type type;
    uint64_t value;
    bool negative;
    int r = spy_value_type_of(v, addr, &type);
    if (r == 0 && type.print != spy_value_print_bool)
        r = SPY_ERR_TORN;
    if (r == 0)
        r = v->layout->major == 2 ? spy_value_read_word(v, addr + v->objects.short_value, &value)
                                  : read_int_size(v, addr, &negative, &value);
    if (r == 0)
        *ret = value;
    return r;
}

void spy_value_print_bool(struct spy_py_values *v, uint64_t addr, const struct spy_value_type *type)
{
    bool value;
    (void)type;
    spy_value_puts(v, spy_value_read_bool(v, addr, &value) < 0 ? "?" : value ? "True" : "False");
}

// --- floating point ---

// The digits of a finite number in their shortest form that reads back as the same, and where its
// decimal point stands: 0.DIGITS times ten to that power.
struct decimal {
    char digits[24];
    int n, point;
};

static bool reads_back(const char *text, double x, bool single)
{
    return single ? strtof(text, NULL) == (float)x : strtod(text, NULL) == x;
}

// repr() takes the shortest text that reads back as the number, and of several the nearest to it.
// printf gives the nearest, which is all that is needed but at powers of two: numbers below them are
// twice as close, so that the nearest text may be another number's, and its neighbour is not.
static bool format_shortest(char *text, size_t size, int precision, double x, bool single)
{
    snprintf(text, size, "%.*e", precision, x);
    if (reads_back(text, x, single))
        return true;
    char *e = strchr(text, 'e');
    if (!e || precision < 1 || e[-1] == '9')
        return false;
    e[-1]++;
    return reads_back(text, x, single);
}

static void find_shortest(double x, bool single, struct decimal *ret)
{
    char text[40];
    int precision = 0;
    while (precision < 16 && !format_shortest(text, sizeof text, precision, x, single))
        precision++;
    if (precision == 16)
        snprintf(text, sizeof text, "%.16e", x);
    ret->n = 0;
    char *at = text;
    for (; *at && *at != 'e'; at++)
        if (*at != '.' && *at != '-')
            ret->digits[ret->n++] = *at;
    ret->point = (*at ? (int)strtol(at + 1, NULL, 10) : 0) + 1;
    while (ret->n > 1 && ret->digits[ret->n - 1] == '0')
        ret->n--;
}

static void put_number_digits(struct spy_py_values *v, const struct decimal *d, int from, int to)
{
    for (int i = from; i < to; i++)
        spy_value_put_char(v, i >= 0 && i < d->n ? (uint32_t)d->digits[i] : '0');
}

// As repr() does it: with an exponent below 0.0001 and from 1e16 on.
static void put_decimal(struct spy_py_values *v, const struct decimal *d, bool with_point)
{
    enum { LEAST = -3, MOST = 16 };
    bool fixed = d->point >= LEAST && d->point <= MOST;
    int before = !fixed ? 1 : d->point > 0 ? d->point : 0; // digits before the point
    if (before)
        put_number_digits(v, d, 0, before);
    else
        spy_value_puts(v, "0");
    if (before < d->n) {
        spy_value_puts(v, ".");
        put_number_digits(v, d, fixed ? d->point : 1, d->n);
    }
    if (!fixed)
        spy_value_printf(v, "e%c%02d", d->point < 1 ? '-' : '+', abs(d->point - 1));
    else if (with_point && d->n <= before)
        spy_value_puts(v, ".0");
}

static void put_float(struct spy_py_values *v, double x, bool single, bool with_point)
{
    struct decimal d;
    if (isnan(x)) {
        spy_value_puts(v, "nan");
        return;
    }
    spy_value_puts(v, signbit(x) ? "-" : "");
    if (isinf(x)) {
        spy_value_puts(v, "inf");
        return;
    }
    find_shortest(fabs(x), single, &d);
    put_decimal(v, &d, with_point);
}

static void put_complex(struct spy_py_values *v, double real, double imag, bool single)
{
    bool both = real != 0 || signbit(real);
    if (both) {
        spy_value_puts(v, "(");
        put_float(v, real, single, false);
        spy_value_puts(v, isnan(imag) || !signbit(imag) ? "+" : "");
    }
    put_float(v, imag, single, false);
    spy_value_puts(v, both ? "j)" : "j");
}

void spy_value_print_float(struct spy_py_values *v, uint64_t addr,
                           const struct spy_value_type *type)
{
    double x;
    (void)type;
    if (spy_value_read(v, addr + v->objects.float_value, &x, sizeof x) < 0)
        spy_value_puts(v, "?");
    else
        put_float(v, x, false, true);
}

void spy_value_print_complex(struct spy_py_values *v, uint64_t addr,
                             const struct spy_value_type *type)
{
    double x[2];
    (void)type;
    if (spy_value_read(v, addr + v->objects.complex_value, x, sizeof x) < 0)
        spy_value_puts(v, "?");
    else
        put_complex(v, x[0], x[1], false);
}

// --- numpy's scalars ---

static double widen_half(uint16_t bits)
{
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double x = exponent == 31 ? (fraction ? NAN : INFINITY)
               : exponent     ? ldexp(1024 + fraction, exponent - 25)
                              : ldexp(fraction, -24);
    return bits >> 15 ? -x : x;
}

static void put_signed(struct spy_py_values *v, const uint8_t *p, size_t bits)
{
    uint64_t word = 0;
    memcpy(&word, p, bits / 8);
    spy_value_printf(v, "%lld", (long long)(word << (64 - bits)) >> (64 - bits));
}

static void put_unsigned(struct spy_py_values *v, const uint8_t *p, size_t bits)
{
    uint64_t word = 0;
    memcpy(&word, p, bits / 8);
    spy_value_printf(v, "%llu", (unsigned long long)word);
}

static void put_real(struct spy_py_values *v, const uint8_t *p, size_t bits)
{
    uint16_t half;
    float single;
    double x;
    memcpy(&half, p, sizeof half);
    memcpy(&single, p, sizeof single);
    memcpy(&x, p, sizeof x);
    if (bits == 16)
        spy_value_printf(v, "%.4g", widen_half(half));
    else
        put_float(v, bits == 32 ? (double)single : x, bits == 32, true);
}

static void put_pair(struct spy_py_values *v, const uint8_t *p, size_t bits)
{
    float single[2];
    double x[2];
    memcpy(single, p, sizeof single);
    memcpy(x, p, sizeof x);
    if (bits == 64)
        put_complex(v, (double)single[0], (double)single[1], true);
    else
        put_complex(v, x[0], x[1], false);
}

static void put_truth(struct spy_py_values *v, const uint8_t *p, size_t bits)
{
    (void)bits;
    spy_value_puts(v, *p ? "True" : "False");
}

// By the start of their names. Python 2's numpy.float64, which is a float too, has its value at the
// same place (numpy/core/include/numpy/arrayscalars.h).
void spy_value_print_number(struct spy_py_values *v, uint64_t addr,
                            const struct spy_value_type *type)
{
    static const struct {
        const char *name;
        void (*put)(struct spy_py_values *v, const uint8_t *p, size_t bits);
        size_t bits;
    } kinds[] = {
        {"bool", put_truth, 8},        {"bool_", put_truth, 8},
        {"int8", put_signed, 8},       {"int16", put_signed, 16},
        {"int32", put_signed, 32},     {"int64", put_signed, 64},
        {"longlong", put_signed, 64},  {"uint8", put_unsigned, 8},
        {"uint16", put_unsigned, 16},  {"uint32", put_unsigned, 32},
        {"uint64", put_unsigned, 64},  {"ulonglong", put_unsigned, 64},
        {"float16", put_real, 16},     {"float32", put_real, 32},
        {"float64", put_real, 64},     {"complex64", put_pair, 64},
        {"complex128", put_pair, 128},
    };
    uint8_t bytes[16] = {0};
    size_t i = 0;
    while (i < SPY_COUNT(kinds) && strcmp(kinds[i].name, spy_value_short_name(type)))
        i++;
    if (i == SPY_COUNT(kinds))
        spy_value_print_opaque(v, addr, type->name);
    else if (spy_value_read(v, addr + v->objects.float_value, bytes, kinds[i].bits / 8) < 0)
        spy_value_puts(v, "?");
    else
        kinds[i].put(v, bytes, kinds[i].bits);
}
