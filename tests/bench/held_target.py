"""A target that spins in C, called by sorted() in Python, and notes its stops: bench_held.c. Arguments: the library, the
file for the stops."""
import ctypes
import sys

lib = ctypes.PyDLL(sys.argv[1])
if lib.held_open(sys.argv[2].encode()):
    raise SystemExit("cannot map " + sys.argv[2])


def key(x):
    lib.held_spin(2000)
    return x


def deep(n):
    return deep(n - 1) if n else sorted(range(20), key=key)


sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    deep(15)
