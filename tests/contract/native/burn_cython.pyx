# The same in Cython.
cdef volatile_sum(long n):
    cdef double sum = 1
    cdef long i
    for i in range(n):
        sum = sum / 1.0000001 + i
    return sum


cdef other_sum(long n):
    cdef double sum = 1
    cdef long i
    for i in range(n):
        sum = sum * 0.9999999 + i
    return sum


def spin_leaf(n):
    return volatile_sum(n)


def spin_direct(n):
    return other_sum(n)


def call_back(function, n):
    return function(n)
