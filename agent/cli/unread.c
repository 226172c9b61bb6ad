#include "agent/cli/unread.h"
#include "shared/base/mem.h"
#include "shared/base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void spy_unread_free(struct spy_unread *u)
{
    free(u->list);
    *u = (struct spy_unread){0};
}

void spy_unread_add(struct spy_unread *u, pid_t pid, const char *command, const char *reason)
{
    if (spy_grow(&u->list, &u->cap, u->n + 1, sizeof *u->list, SPY_UNREAD_MAX) < 0) {
        u->n_more++;
        return;
    }
    struct spy_unread_process *p = &u->list[u->n++];
    p->pid = pid;
    spy_text_show(p->command, sizeof p->command, command);
    spy_text_show(p->reason, sizeof p->reason, reason);
}

void spy_unread_remove(struct spy_unread *u, pid_t pid)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->list[i].pid == pid) {
            memmove(&u->list[i], &u->list[i + 1], (--u->n - i) * sizeof *u->list);
            return;
        }
}

int spy_unread_print(const struct spy_unread *u, struct spy_buf *out)
{
    for (size_t i = 0; i < u->n; i++) {
        const struct spy_unread_process *p = &u->list[i];
        spy_buf_printf(out, "Process %d (%s) was not read: %s\n", (int)p->pid, p->command,
                       p->reason);
    }
    if (u->n_more)
        spy_buf_printf(out, "%zu more processes were not read\n", u->n_more);
    return out->failed;
}

void spy_unread_say(const struct spy_unread *u)
{
    _cleanup_buf_ struct spy_buf lines = SPY_BUF_INIT(1 << 18);
    if (spy_unread_print(u, &lines) == 0)
        fputs(spy_buf_str(&lines), stderr);
}
