// A hostile core file: its headers and notes, and what a dump then reads of it. The files that it
// names are looked for as they are in any core.
#include "agent/target/core.h"
#include "../fuzz.h"
#include "agent/python/python.h"
#include "agent/target/still.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void read_around(struct spy_target *t)
{
    const struct spy_still *s = spy_target_still(t);
    uint8_t bytes[256];
    for (size_t i = 0; i < s->n_pieces && i < 16; i++) {
        spy_target_read(t, s->pieces[i].start, bytes, sizeof bytes);
        spy_target_read(t, s->pieces[i].end - 8, bytes, sizeof bytes);
    }
    for (size_t i = 0; i < s->maps.n && i < 16; i++)
        spy_target_read(t, s->maps.list[i].start, bytes, sizeof bytes);
}

static void dump(struct spy_target *t)
{
    struct spy_python *py;
    struct spy_err err;
    struct spy_py_options o = {.pausing = SPY_PAUSE_NEVER};
    struct spy_py_stack st;
    if (spy_python_attach(t, &py, &err) < 0)
        return;
    if (spy_python_refresh(py) == 0)
        for (size_t i = 0; i < spy_python_n_threads(py) && i < 4; i++)
            spy_python_sample(py, spy_python_thread(py, i), &o, &st);
    spy_python_free(py);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spy_target *t = NULL;
    struct spy_core core;
    struct spy_err err = {0};
    int fd = memfd_create("core", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    int r = spy_core_open_fd(fd, "core", &t, &core, &err);
    MUST(r == 0 || (t == NULL && err.code == r && err.msg[0]));
    if (r == 0) {
        MUST(strlen(core.args) < sizeof core.args);
        read_around(t);
        dump(t);
        spy_core_missing(t);
    }
    spy_target_free(t);
    return 0;
}
