/* A pool of threads that Python does not know: one works, one waits. */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>

static volatile unsigned long sink;
static sem_t never;

__attribute__((noinline)) static void pool_burn(void)
{
    for (unsigned long i = 0;; i++)
        sink += i;
}

static void *pool_busy(void *unused)
{
    (void)unused;
    pool_burn();
    return NULL;
}

static void *pool_idle(void *unused)
{
    for (;; sink++)
        sem_wait(&never);
    return unused;
}

void begin_pool(void)
{
    pthread_t thread;
    sem_init(&never, 0, 0);
    pthread_create(&thread, NULL, pool_busy, NULL);
    pthread_setname_np(thread, "pool-busy");
    pthread_create(&thread, NULL, pool_idle, NULL);
    pthread_setname_np(thread, "pool-idle");
}
