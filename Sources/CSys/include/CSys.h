// What Swift cannot import from the C library, as plain functions, and CRC32C.
#ifndef S3B_CSYS_H
#define S3B_CSYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/// CRC-32C (Castagnoli) of `length` bytes, continued from `crc` (the plain, not inverted, value of the
/// bytes before). Uses SSE4.2 or ARMv8 CRC instructions where the CPU has them, a table elsewhere.
uint32_t csys_crc32c(uint32_t crc, const void *bytes, size_t length);
/// The table version, for tests that hold it against the instructions.
uint32_t csys_crc32c_table(uint32_t crc, const void *bytes, size_t length);

/// Asks the CPU for the cache line at `address`; never faults.
static inline void csys_prefetch(const void *address) { __builtin_prefetch(address, 1); }

int csys_o_direct(void);
int csys_o_tmpfile(void);
/// Reads of `fd` do not change the access time from now on, if the caller may ask for that. C: O_NOATIME.
void csys_no_atime(int fd);
int csys_fallocate(int fd, int mode, off_t offset, off_t length);
/// Starts the write-back of dirty pages of a range, and does not wait for it. C: sync_file_range.
int csys_write_back(int fd, off_t offset, off_t length);
int csys_memfd(const char *name);
/// Takes (type F_WRLCK/F_RDLCK) or drops (F_UNLCK) an open-file-description lock; 0 or -1 with errno.
int csys_ofd_lock(int fd, short type, off_t start, off_t length);
/// 1 when another open file description holds a conflicting lock, 0 when not, -1 with errno.
int csys_ofd_conflict(int fd, short type, off_t start, off_t length);
/// Magic number of the file system that holds `fd`, or 0.
long csys_fs_type(int fd);
int csys_getrandom(void *target, size_t length);
pid_t csys_fork(void);
void csys_name_thread(const char *name);
uint64_t csys_monotonic_ms(void);
uint64_t csys_monotonic_ns(void);

#endif
