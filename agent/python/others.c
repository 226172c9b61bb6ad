#include "agent/python/others.h"
#include "shared/base/mem.h"
#include <string.h>

// How the file name of a program or of a library begins.
static const struct mark {
    const char *begins, *name;
    bool program; // only if it is the program's name: libraries are named so for other reasons
} marks[] = {
    {"libpypy", "PyPy", false},           // libpypy3.11-c.so
    {"pypy", "PyPy", true},               // linked into its program
    {"libpythonvm", "GraalPy", false},    // of a native standalone
    {"graalpy", "GraalPy", true},         // its launcher
    {"libgraalpy", "GraalPy", false},     //
    {"micropython", "MicroPython", true}, //
};

static const char *name_of_file(const char *path, bool program)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    for (size_t i = 0; i < SPY_COUNT(marks); i++)
        if ((program || !marks[i].program) &&
            !strncmp(base, marks[i].begins, strlen(marks[i].begins)))
            return marks[i].name;
    return NULL;
}

const char *spy_py_other(const char *exe, const struct spy_module *mods, size_t n)
{
    const char *name = name_of_file(exe, true);
    for (size_t i = 0; i < n && !name; i++)
        name = name_of_file(mods[i].path, false);
    return name;
}
