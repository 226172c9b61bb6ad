// A program whose stacks are known: program MODE [LIBRARY]. It writes a byte when it is where it
// stays. Compiled with unwind tables and no frame pointers, without tables and with frame pointers,
// and stripped.
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define KEEP __attribute__((noinline, noclone))

static volatile uint64_t counter;
static volatile int is_done; // never
static int *volatile nowhere;
static const char *mode, *library;

static void say_ready(void)
{
    if (write(1, "r", 1) != 1)
        _exit(1);
}

KEEP static void spin(void)
{
    say_ready();
    while (!is_done)
        counter++;
}

// As a compiler of C++ or Rust would call them.
KEEP static void draw_circle(int) __asm__("_ZN6shapes6CircleIiE4drawEi");
KEEP static void run_legacy(void) __asm__("_ZN4core3fmt5write17h0123456789abcdefE");
KEEP static void run_v0(void) __asm__("_RNvC7mycrate3foo");
KEEP static void run_cold(void) __asm__("settle.cold.7");

static void run_cold(void)
{
    spin();
    counter++;
}

static void run_v0(void)
{
    run_cold();
    counter++;
}

static void run_legacy(void)
{
    run_v0();
    counter++;
}

static void draw_circle(int n)
{
    run_legacy();
    counter += (uint64_t)n;
}

static void on_signal(int sig)
{
    spin();
    counter += (uint64_t)sig;
}

KEEP static void fault(void)
{
    signal(SIGSEGV, on_signal);
    *nowhere = 1;
    counter++;
}

KEEP static void ask_time(void)
{
    struct timespec t;
    say_ready();
    while (!is_done) {
        clock_gettime(CLOCK_MONOTONIC, &t);
        counter += (uint64_t)t.tv_nsec;
    }
}

// The first library waits for a byte, so that the test sees the process without the second.
KEEP static void open_library(void)
{
    char byte;
    say_ready();
    if (read(0, &byte, 1) != 1)
        _exit(1);
    void *handle = dlopen(library, RTLD_NOW);
    void (*run)(void (*)(void)) =
        handle ? (void (*)(void (*)(void)))dlsym(handle, "plugin_run") : 0;
    if (!run)
        _exit(1);
    run(spin);
    counter++;
}

// push %rbp; mov %rsp,%rbp; call *%rdi; pop %rbp; ret
KEEP static void run_made_code(void)
{
    static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
    char path[64], line[64];
    unsigned char *page =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        _exit(1);
    memcpy(page, code, sizeof code);
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    snprintf(line, sizeof line, "%lx %zx made::code\n", (unsigned long)page, sizeof code);
    FILE *f = fopen(path, "w");
    if (!f || fputs(line, f) < 0 || fclose(f) != 0)
        _exit(1);
    ((void (*)(void (*)(void)))(uintptr_t)page)(spin);
    counter++;
}

// Without tables and frame pointer, as people write it by hand.
void count_by_hand(volatile uint64_t *n);
__asm__(".type count_by_hand, @function\ncount_by_hand:\n"
        "1: incq (%rdi)\n jmp 1b\n .size count_by_hand, . - count_by_hand\n");

KEEP static void run_by_hand(void)
{
    say_ready();
    count_by_hand(&counter);
    counter++;
}

KEEP static void fault_elsewhere(void)
{
    stack_t stack = {.ss_sp = malloc(1 << 17), .ss_size = 1 << 17};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    if (sigaltstack(&stack, NULL) != 0 || sigaction(SIGSEGV, &action, NULL) != 0)
        _exit(1);
    *nowhere = 1;
    counter++;
}

// Calls body with another stack; what it was called with stays in the frame pointer.
void call_on_stack(void *top, void (*body)(void));
__asm__(".type call_on_stack, @function\ncall_on_stack:\n .cfi_startproc\n push %rbp\n"
        " .cfi_def_cfa_offset 16\n .cfi_offset 6, -16\n mov %rsp, %rbp\n .cfi_def_cfa_register 6\n"
        " mov %rdi, %rsp\n call *%rsi\n mov %rbp, %rsp\n pop %rbp\n .cfi_def_cfa 7, 8\n ret\n"
        " .cfi_endproc\n .size call_on_stack, . - call_on_stack\n");

KEEP static void change_stack(void)
{
    char *stack = malloc(1 << 17);
    call_on_stack(stack + (1 << 17), spin);
    counter++;
}

KEEP static void run_coroutine(void)
{
#ifdef __GLIBC__ // musl has none
    static ucontext_t home, other;
    getcontext(&other);
    other.uc_stack.ss_sp = malloc(1 << 17);
    other.uc_stack.ss_size = 1 << 17;
    other.uc_link = &home;
    makecontext(&other, spin, 0);
    swapcontext(&home, &other);
#endif
    counter++;
}

static void *run_thread(void *argument)
{
    spin();
    return argument;
}

KEEP static void run_in_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_thread, NULL) == 0)
        pthread_join(thread, NULL);
    counter++;
}

static int compare_numbers(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

KEEP static uint64_t leaf(uint64_t x)
{
    return x * 3 + 1;
}

KEEP static uint64_t with_saves(uint64_t x)
{
    uint64_t a = leaf(x), b = leaf(a), c = leaf(b);
    if (c % 7 == 3)
        return a;
    return a + b + c + leaf(x + a);
}

// What a test goes through one instruction at a time.
KEEP static void work(void)
{
    int numbers[24];
    say_ready();
    while (!is_done) {
        for (int i = 0; i < 24; i++)
            numbers[i] = (int)(with_saves((uint64_t)i) % 13);
        qsort(numbers, 24, sizeof *numbers, compare_numbers);
        counter += (uint64_t)numbers[0];
    }
}

KEEP static void deepen(int n)
{
    volatile char room[2000];
    room[0] = (char)n;
    if (n)
        deepen(n - 1);
    else
        spin();
    counter += (uint64_t)room[0];
}

KEEP static void inner(void)
{
    static const struct {
        const char *mode;
        void (*run)(void);
    } modes[] = {{"spin", spin},
                 {"fault", fault},
                 {"time", ask_time},
                 {"work", work},
                 {"open", open_library},
                 {"made", run_made_code},
                 {"hand", run_by_hand},
                 {"other", change_stack},
                 {"elsewhere", fault_elsewhere},
                 {"coroutine", run_coroutine},
                 {"thread", run_in_thread}};
    if (!strcmp(mode, "names"))
        draw_circle(3);
    if (!strcmp(mode, "deep"))
        deepen(100);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(mode, modes[i].mode))
            modes[i].run();
    counter++;
}

KEEP static void middle(void)
{
    inner();
    counter++;
}

KEEP static void outer(void)
{
    middle();
    counter++;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 1;
    mode = argv[1];
    library = argc > 2 ? argv[2] : NULL;
    outer();
    return counter != 0;
}
