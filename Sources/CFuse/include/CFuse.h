// libfuse's low-level interface and what Swift cannot import of it.
#ifndef S3B_CFUSE_H
#define S3B_CFUSE_H
#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

/// Makes a session of the words in `argv`; NULL after it said why through the log function.
struct fuse_session *cfuse_session_new(
    int argc, char **argv, const struct fuse_lowlevel_ops *operations, void *user_data);
/// Serves requests with up to `threads` threads until the mount ends (0), a signal came (its
/// number) or reading requests failed (-errno). Blocks.
int cfuse_session_loop(struct fuse_session *session, unsigned threads);
/// Sends what libfuse has to say, one line a call and without the line break, to `sink`.
/// `level` is one of the LOG_ numbers of syslog.
void cfuse_set_log(void (*sink)(int level, const char *line));

#endif
