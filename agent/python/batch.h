// batch.h - one read of all that a sample needs of a thread, and what its two copies of the newest
// frames say of each other. Inside of agent/python.
//
// One batch of spans: the places where frames are, the thread state (and with it the current
// frame), the newest frames again. That order is what makes the comparison sound. The current frame
// is a live one when the thread state is read, and what is read after that are the bytes of the
// live one and of its callers. Where they say what the first copy said, all that the first copy
// shows is what called them: a frame that was popped and pushed again between the two reads was
// called from the same instruction of the same caller. Frames further out than the second copy
// reaches cannot have been popped and pushed again within the few microseconds of one read; a read
// during which this program was preempted is not taken. Of a thread that is held nothing is read
// twice.
// Before 3.14 a frame that was popped keeps its code (later that is cleared), so that a program
// which comes by the same places again within the time of one read could show a popped one twice,
// and as the current one in between: there the newest frame must say that it runs, and the current
// frame is read first, too. Up to 3.10 frames lie on a heap and are a span each, which takes long
// enough to go round a loop: there the current frame is read last, too. For a caller to be copied
// twice as it was after the newest frame had ended, the program would have to go round twice.
//
// A deep stack, or one of many pieces, takes longer to read: long enough to return from more frames
// than the second copy reaches, and to call as many by another way. It may even take several calls.
// There all places are read twice, once before and once after the current frame, and every frame of
// the chain must be the same in both: so that each was what it is when the current frame was read.
#pragma once
#include "agent/python/walk.h"

// Some 40 KiB, made on the stack; nothing in it is owned. The places' bytes go to the scratch.
struct spy_py_batch {
    struct spy_span again[SPY_PY_TOP]; // places read twice, into top_again
    size_t n_again;
    bool whole;                    // all places are read twice; the second copy follows the first
    uint64_t took_ns;              // of the read
    size_t n;                      // gathered for the next call
    uint32_t place[SPY_SPANS_MAX]; // that a span reads; UINT32_MAX: none
    uint8_t cframe[24], frame_before[16], frame_last[8];
    struct spy_span spans[SPY_SPANS_MAX];
    uint8_t facts[SPY_PY_FACTS_BYTES];
    uint8_t tstate[512], top_again[SPY_PY_AGAIN];
};

// Reads what th's places, top, cframe and facts name; twice: the newest frames once more. What is
// not mapped any more is forgotten, and the rest is read again. SPY_ERR_TORN: not even the thread
// state is there; SPY_ERR_GONE, SPY_ERR_NOMEM.
int spy_py_batch_read(const struct spy_target *t, const struct spy_py_layout *l,
                      struct spy_py_thread *th, struct spy_py_scratch *s, bool twice,
                      struct spy_py_batch *b);

// Was cur the current frame at the other moments, too, at which it was read?
bool spy_py_batch_same_current(const struct spy_py_layout *l, const struct spy_py_batch *b,
                               uint64_t cur);

// Judges the walked chain by the second copy. SPY_ERR_TORN: they differ, so it was not one instant.
// The newest frames must be in it, and so much below the newest one on the data stack that no call
// goes deeper within one read: SPY_ERR_NOTFOUND when they are not, so that the next read has them.
// *ret_moved becomes whether the newest frame went on between the two copies.
int spy_py_batch_compare(const struct spy_py_layout *l, const struct spy_py_batch *b,
                         const struct spy_py_thread *th, const struct spy_py_scratch *s,
                         bool *ret_moved);

// Is the frame of the chain the same, at the same instruction, in both copies? True where there is
// one copy of it.
bool spy_py_batch_stayed(const struct spy_py_layout *l, const struct spy_py_batch *b,
                         const struct spy_py_thread *th, const struct spy_py_scratch *s,
                         const struct spy_py_rec *rec);

// Does the frame of the chain say in each copy of it that it runs? True where callers do not say
// so.
bool spy_py_batch_ran(const struct spy_py_layout *l, const struct spy_py_batch *b,
                      const struct spy_py_thread *th, const struct spy_py_scratch *s,
                      const struct spy_py_rec *rec);
