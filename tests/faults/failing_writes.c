/* Preloaded, it lets calls on *.jsonl fail while the file named by PREDLOG_FAULT is there. That file holds the number
   of the error, and "write" or "sync" behind it for the calls that fail. A descriptor that got ESTALE once keeps it
   until it is closed, as on a network file system: opening the file again is all that helps. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char stale[4096];

static int is_ours(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    return length > 6 && !memcmp(path + length - 6, ".jsonl", 6);
}

static int error_of(int file, const char *call) {
    int number = 0;
    char which[16] = "";
    if (!is_ours(file)) return 0;
    if (file < (int)sizeof stale && stale[file]) return ESTALE;
    FILE *fault = fopen(getenv("PREDLOG_FAULT"), "r");
    if (!fault) return 0;
    int found = fscanf(fault, "%d %15s", &number, which);
    fclose(fault);
    if (found != 2 || strcmp(which, call)) return 0;
    if (number == ESTALE && file < (int)sizeof stale) stale[file] = 1;
    return number;
}

ssize_t write(int file, const void *data, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if ((errno = error_of(file, "write"))) return -1;
    return real(file, data, length);
}

int fdatasync(int file) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    if ((errno = error_of(file, "sync"))) return -1;
    return real(file);
}

int close(int file) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "close");
    if (file >= 0 && file < (int)sizeof stale) stale[file] = 0;
    return real(file);
}
