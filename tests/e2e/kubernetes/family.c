// family [SECONDS]: a process with two children, for the tests of discovery. Ends after SECONDS, or
// at SIGTERM; the children end with it.
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

static void on_term(int sig)
{
    (void)sig;
    _exit(0);
}

int main(int argc, char **argv)
{
    signal(SIGTERM, on_term);
    for (int i = 0; i < 2; i++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
    }
    if (argc > 1) {
        sleep((unsigned)strtoul(argv[1], NULL, 10));
        return 3;
    }
    for (;;)
        pause();
}
