"""Confines itself as its first argument says, and becomes the program that follows.

    filter NUMBER ERRNO [NUMBER ERRNO ...] -- PROGRAM ...   a seccomp filter: these system calls fail
    newer NUMBER -- PROGRAM ...               a seccomp filter: system calls above this number do not exist
    landlock -- PROGRAM ...                                 a Landlock sandbox that forbids nothing of files
    userns -- PROGRAM ...       a user namespace; waits for a line on stdin, then is user 0 of it
    undumpable -- PROGRAM ...   stays Python: sets PR_SET_DUMPABLE to 0 and runs the code PROGRAM

Ends with 77 where the kernel has no such thing.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 4, 22, 38, 2
CLONE_NEWUSER = 0x10000000
LANDLOCK_CREATE_RULESET, LANDLOCK_RESTRICT_SELF, LANDLOCK_ACCESS_FS_MAKE_BLOCK = 444, 446, 1 << 11
BPF_LOAD, BPF_JUMP_EQUAL, BPF_JUMP_GREATER, BPF_RETURN = 0x20, 0x15, 0x25, 0x06
SECCOMP_ERRNO, SECCOMP_ALLOW = 0x00050000, 0x7FFF0000

libc = ctypes.CDLL(None, use_errno=True)


def call(what, *args):
    if what(*args) < 0:
        print(f"confine: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.exit(77)


def filter_calls(pairs, jump=BPF_JUMP_EQUAL):
    program = [(BPF_LOAD, 0, 0, 0)]  # the number of the call
    for number, error in pairs:
        program += [(jump, 0, 1, number), (BPF_RETURN, 0, 0, SECCOMP_ERRNO | error)]
    program.append((BPF_RETURN, 0, 0, SECCOMP_ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    call(libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call(libc.prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, head, 0, 0)


def sandbox():
    rules = struct.pack("Q", LANDLOCK_ACCESS_FS_MAKE_BLOCK)
    fd = libc.syscall(LANDLOCK_CREATE_RULESET, rules, len(rules), 0)
    call(lambda: fd)
    call(libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    call(libc.syscall, LANDLOCK_RESTRICT_SELF, fd, 0)


def main():
    how, rest = sys.argv[1], sys.argv[2:]
    at = rest.index("--")
    numbers, program = [int(n) for n in rest[:at]], rest[at + 1:]
    if how == "filter":
        filter_calls(zip(numbers[::2], numbers[1::2]))
    elif how == "newer":
        filter_calls([(numbers[0], errno.ENOSYS)], BPF_JUMP_GREATER)
    elif how == "landlock":
        sandbox()
    elif how == "userns":
        call(libc.unshare, CLONE_NEWUSER)
        print("apart", flush=True)
        sys.stdin.readline()
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    elif how == "undumpable":
        call(libc.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)
        exec(program[0], {})
        return
    os.execv(program[0], program)


main()
