/* Breaks the disk and the clock of one process, as a small file says from moment to moment.
 *
 * Loaded by LD_PRELOAD. CRASH_ORDERS names a file of 64-bit numbers, which both sides map or write:
 * what is to be broken, and how often it was. CRASH_STORE names the database: only it, its
 * write-ahead log (-wal) and the files of the log ahead of it (-ahead0, -ahead1) are broken. CRASH_UNDO names a file that gets, for each write to them that
 * no later sync has made safe, what stood there before: with it the harness takes back what a power
 * loss could have taken. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct orders {
    int64_t sync_delay_ms; /* each sync takes so much longer */
    int64_t disk_full;     /* writes fail with ENOSPC */
    int64_t read_only;     /* writes fail with EROFS */
    int64_t clock_step_ms; /* the wall clock is so far off */
    int64_t undo;          /* writes are noted until they are synced */
    int64_t lying_disk;    /* syncs succeed and make nothing safe */
    int64_t hits[6];       /* how often each of these was met */
};
enum { SYNC_DELAY, DISK_FULL, READ_ONLY, CLOCK_STEP, UNDO, LYING_DISK };

static struct orders none;
static struct orders *orders = &none;
static char store[4096];
static int undo = -1;
static pthread_mutex_t noting = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void start(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CRASH_STORE");
    if (path) snprintf(store, sizeof store, "%s", path);
    path = getenv("CRASH_UNDO");
    if (path) undo = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    path = getenv("CRASH_ORDERS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) orders = map;
    close(fd);
}

static int64_t order(int64_t *which) { return __atomic_load_n(which, __ATOMIC_ACQUIRE); }

static void hit(int which) { __atomic_add_fetch(&orders->hits[which], 1, __ATOMIC_RELAXED); }

/* 'd' for the database, 'w' for its write-ahead log, '0' and '1' for the files of the log ahead of it,
 * 0 for every other file. */
static char kind(int fd) {
    char link[64], path[4096];
    size_t length = strlen(store);
    if (length == 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t read = readlink(link, path, sizeof path - 1);
    if (read < (ssize_t)length) return 0;
    path[read] = 0;
    if (strncmp(path, store, length) != 0) return 0;
    if (path[length] == 0) return 'd';
    if (strcmp(path + length, "-wal") == 0) return 'w';
    if (strcmp(path + length, "-ahead0") == 0) return '0';
    return strcmp(path + length, "-ahead1") == 0 ? '1' : 0;
}

/* Notes what a write is about to overwrite: kind, offset, length, old length, old bytes, new bytes. */
static void note(int fd, char kind, const void *bytes, size_t length, off64_t offset) {
    char *old = malloc(length);
    if (!old) return;
    ssize_t had = pread64(fd, old, length, offset);
    if (had < 0) had = 0;
    int64_t head[4] = {kind, offset, (int64_t)length, had};
    real_write(undo, head, sizeof head);
    real_write(undo, old, (size_t)had);
    real_write(undo, bytes, length);
    free(old);
    hit(UNDO);
}

/* What has been synced cannot be lost any more; the notes of the other files stay. */
static void forget(char kind) {
    struct stat64 all;
    if (fstat64(undo, &all) != 0 || all.st_size == 0) return;
    size_t size = (size_t)all.st_size, kept = 0;
    char *notes = malloc(size);
    if (!notes || pread64(undo, notes, size, 0) != (ssize_t)size) {
        free(notes);
        return;
    }
    for (size_t at = 0; at + 32 <= size;) {
        int64_t head[4];
        memcpy(head, notes + at, sizeof head);
        size_t whole = 32 + (size_t)head[3] + (size_t)head[2];
        if ((char)head[0] != kind) {
            memmove(notes + kept, notes + at, whole);
            kept += whole;
        }
        at += whole;
    }
    if (ftruncate64(undo, 0) == 0) {
        lseek64(undo, 0, SEEK_SET);
        if (kept > 0) real_write(undo, notes, kept);
    }
    free(notes);
}

static int refused(void) {
    if (order(&orders->disk_full)) {
        hit(DISK_FULL);
        errno = ENOSPC;
        return 1;
    }
    if (order(&orders->read_only)) {
        hit(READ_ONLY);
        errno = EROFS;
        return 1;
    }
    return 0;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!real_write) start();
    char of = kind(fd);
    if (!of) return real_write(fd, bytes, length);
    if (refused()) return -1;
    if (!order(&orders->undo) || undo < 0) return real_write(fd, bytes, length);
    pthread_mutex_lock(&noting);
    note(fd, of, bytes, length, lseek64(fd, 0, SEEK_CUR));
    ssize_t written = real_write(fd, bytes, length);
    pthread_mutex_unlock(&noting);
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    if (!real_pwrite) start();
    char of = kind(fd);
    if (!of) return real_pwrite(fd, bytes, length, offset);
    if (refused()) return -1;
    if (!order(&orders->undo) || undo < 0) return real_pwrite(fd, bytes, length, offset);
    pthread_mutex_lock(&noting);
    note(fd, of, bytes, length, offset);
    ssize_t written = real_pwrite(fd, bytes, length, offset);
    pthread_mutex_unlock(&noting);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return pwrite64(fd, bytes, length, offset);
}

static int sync_by(int (*real)(int), int fd) {
    char of = kind(fd);
    if (!of) return real(fd);
    int64_t delay = order(&orders->sync_delay_ms);
    if (delay > 0) {
        hit(SYNC_DELAY);
        usleep((useconds_t)delay * 1000);
    }
    if (order(&orders->lying_disk)) {
        hit(LYING_DISK);
        return 0;
    }
    int result = real(fd);
    if (result == 0 && order(&orders->undo) && undo >= 0) {
        pthread_mutex_lock(&noting);
        forget(of);
        pthread_mutex_unlock(&noting);
    }
    return result;
}

int fsync(int fd) {
    if (!real_fsync) start();
    return sync_by(real_fsync, fd);
}

int fdatasync(int fd) {
    if (!real_fdatasync) start();
    return sync_by(real_fdatasync, fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real_clock_gettime) start();
    int result = real_clock_gettime(clock, now);
    int64_t step = order(&orders->clock_step_ms);
    if (result != 0 || step == 0 || clock != CLOCK_REALTIME) return result;
    hit(CLOCK_STEP);
    int64_t nanos = now->tv_nsec + (step % 1000) * 1000000;
    now->tv_sec += step / 1000 + nanos / 1000000000;
    now->tv_nsec = nanos % 1000000000;
    if (now->tv_nsec < 0) {
        now->tv_nsec += 1000000000;
        now->tv_sec -= 1;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}
