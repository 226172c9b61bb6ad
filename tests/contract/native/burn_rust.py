"""The same in Rust, through ctypes."""
import ctypes
import os

library = ctypes.CDLL(os.path.join(os.path.dirname(os.path.abspath(__file__)), "libburn_rust.so"))
spin_leaf, spin_direct = library.rust_leaf, library.rust_direct
spin_leaf.argtypes = spin_direct.argtypes = [ctypes.c_int64]
CALLED = ctypes.CFUNCTYPE(None, ctypes.c_int64)


def call_back(function, n):
    library.rust_call_back(CALLED(function), ctypes.c_int64(n))
