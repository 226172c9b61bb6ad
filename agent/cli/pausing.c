#include "agent/cli/pausing.h"

void spy_cli_take_pausing(int key, enum spy_pausing *pausing, const struct argp_state *state)
{
    if (*pausing != SPY_PAUSE_AUTO)
        argp_error(state, "--blocking and --nonblocking exclude each other");
    *pausing = key == SPY_CLI_BLOCKING ? SPY_PAUSE_ALWAYS : SPY_PAUSE_NEVER;
}

void spy_cli_check_pausing(enum spy_pausing pausing, bool native, const struct argp_state *state)
{
    if (native && pausing == SPY_PAUSE_NEVER)
        argp_error(state, "--native pauses threads: leave out --nonblocking");
}
