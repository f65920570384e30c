#define _GNU_SOURCE
#include "CDaemon.h"

#include <sys/prctl.h>
#include <syslog.h>
#include <unistd.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

void cdaemon_openlog(const char *ident) { openlog(ident, LOG_PID | LOG_NDELAY, LOG_DAEMON); }

void cdaemon_syslog(int level, const char *text) { syslog(level, "%s", text); }

int cdaemon_set_io_flusher(void) { return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); }

void cdaemon_close_from(int first) { closefrom(first); }

static int argument_count;
static char **arguments;

// The C library hands them to constructors; nothing else has the place itself.
__attribute__((constructor)) static void keep_arguments(int argc, char **argv) {
    argument_count = argc;
    arguments = argv;
}

char **cdaemon_visible_arguments(int *count) {
    *count = argument_count;
    return arguments;
}
