/* What the tests cannot do to the kernel without rights: make its calls fail, and say what is mounted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(const char *call) {
    const char *failing = getenv("FAILING_CALL");
    return failing && strcmp(failing, call) == 0;
}

int inotify_init1(int flags) {
    if (fails("inotify_init1")) {
        errno = EMFILE;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "inotify_init1");
    return real(flags);
}

int inotify_add_watch(int descriptor, const char *path, uint32_t mask) {
    if (fails("inotify_add_watch")) {
        errno = ENOSPC;
        return -1;
    }
    int (*real)(int, const char *, uint32_t) =
        (int (*)(int, const char *, uint32_t))dlsym(RTLD_NEXT, "inotify_add_watch");
    return real(descriptor, path, mask);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    const char *mounts = getenv("MOUNTINFO");
    if (mounts && strcmp(path, "/proc/self/mountinfo") == 0)
        path = mounts;
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    return real(path, flags, mode);
}

/* How much of a write there is room for: a full disk takes what is written over, and nothing more. */
static size_t room(int descriptor, off64_t offset, size_t count) {
    const char *folder = getenv("FULL_FOLDER");
    char sign[4096], link[64], path[4096];
    struct stat64 file;
    if (!folder)
        return count;
    snprintf(sign, sizeof sign, "%s.full", folder);
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return count;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)) != 0 || path[strlen(folder)] != '/')
        return count;
    if (access(sign, F_OK) != 0 || fstat64(descriptor, &file) != 0)
        return count;
    off64_t left = file.st_size - offset;
    return left <= 0 ? 0 : (size_t)left < count ? (size_t)left : count;
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    size_t most = room(descriptor, offset, count);
    if (most == 0 && count > 0) {
        errno = ENOSPC;
        return -1;
    }
    ssize_t (*real)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return real(descriptor, bytes, most, offset);
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    ssize_t (*real)(int, const void *, size_t) = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (!getenv("FULL_FOLDER"))
        return real(descriptor, bytes, count);
    size_t most = room(descriptor, lseek64(descriptor, 0, SEEK_CUR), count);
    if (most == 0 && count > 0) {
        errno = ENOSPC;
        return -1;
    }
    return real(descriptor, bytes, most);
}

/* A disk that does not get done: who waits for it goes on waiting. */
static void await_disk(void) {
    const char *sign = getenv("STUCK_DISK");
    while (sign && access(sign, F_OK) == 0)
        usleep(1000);
}

int fsync(int descriptor) {
    await_disk();
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return real(descriptor);
}

int fdatasync(int descriptor) {
    await_disk();
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(descriptor);
}
