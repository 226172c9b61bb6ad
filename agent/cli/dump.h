// dump.h - what the files of the dump subcommand share: dump.c parses the options and opens the
// processes, dump_text.c and dump_json.c print them, dump_locals.c their variables. Inside of
// agent/cli.
#pragma once
#include "agent/cli/descendants.h"
#include "agent/cli/dump_locals.h"
#include "agent/python/package.h"
#include "agent/python/python.h"
#include "agent/python/situation.h"
#include "agent/sampler/native_threads.h"
#include "agent/target/core.h"

struct spy_dump_running; // dump_async.h

// A process, or a core file, that is being printed.
struct spy_dump_process {
    pid_t pid;
    struct spy_target *target;
    struct spy_python *python;
    const char *core; // the file; NULL: a live process
    struct spy_core about;
    // With --subprocesses the list that it stands in, and where; else NULL.
    const struct spy_descendants *family;
    size_t index;
    struct spy_packages *packages;
    struct spy_dump_locals *locals;
    struct spy_mixed *native;           // NULL: no native frames
    struct spy_native_threads *threads; // that Python does not know; NULL: no native frames
    bool full_filenames;
    struct spy_dump_running *running; // NULL: no tasks
};

// One thread as it was read.
struct spy_dump_thread {
    const struct spy_py_thread *thread;     // NULL: Python does not know it
    const struct spy_native_thread *system; // then this
    struct spy_py_stack stack;
    const struct spy_mixed_frame *mixed; // n_mixed of them, in place of the stack's; NULL: none
    size_t n_mixed;
    int r; // not 0: the code of the failure to read the stack
    struct spy_py_situation situation;
    bool drops_gil, collects; // this thread does, now
};

// The short name of a file, or its whole name where --full-filenames was given.
const char *spy_dump_filename(const struct spy_dump_process *p, const char *filename);
const char *spy_dump_short_filename(const struct spy_dump_process *p, const char *filename);

// dump_text.c: the lines before the threads, a thread, and the line of a Python frame.
void spy_dump_header_text(const struct spy_dump_process *p, bool first, struct spy_buf *out);
void spy_dump_thread_text(const struct spy_dump_process *p, const struct spy_dump_thread *s,
                          struct spy_buf *out);
void spy_dump_put_frame(const struct spy_dump_process *p, const struct spy_py_frame *f,
                        const char *indent, struct spy_buf *out);
// dump_native.c: what is known of a thread whether or not Python knows it. ident: 0 if not.
pid_t spy_dump_tid(const struct spy_dump_thread *s);
uint64_t spy_dump_ident(const struct spy_dump_thread *s);
const char *spy_dump_name(const struct spy_dump_thread *s);
// The frames to print, with the native frames among them.
size_t spy_dump_n_frames(const struct spy_dump_thread *s);
struct spy_mixed_frame spy_dump_frame(const struct spy_dump_thread *s, size_t i);
// Captures the native stack of a thread that is held and whose stack was read meanwhile.
void spy_dump_native_capture(const struct spy_dump_process *p, const struct spy_dump_thread *s);
// Merges what was captured. False: the frames are Python's alone.
bool spy_dump_native_merge(const struct spy_dump_process *p, struct spy_dump_thread *s);
// Reads thread i of p->threads. False: its native frames could not be had, or it has ended
// (SPY_ERR_GONE).
bool spy_dump_native_read(const struct spy_dump_process *p, size_t i, struct spy_pause *pause,
                          struct spy_dump_thread *ret);
// dump_json.c: an element of the list of threads, without what separates it from others. Ends early
// when a signal asks to stop.
void spy_dump_thread_json(const struct spy_dump_process *p, const struct spy_dump_thread *s,
                          struct spy_buf *out);
