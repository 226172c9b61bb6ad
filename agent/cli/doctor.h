// doctor.h - the checks of `podspy doctor`. Inside of agent/cli.
//
// A check is a row of a table: a name, and a function that returns one finding. Checks run in the
// order of their table; after a SPY_DOCTOR_STOP the rest of the table is left out.
// agent/target/reasons.h knows what can forbid reading a process, and the setting that changes it.
#pragma once
#include "agent/daemon/hung_reads.h"
#include "agent/target/reasons.h"
#include "shared/base/err.h"
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

enum spy_finding {
    SPY_DOCTOR_OK,
    SPY_DOCTOR_NOTE, // limits some uses, or cannot be determined; not a failure
    SPY_DOCTOR_NO,   // keeps profiles from being taken or sent
    SPY_DOCTOR_STOP, // NO, and later checks of the table cannot be made
};

struct spy_agent_config;
struct spy_doctor;
typedef enum spy_finding (*spy_doctor_fn)(struct spy_doctor *d);
struct spy_doctor_check {
    const char *name;
    spy_doctor_fn run;
};

// A check writes what it found into text, and what to change (or "") into cure.
struct spy_doctor {
    pid_t pid; // 0: the checks are about running an agent here
    const char *config_path;
    struct spy_agent_config *config; // without pid, once the first check of the agent has run
    struct spy_hung_reads *reads;
    struct spy_rights rights;
    struct spy_guard guard;    // with pid
    struct spy_target *target; // with pid, once the first check has run
    struct spy_python *python; // with pid, once an interpreter is found
    char text[1024], cure[512];
};

#define SPY_DOCTOR_SAY(d, ...)  snprintf((d)->text, sizeof(d)->text, __VA_ARGS__)
#define SPY_DOCTOR_CURE(d, ...) snprintf((d)->cure, sizeof(d)->cure, __VA_ARGS__)

// Whether a process may be read. They open only its world-readable files.
extern const struct spy_doctor_check spy_doctor_process[];
extern const size_t spy_doctor_n_process;
// Checks of a process that may be read; left out after a NO above.
extern const struct spy_doctor_check spy_doctor_python[];
extern const size_t spy_doctor_n_python;
// What native frames of that process need; left out after a NO above.
extern const struct spy_doctor_check spy_doctor_native[];
extern const size_t spy_doctor_n_native;
// What this host or container allows: rights, and which processes are visible.
extern const struct spy_doctor_check spy_doctor_here[];
extern const size_t spy_doctor_n_here;
// Everything an agent talks to. The static program has none of it (no_agent.c).
extern const struct spy_doctor_check spy_doctor_agent[];
extern const size_t spy_doctor_n_agent;
extern const char spy_doctor_works_here[]; // the last line if nothing is wrong
void spy_doctor_free_agent(struct spy_doctor *d);

// True if this bar holds, for d->pid or without a process; fills text and cure then.
bool spy_doctor_barred(struct spy_doctor *d, enum spy_bar bar);
// The check "pausing": whether ptrace may be used to pause threads.
enum spy_finding spy_doctor_pausing(struct spy_doctor *d);
