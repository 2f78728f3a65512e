/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What these suites use of Criterion, for builds with the thread sanitizer only: Criterion's own workers need memory at
 * addresses that the sanitizer keeps to itself.
 */
#ifndef MOETAP_TESTS_PLAIN_CRITERION_H
#define MOETAP_TESTS_PLAIN_CRITERION_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct plain_suite {
    void (*init)(void);
    void (*fini)(void);
    double timeout; /* meson has its own */
};

struct plain_test {
    const char *suite, *name;
    const struct plain_suite *options;
    void (*run)(void);
    struct plain_test *next;
};

void plain_register(struct plain_test *test);

#define TestSuite(suite_, ...) static const struct plain_suite plain_##suite_ = {__VA_ARGS__}

#define Test(suite_, name_)                                                                                            \
    static void suite_##_##name_(void);                                                                                \
    __attribute__((constructor)) static void register_##suite_##_##name_(void)                                         \
    {                                                                                                                  \
        static struct plain_test test = {#suite_, #name_, &plain_##suite_, suite_##_##name_, NULL};                    \
        plain_register(&test);                                                                                         \
    }                                                                                                                  \
    static void suite_##_##name_(void)

#define cr_assert(condition, ...)                                                                                      \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: assertion failed: %s: ", __FILE__, __LINE__, #condition);                          \
            fprintf(stderr, " " __VA_ARGS__);                                                                          \
            fputc('\n', stderr);                                                                                       \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)
#define cr_assert_not(condition, ...) cr_assert(!(condition), ##__VA_ARGS__)
#define cr_assert_null(pointer, ...) cr_assert((pointer) == NULL, ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...) cr_assert((a) == (b), ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...) cr_assert((a) != (b), ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...) cr_assert((a) > (b), ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...) cr_assert((a) >= (b), ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...) cr_assert((a) <= (b), ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...) cr_assert((a) < (b), ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp(a, b) == 0, ##__VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...) cr_assert(memcmp(a, b, size) == 0, ##__VA_ARGS__)
#define cr_log_info(...) ((void) 0)
#define cr_skip_test(...) exit(0)

#endif
