/* Loaded before the C library: counts what a process does to the files below one folder, and at the n-th time kills the
 * process, or makes the disk full or broken from there on.
 *
 * Durable steps: fsync, fdatasync, rename, unlink. Writes: write, pwrite, pwritev, ftruncate, posix_fallocate. A step at which the process is
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

/* What is counted and what is to happen; shim.py has the same structure. */
static struct {
    long steps, writes, at;
    int kind;
    int family; /* a server's first process, which is killed with all its children; 0: who does it, alone */
    char under[4096];
} *state;

/* In memory that forked processes share, or in the file of FAULT_CONTROL, where who started us tells us what to do. */
__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULT_CONTROL");
    int fd = path ? open(path, O_RDWR) : -1;
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    if (fd >= 0) close(fd);
}

void *fault_state(void) { return state; }

/* Children of the first process know no other group: their ids are the kernel's list of them. */
static void kill_family(int first) {
    char path[64], children[8192];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", first, first);
    int fd = open(path, O_RDONLY);
    ssize_t length = fd < 0 ? 0 : read(fd, children, sizeof children - 1);
    children[length > 0 ? length : 0] = 0;
    kill(first, SIGKILL);
    for (char *next = children; *next;) {
        char *end;
        long child = strtol(next, &end, 10);
        if (end == next) break;
        if (child > 1 && child != getpid()) kill((pid_t)child, SIGKILL);
        next = end;
    }
}

static void die(void) {
    if (state->family) kill_family(state->family);
    kill(getpid(), SIGKILL);
}

static int is_watched(const char *path) {
    char whole[4096];
    size_t length = strlen(state->under);
    if (!length) return 0;
    if (path[0] == '/') return strncmp(path, state->under, length) == 0;
    if (!getcwd(whole, sizeof whole)) return 0;
    size_t so_far = strlen(whole);
    snprintf(whole + so_far, sizeof whole - so_far, "/%s", path);
    return strncmp(whole, state->under, length) == 0;
}

static int is_open_below(int fd) {
    char link[64], path[4096];
    if (!state->under[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_watched(path);
}

/* One durable step; also for the process itself to tell of one that is no file's. -1 with errno where it must fail. */
int fault_step(void) {
    long mine = __sync_add_and_fetch(&state->steps, 1);
    if (state->kind == KILL_AT_STEP && mine == state->at) die();
    if (state->kind == BROKEN && state->writes >= state->at) { errno = EIO; return -1; }
    return 0;
}

/* 1: kill when half of it is done; -1: fail with errno. */
static int write_begins(void) {
    long mine = __sync_add_and_fetch(&state->writes, 1);
    if (state->kind == KILL_AT_WRITE && mine == state->at) return 1;
    if ((state->kind == FULL && mine >= state->at) || (state->kind == FULL_ONCE && mine == state->at)) { errno = ENOSPC; return -1; }
    if (state->kind == BROKEN && mine >= state->at) { errno = EIO; return -1; }
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
    if (fate > 0) { real(fd, data, size / 2); die(); }
    return real(fd, data, size);
}

#define WRITE_AT(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) { \
        REAL(name); \
        int fate = is_open_below(fd) ? write_begins() : 0; \
        if (fate < 0) return -1; \
        if (fate > 0) { real(fd, data, size / 2, offset); die(); } \
        return real(fd, data, size, offset); \
    }
WRITE_AT(pwrite, off_t)
WRITE_AT(pwrite64, off64_t)

#define TRUNCATE(name, offset_type) \
    int name(int fd, offset_type size) { \
        REAL(name); \
        int fate = is_open_below(fd) ? write_begins() : 0; \
        if (fate < 0) return -1; \
        if (fate > 0) die(); \
        return real(fd, size); \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    REAL(pwritev);
    int fate = is_open_below(fd) ? write_begins() : 0;
    if (fate < 0) return -1;
    if (fate > 0) { real(fd, parts, (count + 1) / 2, offset); die(); }
    return real(fd, parts, count, offset);
}

/* Tells its error itself, not in errno. */
int posix_fallocate(int fd, off_t offset, off_t size) {
    REAL(posix_fallocate);
    int fate = is_open_below(fd) ? write_begins() : 0;
    if (fate < 0) return errno;
    if (fate > 0) die();
    return real(fd, offset, size);
}
