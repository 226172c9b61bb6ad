// metrics.h - what the agent counted, for whoever watches it. Inside of agent/cli.
//
// The agent listens nowhere, so that there is nothing to reach on thousands of nodes. Its metrics
// are a file, FOLDER/metrics.prom, in the Prometheus text format, replaced as a whole after each
// window: node_exporter's textfile collector takes it as it is.
#pragma once
#include "agent/sampler/sampler.h"

int spy_cli_write_metrics(const char *folder, struct spy_sampler *s, struct spy_err *err);
