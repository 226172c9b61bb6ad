// read.h - one read of all that a sample needs of a thread, and what its two copies of the newest
// frames prove. Inside of agent/python.
//
// One batch of spans: the places where frames lie, the thread state (and with it the current
// frame), the newest frames again. This order makes the comparison sound. The current frame is live
// when the thread state is read, and the second copy shows it and its callers after that. Where
// both copies agree, the first copy shows its real callers: a frame that was popped and pushed
// between the two reads was called from the same instruction of the same caller. Frames further out
// than the second copy reaches cannot have been popped and pushed within the few microseconds of
// one read; a read during which this program was preempted is discarded. A thread that is held is
// read only once.
//
// Before 3.14 a popped frame keeps its code (later versions clear it), so a program that returns to
// the same places within one read could show a popped frame twice, and as the current frame in
// between. There the newest frame must say that it runs, and the current frame is read first as
// well. Up to 3.10 each frame is a span on the heap, and a read takes long enough for a loop to go
// round once: there the current frame is read last as well. To show a caller twice after the newest
// frame has ended, the loop would have to go round twice.
//
// A deep stack, or one in many pieces, takes longer to read: long enough to return from more frames
// than the second copy covers and to call as many by another way. It may even take several calls.
// There all places are read twice, before and after the current frame, and every frame of the stack
// must be the same in both copies.
#pragma once
#include "agent/python/thread.h"

enum { SPY_PY_AGAIN = 8192 }; // bytes of the newest frames that are read twice

// Some 40 KiB, made on the stack; owns nothing. The bytes of the places go to the scratch.
struct spy_py_read {
    struct spy_span again[SPY_PY_TOP]; // places read twice, into top_again
    size_t n_again;
    bool whole;                    // all places are read twice; the second copy follows the first
    uint64_t took_ns;              // duration of the read
    size_t n;                      // spans gathered for the next call
    uint32_t place[SPY_SPANS_MAX]; // the place that a span reads; UINT32_MAX: none
    uint8_t cframe[24], frame_before[16], frame_last[8];
    struct spy_span spans[SPY_SPANS_MAX];
    uint8_t facts[SPY_PY_FACTS_BYTES];
    uint8_t tstate[512], top_again[SPY_PY_AGAIN];
};

// Reads what the thread's places, top, cframe and facts name; twice: the newest frames once more. A
// place that is no longer mapped is forgotten, and the rest is read again. SPY_ERR_TORN: not even
// the thread state is there; SPY_ERR_GONE, SPY_ERR_NOMEM.
int spy_py_read_frames(const struct spy_target *t, const struct spy_py_layout *l,
                       struct spy_py_thread *th, struct spy_py_scratch *s, bool twice,
                       struct spy_py_read *b);

// True if cur was the current frame each time that this was read.
bool spy_py_read_same_current(const struct spy_py_layout *l, const struct spy_py_read *b,
                              uint64_t cur);

// Validates the unwound stack by the second copy. SPY_ERR_TORN: the copies differ, so the stack is
// not of one instant. SPY_ERR_NOTFOUND: the second copy lacks some of the newest frames, or does
// not reach as far below the newest frame on the data stack as calls can go within one read; the
// next read has them. *ret_moved becomes whether the newest frame moved on between the copies.
int spy_py_read_compare(const struct spy_py_layout *l, const struct spy_py_read *b,
                        const struct spy_py_thread *th, const struct spy_py_scratch *s,
                        bool *ret_moved);

// True if the frame is the same, at the same instruction, in both copies, or if there is only one
// copy of it.
bool spy_py_read_frame_stayed(const struct spy_py_layout *l, const struct spy_py_read *b,
                              const struct spy_py_thread *th, const struct spy_py_scratch *s,
                              const struct spy_py_rec *rec);

// True if each copy of the frame says that it runs, or if frames of this version do not say so.
bool spy_py_read_frame_ran(const struct spy_py_layout *l, const struct spy_py_read *b,
                           const struct spy_py_thread *th, const struct spy_py_scratch *s,
                           const struct spy_py_rec *rec);
