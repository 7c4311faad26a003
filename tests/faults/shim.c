/* Loaded before the C library: counts what a process does to the files below one folder, and at the n-th time kills the
 * process, or makes the disk full or broken from there on.
 *
 * Durable steps: fsync, fdatasync, rename, unlink. Writes: write, pwrite, ftruncate. A step at which the process is
 * killed is not done; a write at which it is killed is done by half. The counters are shared with forked processes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL_AT_STEP, KILL_AT_WRITE, FULL, BROKEN, FULL_ONCE };

static struct { long steps, writes; } *counts;
static int kind = COUNT;
static long at = -1;
static char under[4096] = "";
static size_t under_length = 0;

__attribute__((constructor)) static void begin(void) {
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Count from nothing, below this folder. */
void fault_arm(const char *folder, int what, long n) {
    counts->steps = counts->writes = 0;
    snprintf(under, sizeof under, "%s", folder);
    under_length = strlen(under);
    kind = what;
    at = n;
}

void fault_disarm(void) { kind = COUNT; }
long fault_steps(void) { return counts->steps; }
long fault_writes(void) { return counts->writes; }

static int is_watched(const char *path) {
    return under_length && strncmp(path, under, under_length) == 0;
}

static int is_open_below(int fd) {
    char link[64], path[4096];
    if (!under_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_watched(path);
}

/* One durable step; also for the process itself to tell of one that is no file's. -1 with errno where it must fail. */
int fault_step(void) {
    long mine = __sync_add_and_fetch(&counts->steps, 1);
    if (kind == KILL_AT_STEP && mine == at) kill(getpid(), SIGKILL);
    if (kind == BROKEN && counts->writes >= at) { errno = EIO; return -1; }
    return 0;
}

/* 1: kill when half of it is done; -1: fail with errno. */
static int write_begins(void) {
    long mine = __sync_add_and_fetch(&counts->writes, 1);
    if (kind == KILL_AT_WRITE && mine == at) return 1;
    if ((kind == FULL && mine >= at) || (kind == FULL_ONCE && mine == at)) { errno = ENOSPC; return -1; }
    if (kind == BROKEN && mine >= at) { errno = EIO; return -1; }
    return 0;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define STEP_ON_FD(name) \
    int name(int fd) { \
        REAL(name); \
        if (is_open_below(fd) && fault_step()) return -1; \
        return real(fd); \
    }
STEP_ON_FD(fsync)
STEP_ON_FD(fdatasync)

int rename(const char *from, const char *to) {
    REAL(rename);
    if (is_watched(to) && fault_step()) return -1;
    return real(from, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    REAL(renameat);
    if (is_watched(to) && fault_step()) return -1;
    return real(from_fd, from, to_fd, to);
}

int unlink(const char *path) {
    REAL(unlink);
    if (is_watched(path) && fault_step()) return -1;
    return real(path);
}

int unlinkat(int fd, const char *path, int flags) {
    REAL(unlinkat);
    if (is_watched(path) && fault_step()) return -1;
    return real(fd, path, flags);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    int fate = is_open_below(fd) ? write_begins() : 0;
    if (fate < 0) return -1;
    if (fate > 0) { real(fd, data, size / 2); kill(getpid(), SIGKILL); }
    return real(fd, data, size);
}

#define WRITE_AT(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) { \
        REAL(name); \
        int fate = is_open_below(fd) ? write_begins() : 0; \
        if (fate < 0) return -1; \
        if (fate > 0) { real(fd, data, size / 2, offset); kill(getpid(), SIGKILL); } \
        return real(fd, data, size, offset); \
    }
WRITE_AT(pwrite, off_t)
WRITE_AT(pwrite64, off64_t)

#define TRUNCATE(name, offset_type) \
    int name(int fd, offset_type size) { \
        REAL(name); \
        int fate = is_open_below(fd) ? write_begins() : 0; \
        if (fate < 0) return -1; \
        if (fate > 0) kill(getpid(), SIGKILL); \
        return real(fd, size); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)
