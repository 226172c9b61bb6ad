"""What a thread of 3.11 shows where a call of the interpreter from C has put its _PyCFrame in place and not yet filled
it in: the frame of an earlier call, here that of a generator at rest. Its first argument says what called: `nested`, a
frame; `first`, C code alone. The offsets are those of agent/python/layout.c."""
import ctypes
import sys
import time

TS_CFRAME, F_CODE = 56, 32


def word_at(address):
    return ctypes.c_uint64.from_address(address)


def numbers():
    while True:
        yield 1


def hold(cframe, seconds):
    was = cframe.value
    call = (ctypes.c_uint64 * 3)(0, frame, was if sys.argv[1] == "nested" else ctypes.addressof(no_call))
    end = time.monotonic() + seconds
    cframe.value = ctypes.addressof(call)
    while time.monotonic() < end:
        pass
    cframe.value = was


generator = numbers()
next(generator)
words = range(id(generator), id(generator) + generator.__sizeof__() - 7, 8)
frame = [a for a in words if word_at(a).value == id(numbers.__code__)][-1] - F_CODE
no_call = (ctypes.c_uint64 * 3)(0, 0, 0)
get = ctypes.pythonapi.PyThreadState_Get
get.restype = ctypes.c_uint64
sys.stdout.write("ready\n")
sys.stdout.flush()
hold(word_at(get() + TS_CFRAME), float(sys.argv[2]))
sys.stdout.write("unharmed\n")
