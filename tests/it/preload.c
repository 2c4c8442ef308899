/* What the tests cannot do to the kernel without rights: make its calls fail, and say what is mounted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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
