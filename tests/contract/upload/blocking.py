"""A process with a thread whose frames cannot be read: a reader waits for ever, as with memory of a file system that hangs.

It registers that page with userfaultfd(2), drops what is in it, and answers no fault. Says "ready"
then. For Debian's Python 3.11: where a frame is, is known of that one. As root.
"""

import ctypes
import mmap
import os
import struct
import sys
import threading
import time

SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282}[os.uname().machine]
UFFDIO_API, UFFDIO_REGISTER, MISSING = 0xC018AA3F, 0xC020AA00, 1  # linux/userfaultfd.h
PAGE = mmap.PAGESIZE

libc = ctypes.CDLL(None, use_errno=True)


def checked(result, what):
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def block(address):
    page = address & -PAGE
    try:
        fd = checked(libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC), "userfaultfd")
    except OSError as e:
        raise SystemExit(print("not here: %s" % e, flush=True))
    api = ctypes.create_string_buffer(struct.pack("QQQ", 0xAA, 0, 0))
    checked(libc.ioctl(fd, ctypes.c_ulong(UFFDIO_API), api), "UFFDIO_API")
    register = ctypes.create_string_buffer(struct.pack("QQQQ", page, PAGE, MISSING, 0))
    checked(libc.ioctl(fd, ctypes.c_ulong(UFFDIO_REGISTER), register), "UFFDIO_REGISTER")
    checked(libc.madvise(ctypes.c_void_p(page), PAGE, mmap.MADV_DONTNEED), "madvise")


def frame_of_a_sleeper():
    """The address of its interpreter frame; its contents must not be touched any more."""
    thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)
    thread.start()
    time.sleep(0.2)
    frame = sys._current_frames()[thread.ident]
    keep.append((thread, frame))
    return ctypes.cast(id(frame) + 24, ctypes.POINTER(ctypes.c_uint64))[0]  # PyFrameObject.f_frame


keep = []
block(frame_of_a_sleeper())
print("ready", flush=True)
time.sleep(600)
