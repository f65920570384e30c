// What the program needs of the C library and Swift cannot import.
#ifndef S3B_CDAEMON_H
#define S3B_CDAEMON_H

/// Opens the system log under `ident`, which must stay valid.
void cdaemon_openlog(const char *ident);
/// Writes one line. `level` is one of the LOG_ numbers, 3 (error) to 7 (debug).
void cdaemon_syslog(int level, const char *text);
/// Tells the kernel that this process serves a file system, so that it must not wait for its own
/// writeback when it needs memory. 0, or -1 with errno (needs CAP_SYS_RESOURCE).
int cdaemon_set_io_flusher(void);
/// Closes every descriptor from `first` on.
void cdaemon_close_from(int first);
/// The arguments of the process where everybody sees them (ps): `*count` strings, may be changed.
char **cdaemon_visible_arguments(int *count);

#endif
