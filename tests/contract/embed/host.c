// A program that is not Python but runs one, or several: loads each library that it is given and
// lets it run the code, each in a thread of its own.
//     host CODE LIBRARY...
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static const char *code;

static void *run(void *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void (*initialize)(int) = library ? (void (*)(int))dlsym(library, "Py_InitializeEx") : NULL;
    int (*execute)(const char *, void *) =
        library ? (int (*)(const char *, void *))dlsym(library, "PyRun_SimpleStringFlags") : NULL;
    if (!initialize || !execute) {
        fprintf(stderr, "%s\n", dlerror());
        _exit(1);
    }
    initialize(0);
    execute(code, NULL);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    code = argv[1];
    for (int i = 2; i < argc; i++)
        pthread_create(&thread, NULL, run, argv[i]);
    for (;;)
        pause();
}
