// CRC-32C. Two ways to the same number: the instructions of SSE4.2 or ARMv8, and eight tables.
#include "CSys.h"

#include <pthread.h>
#include <string.h>

static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_tables(void) {
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int bit = 0; bit < 8; bit++) crc = (crc & 1) ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
        tables[0][n] = crc;
    }
    for (uint32_t n = 0; n < 256; n++)
        for (int k = 1; k < 8; k++)
            tables[k][n] = (tables[k - 1][n] >> 8) ^ tables[0][tables[k - 1][n] & 0xff];
}

uint32_t csys_crc32c_table(uint32_t crc, const void *bytes, size_t length) {
    pthread_once(&tables_once, make_tables);
    const unsigned char *p = bytes;
    crc = ~crc;
    for (; length >= 8; length -= 8, p += 8) {
        uint64_t word = 0;
        for (int k = 0; k < 8; k++) word |= (uint64_t)p[k] << (8 * k);
        word ^= crc;
        crc = 0;
        for (int k = 0; k < 8; k++) crc ^= tables[7 - k][(word >> (8 * k)) & 0xff];
    }
    for (; length > 0; length--, p++) crc = (crc >> 8) ^ tables[0][(crc ^ *p) & 0xff];
    return ~crc;
}

// What the instructions of the CPU do, under one name each.
#if defined(__x86_64__)
#include <nmmintrin.h>
#define HAS_STEPS 1
#define STEPS __attribute__((target("sse4.2")))
STEPS static inline uint64_t step8(uint64_t crc, uint64_t word) { return _mm_crc32_u64(crc, word); }
STEPS static inline uint64_t step1(uint64_t crc, unsigned char byte) {
    return _mm_crc32_u8((uint32_t)crc, byte);
}
static int has_steps(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define HAS_STEPS 1
#define STEPS
static inline uint64_t step8(uint64_t crc, uint64_t word) { return __crc32cd((uint32_t)crc, word); }
static inline uint64_t step1(uint64_t crc, unsigned char byte) {
    return __crc32cb((uint32_t)crc, byte);
}
static int has_steps(void) { return 1; }
#endif

#if defined(HAS_STEPS)

// A step takes three cycles, and one can begin in each: so three parts of the bytes are done side by
// side. Three of these and a little are the 4096 bytes of a granule.
enum { LANE = 1360 };

// What LANE zero bytes make of each byte of a register.
static uint32_t beyond[4][256];
static pthread_once_t beyond_once = PTHREAD_ONCE_INIT;

static void make_beyond(void) {
    pthread_once(&tables_once, make_tables);
    for (int k = 0; k < 4; k++)
        for (uint32_t n = 0; n < 256; n++) {
            uint32_t crc = n << (8 * k);
            for (int count = 0; count < LANE; count++) crc = (crc >> 8) ^ tables[0][crc & 0xff];
            beyond[k][n] = crc;
        }
}

static inline uint64_t pass_lane(uint64_t crc) {
    return beyond[0][crc & 0xff] ^ beyond[1][(crc >> 8) & 0xff] ^ beyond[2][(crc >> 16) & 0xff] ^
           beyond[3][(crc >> 24) & 0xff];
}

static inline uint64_t word_at(const unsigned char *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

STEPS static uint32_t crc_steps(uint32_t start, const void *bytes, size_t length) {
    const unsigned char *p = bytes;
    uint64_t crc = (uint32_t)~start;
    if (length >= 3 * LANE) pthread_once(&beyond_once, make_beyond);
    for (; length >= 3 * LANE; length -= 3 * LANE, p += 3 * LANE) {
        uint64_t second = 0, third = 0;
        for (size_t at = 0; at < LANE; at += 8) {
            crc = step8(crc, word_at(p + at));
            second = step8(second, word_at(p + LANE + at));
            third = step8(third, word_at(p + 2 * LANE + at));
        }
        crc = pass_lane(pass_lane(crc) ^ second) ^ third;
    }
    for (; length >= 8; length -= 8, p += 8) crc = step8(crc, word_at(p));
    for (; length > 0; length--, p++) crc = step1(crc, *p);
    return ~(uint32_t)crc;
}

#endif

uint32_t csys_crc32c(uint32_t crc, const void *bytes, size_t length) {
#if defined(HAS_STEPS)
    if (has_steps()) return crc_steps(crc, bytes, length);
#endif
    return csys_crc32c_table(crc, bytes, length);
}
