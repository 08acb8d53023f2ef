/* What the test programs share: checks, and lines that check themselves (as tests/common/mod.rs makes them). */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <shm_mailbox.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* Both are whole numbers; shows them if they differ. */
#define EQUAL(left, right)                                                                                             \
    do {                                                                                                               \
        long long left_ = (long long)(left), right_ = (long long)(right);                                              \
        if (left_ != right_) {                                                                                         \
            fprintf(stderr, "%s:%d: %s is %lld, and not %lld\n", __FILE__, __LINE__, #left, left_, right_);            \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* A test program ends with the one that started it. */
static inline void end_with_parent(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* The finaliser of splitmix64: every bit of the result depends on every bit of `x`. */
static inline uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t word(uint64_t number, uint64_t salt, size_t length, size_t index)
{
    return mix(number ^ mix(salt ^ mix(length))) + index * UINT64_C(0x9e3779b97f4a7c15);
}

/* Makes the line of message `number`: no other message has its bytes. */
static inline void fill(unsigned char *bytes, size_t length, uint64_t number, uint64_t salt)
{
    for (size_t at = 0; at < length; at += 8) {
        uint64_t value = word(number, salt, length, at / 8);
        memcpy(bytes + at, &value, length - at < 8 ? length - at : 8);
    }
}

static inline bool is_line(const unsigned char *bytes, size_t length, uint64_t number, uint64_t salt)
{
    for (size_t at = 0; at < length; at += 8) {
        uint64_t value = word(number, salt, length, at / 8);
        if (memcmp(bytes + at, &value, length - at < 8 ? length - at : 8) != 0)
            return false;
    }
    return true;
}

#endif
