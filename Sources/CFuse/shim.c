#include "CFuse.h"

#include <errno.h>
#include <fuse3/fuse_log.h>
#include <stdio.h>
#include <string.h>

struct fuse_session *cfuse_session_new(
    int argc, char **argv, const struct fuse_lowlevel_ops *operations, void *user_data) {
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    struct fuse_session *session =
        fuse_session_new(&args, operations, sizeof *operations, user_data);
    fuse_opt_free_args(&args);
    return session;
}

int cfuse_session_loop(struct fuse_session *session, unsigned threads) {
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    if (config == NULL) return -ENOMEM;
    fuse_loop_cfg_set_max_threads(config, threads);
    fuse_loop_cfg_set_idle_threads(config, threads);
    fuse_loop_cfg_set_clone_fd(config, 0);
    int result = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return result;
}

static void (*log_sink)(int, const char *);

static void log_line(enum fuse_log_level level, const char *format, va_list arguments) {
    char line[1024];
    vsnprintf(line, sizeof line, format, arguments);
    size_t length = strlen(line);
    while (length > 0 && line[length - 1] == '\n') line[--length] = 0;
    if (log_sink != NULL && length > 0) log_sink((int)level, line);
}

void cfuse_set_log(void (*sink)(int level, const char *line)) {
    log_sink = sink;
    fuse_set_log_func(log_line);
}
