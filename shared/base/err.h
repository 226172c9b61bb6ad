// err.h - how functions here fail.
//
// A function that can fail returns 0 or a negative enum spy_err_code, takes `struct spy_err *err`
// as its last argument (may be NULL) and leaves every ret_ output untouched when it fails. What is
// expected in normal work (a process is gone, a read was torn) is a code, counted by the caller,
// never a log line. Only the top of a program logs an error, and its message says what to do. A
// function that cannot keep an output untouched says so.
//
// Threads: an spy_err lives on its caller's stack; nothing is shared.
#pragma once

enum spy_err_code {
    SPY_OK = 0,
    SPY_ERR_GONE = -1,        // the process, thread or file no longer exists
    SPY_ERR_TORN = -2,        // what was read is not consistent
    SPY_ERR_DENIED = -3,      // the kernel or a peer forbids it
    SPY_ERR_AGAIN = -4,       // not now; the same call may succeed later
    SPY_ERR_INVALID = -5,     // bad input: malformed, out of range
    SPY_ERR_UNSUPPORTED = -6, // well-formed, but not something we can handle
    SPY_ERR_LIMIT = -7,       // a bound was reached
    SPY_ERR_NOMEM = -8,
    SPY_ERR_IO = -9, // a syscall failed; spy_err.sys holds errno
    SPY_ERR_NOTFOUND = -10,
    SPY_ERR_USAGE = -11, // the command line is wrong: exit code 2
};

struct spy_err {
    int code;      // an enum spy_err_code
    int sys;       // errno of the failing call, or 0
    char msg[240]; // one line; characters unfit for a terminal are escaped (text.h)
};

// Fills *err (when not NULL) and returns code, so that `return spy_err_set(...)` is the idiom.
// sys is an errno or 0; when not 0 its text is appended. Over-long text is cut.
int spy_err_set(struct spy_err *err, int code, int sys, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

// The one wording for SPY_ERR_NOMEM: "out of memory". Returns SPY_ERR_NOMEM.
int spy_err_nomem(struct spy_err *err);

// Puts "context: " before the message on the way up and returns err->code; code when err is NULL or
// when nothing was set in it.
int spy_err_context(struct spy_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// The short name of a code, for counters and JSON: "gone", "torn", ...
const char *spy_code_name(int code);

// Maps an errno to a code: ESRCH and ENOENT to GONE, EPERM and EACCES to DENIED, ENOMEM to NOMEM,
// EMFILE and ENFILE to LIMIT, EAGAIN and EINTR to AGAIN, anything else to IO.
int spy_code_of_errno(int sys);
