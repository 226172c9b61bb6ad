#include "agent/cli/account.h"
#include <stdio.h>

void spy_cli_print_account(const struct spy_account *a)
{
    _cleanup_buf_ struct spy_buf facts = SPY_BUF_INIT(4096), warnings = SPY_BUF_INIT(4096);
    if (spy_account_print(a, &facts) == 0 && facts.len)
        fprintf(stderr, "%s\n", spy_buf_str(&facts));
    if (spy_account_warn(a, &warnings) == 0 && warnings.len)
        fprintf(stderr, "Warning: %s\n", spy_buf_str(&warnings));
}
