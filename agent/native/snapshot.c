#include "agent/native/snapshot.h"
#include "shared/base/mem.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

enum { PAGE = 4096, WORD = 8, SAME_STACK_MAX = 64 << 20 };
enum { ROOM_MAX = SPY_NATIVE_STACK_MAX + SPY_NATIVE_PIECES_MAX * SPY_NATIVE_PIECE };

void spy_native_snapshot_done(struct spy_native_snapshot *s)
{
    free(s->stack);
    *s = (struct spy_native_snapshot){0};
}

static int read_registers(pid_t tid, struct spy_native_regs *ret)
{
    struct user_regs_struct user;
    struct iovec io = {&user, sizeof user};
    if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &io) < 0)
        return spy_code_of_errno(errno);
    if (io.iov_len != sizeof user)
        return SPY_ERR_UNSUPPORTED;
    spy_regs_of_user(&user, ret);
    return 0;
}

// Page by page, in one call: the copy ends where the mapping does.
static int read_pages(const struct spy_target *t, uint64_t at, uint8_t *to, size_t want,
                      size_t *ret_len)
{
    struct spy_span spans[SPY_NATIVE_STACK_MAX / PAGE + 1];
    size_t n = 0, done = 0, len = 0;
    *ret_len = 0;
    if (at > UINT64_MAX - want)
        return SPY_ERR_TORN;
    for (size_t left = want; left; n++) {
        size_t piece = spy_min(left, PAGE - at % PAGE);
        spans[n] = (struct spy_span){at, to + len, piece};
        at += piece;
        len += piece;
        left -= piece;
    }
    int r = spy_target_read_spans(t, spans, n, &done);
    for (size_t i = 0; i < done; i++)
        *ret_len += spans[i].len;
    return *ret_len || r == 0 ? 0 : r;
}

// In one piece, which the kernel reads faster; where that is not whole, page by page.
static int read_stack(const struct spy_target *t, uint64_t at, uint8_t *to, size_t want,
                      size_t *ret_len)
{
    *ret_len = want;
    return spy_target_read(t, at, to, want) == 0 ? 0 : read_pages(t, at, to, want, ret_len);
}

int spy_snapshot_take(struct spy_native_snapshot *s, const struct spy_target *t, pid_t tid,
                      size_t want, uint64_t end)
{
    int r = spy_grow(&s->stack, &s->cap, want, 1, ROOM_MAX);
    if (r == 0)
        r = read_registers(tid, &s->regs);
    if (r < 0)
        return r;
    s->tid = tid;
    s->n_more = 0;
    uint64_t sp = s->regs.r[SPY_REG_SP];
    want = sp < end ? spy_min(want, end - sp) : want;
    return read_stack(t, sp, s->stack, want, &s->len);
}

bool spy_snapshot_add_piece(struct spy_native_snapshot *s, const struct spy_target *t,
                            uint64_t start)
{
    if (s->n_more == SPY_NATIVE_PIECES_MAX)
        return false;
    struct spy_native_piece *last = s->n_more ? &s->more[s->n_more - 1] : NULL;
    struct spy_native_piece p = {.start = start, .at = last ? last->at + last->len : s->len};
    if (spy_grow(&s->stack, &s->cap, p.at + SPY_NATIVE_PIECE, 1, ROOM_MAX) < 0 ||
        read_pages(t, start, s->stack + p.at, SPY_NATIVE_PIECE, &p.len) < 0)
        return false;
    s->more[s->n_more++] = p;
    return true;
}

static bool copy_word(const uint8_t *bytes, size_t len, uint64_t at, uint64_t *ret)
{
    if (len < WORD || at > len - WORD)
        return false;
    memcpy(ret, bytes + at, WORD);
    return true;
}

int spy_snapshot_word(const void *context, uint64_t addr, uint64_t *ret)
{
    const struct spy_native_snapshot *s = context;
    if (copy_word(s->stack, s->len, addr - s->regs.r[SPY_REG_SP], ret))
        return 0;
    for (size_t i = 0; i < s->n_more; i++)
        if (copy_word(s->stack + s->more[i].at, s->more[i].len, addr - s->more[i].start, ret))
            return 0;
    return SPY_ERR_LIMIT;
}

bool spy_snapshot_is_above(const struct spy_native_snapshot *s, uint64_t addr)
{
    return addr - s->regs.r[SPY_REG_SP] < SAME_STACK_MAX;
}
