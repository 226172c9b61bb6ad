// A program that maps a file, whole and from its start, so many times: many FILE TIMES
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct stat st;
    int fd = open(argv[1], O_RDONLY);
    if (argc != 3 || fd < 0 || fstat(fd, &st) < 0)
        return 1;
    for (long i = strtol(argv[2], NULL, 10); i > 0; i--)
        if (mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
            return 1;
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
