/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of the command, a file each, and what they share: exit statuses and the way to speak. */
#ifndef MOETAP_TOOLS_VERBS_H
#define MOETAP_TOOLS_VERBS_H

#include <stdbool.h>
#include <stdint.h>

#define EXIT_OK 0
#define EXIT_FAILED 1      /* the operation failed: one line on stderr says why */
#define EXIT_USAGE 2       /* bad options or arguments */
#define EXIT_LOST 3        /* --strict, and records were lost */
#define EXIT_NOT_RUN 126   /* the command was found and could not be run */
#define EXIT_NOT_FOUND 127 /* no such command */

int verb_record(int argc, char **argv);
int verb_drain(int argc, char **argv);
int verb_table(int argc, char **argv);
int verb_ls(int argc, char **argv);
int verb_clean(int argc, char **argv);
int verb_info(int argc, char **argv);
int verb_dump(int argc, char **argv);
int verb_requests(int argc, char **argv);
int verb_export(int argc, char **argv);
int verb_recipes(int argc, char **argv);
int verb_doctor(int argc, char **argv);
int verb_probe(int argc, char **argv);

/*
 * Runs a command with the library preloaded, and its signals passed on, until it has ended: the status that `record`
 * ends with. `ran`: it could be started. `source` may be NULL.
 */
int run_preloaded(char **command, const char *source, bool *ran);
/* As `record` does, but what was captured is left to a report to say. `source` and `recipe` may be NULL. */
int record_to_report(char **command, const char *source, const char *recipe, const char *trace);

/* Asked before a command runs, so that it does not run for nothing: can this file be written? Says so if not. */
bool can_write(const char *path);

/* "moetap: ..." on stderr; returns EXIT_FAILED resp. EXIT_USAGE. */
__attribute__((format(printf, 1, 2))) int say_failed(const char *format, ...);
__attribute__((format(printf, 1, 2))) int say_usage(const char *format, ...);

/* 0, or said what --source may be. */
int check_source(const char *source);
/* --block-size of requests and export. */
bool parse_block_size(const char *text, uint32_t *size);

/* getopt said '?' or ':': names the option. */
int say_bad_option(char *const *argv, int opt);

#endif
