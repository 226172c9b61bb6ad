// children.h - programs to be sampled, and a sampler for them, as the tests of this folder start
// them. What fails here fails the test.
#pragma once
#include "agent/sampler/sampler.h"

struct child {
    pid_t pid;
    int in, out; // its stdin and stdout
};

// A Python script of this folder, which ends with this program; and its next line of output, of at
// least one character. End it with end_child.
struct child start_child(const char *script, const char *arg);
void read_line(const struct child *c, char *out, size_t size);
void end_child(const struct child *c);
// steady.py once it has started its threads.
struct child start_steady(void);

// With a budget in percent of one core; 0: without.
struct spy_sampler *new_sampler(double budget);
// With its number as its label.
void add_process(struct spy_sampler *s, pid_t pid, uint32_t rate, enum spy_pausing pausing);
void run_for(struct spy_sampler *s, double seconds);
