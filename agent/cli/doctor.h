// doctor.h - what `podspy doctor` checks, one question after another. Inside of agent/cli.
//
// A check is a row of a table: a name, and a function that finds out and says so with one finding.
// Checks run in the order of their table. After a SPY_DOCTOR_STOP the rest has no meaning and is
// left out.
#pragma once
#include "agent/cli/reads.h"
#include "shared/base/err.h"
#include "shared/config/agent_config.h"
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

enum spy_finding {
    SPY_DOCTOR_OK,
    SPY_DOCTOR_NOTE, // not as it should be for some uses, or not to be told; no failure
    SPY_DOCTOR_NO,   // keeps profiles from being taken or sent
    SPY_DOCTOR_STOP, // NO, and nothing after it can be asked
};

struct spy_doctor;
typedef enum spy_finding (*spy_doctor_fn)(struct spy_doctor *d);
struct spy_doctor_check {
    const char *name;
    spy_doctor_fn run;
};

// The checks write what they found into text, and what is to be changed (or "") into cure.
struct spy_doctor {
    pid_t pid; // 0: the agent's surroundings are asked about
    const char *config_path;
    struct spy_agent_config config; // without pid
    struct spy_cli_reads *reads;
    struct spy_target *target; // with pid, from the first check on
    struct spy_python *python; // with pid, once an interpreter was found
    char text[1024], cure[512];
};

#define SPY_DOCTOR_SAY(d, ...)  snprintf((d)->text, sizeof(d)->text, __VA_ARGS__)
#define SPY_DOCTOR_CURE(d, ...) snprintf((d)->cure, sizeof(d)->cure, __VA_ARGS__)

// Why one process can or cannot be profiled. Of the process, until it is known that it may be read,
// only world-readable files are looked at.
extern const struct spy_doctor_check spy_doctor_process[];
extern const size_t spy_doctor_n_process;
// Whether an agent could work here: rights, view, and all that it talks to.
extern const struct spy_doctor_check spy_doctor_agent[];
extern const size_t spy_doctor_n_agent;

// Does this process have CAP_SYS_PTRACE now?
bool spy_doctor_may_trace(void);
// kernel.yama.ptrace_scope; 0 where there is no Yama.
int spy_doctor_yama(void);
// Why the kernel may refuse a read although the user may: "seccomp" or the AppArmor profile of this
// process, or "" where there is neither.
void spy_doctor_confined(char *out, size_t size);
