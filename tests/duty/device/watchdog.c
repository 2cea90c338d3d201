/* A watchdog's driver in front of libc: a FIFO takes the writes, this answers the questions. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <linux/watchdog.h>

int ioctl(int file, unsigned long request, ...) {
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    if ((uint32_t)request == (uint32_t)WDIOC_SETTIMEOUT)
        return 0; /* takes every time */
    if ((uint32_t)request == (uint32_t)WDIOC_GETSUPPORT) {
        struct watchdog_info info = {.options = WDIOF_MAGICCLOSE | WDIOF_SETTIMEOUT};
        memcpy(argument, &info, sizeof info);
        return 0;
    }
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return real(file, request, argument);
}
