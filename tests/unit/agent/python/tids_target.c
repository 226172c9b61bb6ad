// Starts threads and prints, one a line, what pthread_self() says of each and its number; then
// waits to be killed. test_tids.py compiles it with each C library that is here.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int said;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *say(void *unused)
{
    pthread_mutex_lock(&lock);
    printf("%lx %ld\n", (unsigned long)pthread_self(), (long)syscall(SYS_gettid));
    said++;
    pthread_mutex_unlock(&lock);
    if (!unused)
        for (;;)
            pause();
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    int threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1;
    for (int n = threads; n > 1; n--)
        pthread_create(&thread, NULL, say, NULL);
    say(&thread);
    for (int n = 0; n < threads;) {
        usleep(1000);
        pthread_mutex_lock(&lock);
        n = said;
        pthread_mutex_unlock(&lock);
    }
    puts("done");
    fflush(stdout);
    for (;;)
        pause();
}
