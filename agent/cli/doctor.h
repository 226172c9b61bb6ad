// doctor.h - what `podspy doctor` checks, one question after another. Inside of agent/cli.
//
// A check is a row of a table: a name, and a function that finds out and says so with one finding.
// Checks run in the order of their table. After a SPY_DOCTOR_STOP the rest has no meaning and is
// left out. What forbids to read a process, and what changes it, is said by agent/target/reasons.h.
#pragma once
#include "agent/config/agent_config.h"
#include "agent/daemon/hung_reads.h"
#include "agent/target/reasons.h"
#include "shared/base/err.h"
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
    struct spy_hung_reads *reads;
    struct spy_rights rights;
    struct spy_guard guard;    // with pid
    struct spy_target *target; // with pid, from the first check on
    struct spy_python *python; // with pid, once an interpreter was found
    char text[1024], cure[512];
};

#define SPY_DOCTOR_SAY(d, ...)  snprintf((d)->text, sizeof(d)->text, __VA_ARGS__)
#define SPY_DOCTOR_CURE(d, ...) snprintf((d)->cure, sizeof(d)->cure, __VA_ARGS__)

// Whether a process may be read; only its world-readable files are looked at.
extern const struct spy_doctor_check spy_doctor_process[];
extern const size_t spy_doctor_n_process;
// Checks of a process that may be read. They are left out after a NO above.
extern const struct spy_doctor_check spy_doctor_python[];
extern const size_t spy_doctor_n_python;
// What the place allows where podspy runs: rights and view. A new right is a new row here.
extern const struct spy_doctor_check spy_doctor_here[];
extern const size_t spy_doctor_n_here;
// All that an agent talks to.
extern const struct spy_doctor_check spy_doctor_agent[];
extern const size_t spy_doctor_n_agent;

// Does this bar hold, for d->pid or without it? Then text and cure are filled.
bool spy_doctor_barred(struct spy_doctor *d, enum spy_bar bar);
// The row "pausing": whether ptrace is let through to pause threads.
enum spy_finding spy_doctor_pausing(struct spy_doctor *d);
