// metrics.h - the agent's counters as a file for Prometheus. Inside of agent/daemon.
//
// The agent opens no port, so that thousands of nodes have nothing to attack. FOLDER/metrics.prom
// holds its metrics in the Prometheus text format and is replaced as a whole after each window;
// node_exporter's textfile collector reads it as it is.
#pragma once
#include "agent/sampler/sampler.h"

// SPY_ERR_LIMIT, SPY_ERR_NOMEM, SPY_ERR_IO; err has the reason.
int spy_daemon_write_metrics(const char *folder, struct spy_sampler *s, struct spy_err *err);
