// podspy agent in the static program, which leaves the agent out: its HTTP client and TLS need
// shared libraries, certificates and a name service, which an empty container does not have.
#include "agent/cli/cli.h"
#include "agent/cli/doctor.h"
#include "shared/base/mem.h"

#define WHERE_THE_AGENT_IS                                                                         \
    "install the Debian package podspy, or run the image podspy-agent (docs/docker.md, "           \
    "docs/kubernetes.md)"

static int refuse_agent(int argc, char **argv, struct spy_err *err)
{
    (void)argc, (void)argv;
    return spy_err_set(err, SPY_ERR_UNSUPPORTED, 0,
                       "the static podspy has no agent; " WHERE_THE_AGENT_IS);
}

const struct spy_command spy_command_agent = {
    .name = "agent",
    .summary = "not in this static program: see the package podspy or its image",
    .run = refuse_agent,
};

static enum spy_finding check_no_agent(struct spy_doctor *d)
{
    SPY_DOCTOR_SAY(d, "this is the static podspy, which has no agent");
    SPY_DOCTOR_CURE(d, "%s", WHERE_THE_AGENT_IS);
    return SPY_DOCTOR_NOTE;
}

const struct spy_doctor_check spy_doctor_agent[] = {{"agent", check_no_agent}};
const size_t spy_doctor_n_agent = SPY_COUNT(spy_doctor_agent);
const char spy_doctor_works_here[] = "The processes that are visible here can be profiled.";

void spy_doctor_free_agent(struct spy_doctor *d)
{
    (void)d;
}
