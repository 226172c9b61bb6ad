/* Threads that Python does not know: one works, one waits, and one calls Python now and then. */
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

static void (*called)(void);

__attribute__((noinline)) static void burn_between(void)
{
    for (unsigned long i = 0; i < 2000000; i++)
        sink += i;
}

static void *pool_caller(void *unused)
{
    for (;; sink++) {
        burn_between();
        called();
    }
    return unused;
}

/* Another thread, which calls a Python function again and again: Python knows it while it does. */
void begin_caller(void (*function)(void))
{
    pthread_t thread;
    called = function;
    pthread_create(&thread, NULL, pool_caller, NULL);
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
