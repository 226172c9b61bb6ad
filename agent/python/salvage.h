// salvage.h - the part of a stack that is proven where the whole changes faster than it can be read
// and the thread may not be paused. Inside of agent/python.
//
// A program whose calls last a microsecond is never still for the time of one read, but the callers
// of those calls are: the outer frames stay where they are for milliseconds. The thread is read
// several times at random distances. A frame is proven when each of these reads reached it from the
// current frame, with the same caller at the same instruction, in both copies where there are two:
// a frame that had moved in between would have had to be back at the same place at each of those
// instants. So the outermost frames that are the same in all reads stayed the same throughout. So
// did the frame that they called, which may have reached another instruction.
//
// A program that a read slows down keeps step with the reads, so that each read hits the same wrong
// state with a chance of a half or more. Up to 3.10, where frames lie far apart and a read takes
// long enough for that, 12 reads in quick succession agreed by chance for 1 in 1000 stacks, and 32
// for none in 160,000.
//
// If the thread stands still in the middle of a call, all frames but the newest are given.
#pragma once
#include "agent/python/reader.h"

// The proven part of th's stack becomes the chain in p->scratch, resolved and validated, with the
// instructions of the first read. *ret_whole: nothing is missing from it. SPY_ERR_TORN: nothing is
// proven; SPY_ERR_GONE, SPY_ERR_NOMEM.
int spy_py_salvage(struct spy_python *p, struct spy_py_thread *th, struct spy_py_facts *facts,
                   bool *ret_whole);
