/* Preloaded, it lets calls on *.jsonl fail, or hang, while the file named by PREDLOG_TESTS_FAULT is there. That file holds the
   number of the error, 0 for calls that hang, and behind it which calls: of "write", "sync", "open" and "stat", joined
   by commas; or "half", for writes that write half of what they are given. A descriptor that got ESTALE once keeps it until it is closed, as on a network file system: opening the
   file again is all that helps. Locks always fail, as on a file system that has none. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char stale[4096];

static int is_named_ours(const char *path) {
    size_t length = strlen(path);
    return length > 6 && !strcmp(path + length - 6, ".jsonl");
}

static int is_ours(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return is_named_ours(path);
}

/* Return the number of the error that a call gets, -1 for one that hangs, 0 for one that works. */
static int fault_of(const char *call) {
    int number = 0;
    char which[64] = "";
    FILE *fault = fopen(getenv("PREDLOG_TESTS_FAULT"), "r");
    if (!fault) return 0;
    int found = fscanf(fault, "%d %63s", &number, which);
    fclose(fault);
    if (found != 2 || !strstr(which, call)) return 0;
    return number ? number : -1;
}

static int error_of(const char *call) {
    int number;
    while ((number = fault_of(call)) < 0) usleep(10000);
    return number;
}

static int error_of_file(int file, const char *call) {
    if (!is_ours(file)) return 0;
    if (file < (int)sizeof stale && stale[file]) return ESTALE;
    int number = error_of(call);
    if (number == ESTALE && file < (int)sizeof stale) stale[file] = 1;
    return number;
}

#define REAL(name, ...) \
    static int (*real)(__VA_ARGS__); \
    if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *data, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if ((errno = error_of_file(file, "write"))) return -1;
    if (length > 1 && is_ours(file) && fault_of("half")) length /= 2;
    return real(file, data, length);
}

int fdatasync(int file) {
    REAL(fdatasync, int);
    if ((errno = error_of_file(file, "sync"))) return -1;
    return real(file);
}

int close(int file) {
    REAL(close, int);
    if (file >= 0 && file < (int)sizeof stale) stale[file] = 0;
    return real(file);
}

int flock(int file, int how) {
    REAL(flock, int, int);
    return is_ours(file) ? (errno = ENOLCK, -1) : real(file, how);
}

int fcntl64(int file, int command, ...) {
    REAL(fcntl64, int, int, ...);
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    if ((command == F_SETLK || command == F_SETLKW) && is_ours(file)) return errno = ENOLCK, -1;
    return real(file, command, argument);
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name, const char *, int, ...); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = va_arg(more, mode_t); \
        va_end(more); \
        if (is_named_ours(path) && (errno = error_of("open"))) return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define STAT(name, type) \
    int name(const char *path, struct type *status) { \
        REAL(name, const char *, struct type *); \
        if (is_named_ours(path) && (errno = error_of("stat"))) return -1; \
        return real(path, status); \
    }
#define FSTAT(name, type) \
    int name(int file, struct type *status) { \
        REAL(name, int, struct type *); \
        if ((errno = error_of_file(file, "stat"))) return -1; \
        return real(file, status); \
    }
STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)
