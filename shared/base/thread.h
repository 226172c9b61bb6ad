// thread.h - how threads are started here.
#pragma once
#include <pthread.h>

// Starts a thread that has all signals blocked: the program's signals go to its main thread, whose
// sleep they end. Returns 0 or an error number; *ret is set on success only. Any thread.
int spy_thread_start(pthread_t *ret, void *(*run)(void *arg), void *arg);
