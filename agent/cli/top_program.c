#include "agent/cli/top_program.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OUTPUT_BYTES = 4 << 20, SHOWN_BYTES = 4096 };

int spy_top_output_open(int *ret, struct spy_err *err)
{
    const char *folder = getenv("TMPDIR");
    char path[512];
    if (!folder || !*folder || strlen(folder) > sizeof path - 32)
        folder = "/tmp";
    snprintf(path, sizeof path, "%s/podspy-top-XXXXXX", folder);
    // Appending, so that after ftruncate the next write is at the beginning.
    int fd = mkostemp(path, O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return spy_err_set(err, SPY_ERR_IO, errno,
                           "cannot keep the program's output in %s; set TMPDIR", folder);
    unlink(path);
    *ret = fd;
    return 0;
}

void spy_top_output_bound(int output)
{
    struct stat st;
    if (output >= 0 && fstat(output, &st) == 0 && st.st_size > OUTPUT_BYTES &&
        ftruncate(output, 0) < 0)
        return; // the file system refuses: nothing to be done
}

void spy_top_output_show(int output)
{
    char text[SHOWN_BYTES + 1], *line = text;
    struct stat st;
    if (output < 0 || fstat(output, &st) < 0 || !st.st_size)
        return;
    off_t from = st.st_size > SHOWN_BYTES ? st.st_size - SHOWN_BYTES : 0;
    ssize_t n = pread(output, text, SHOWN_BYTES, from);
    text[n > 0 ? n : 0] = 0;
    if (from && (line = strchr(text, '\n')))
        line++; // the first is cut
    fprintf(stderr, "The program's output%s:\n", from ? ", its end" : "");
    for (char *next; line && *line; line = next) {
        _cleanup_buf_ struct spy_buf shown = SPY_BUF_INIT(8 * SHOWN_BYTES);
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        spy_buf_shown(&shown, line);
        fprintf(stderr, "    %s\n", spy_buf_str(&shown));
    }
}
