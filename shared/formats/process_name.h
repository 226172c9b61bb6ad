// process_name.h - what tells the processes of a pod apart: "gunicorn worker 3 (27811) of checkout-1".
// Inside of shared/formats.
#pragma once
#include "shared/base/buf.h"
#include "shared/profile/profile.h"

// Numbers the processes that share a pod, a container, a parent and a program, by their ids from 1;
// 0: there is only one such process. ret has a place for each series. SPY_ERR_NOMEM.
int spy_process_number(const struct spy_profile *p, uint32_t *ret);
// Appends the name: the program without the interpreter's path, the number (0: none), the process id
// and the pod. One line, without control characters.
int spy_process_name(const struct spy_profile *p, uint32_t series, uint32_t number,
                     struct spy_buf *out);
