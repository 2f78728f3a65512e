/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmoetap: find, attach and drain moetap segments. Needs no CUDA.
 *
 * Functions return 0 or a negative errno; where `struct mt_error *` is taken (NULL allowed) it then holds one line that
 * says what was wrong and what to do. An mt_reader belongs to one thread at a time. Nothing here prints.
 */
#ifndef MOETAP_SHM_READER_H
#define MOETAP_SHM_READER_H

#include "layout.h"

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MT_API __attribute__((visibility("default")))
#else
#define MT_API
#endif

struct mt_error {
    char text[256];
};

/* How the stream ended. */
enum mt_end {
    MT_END_NOT = 0,    /* the writer lives */
    MT_END_CLOSED = 1, /* it left through exit() */
    MT_END_DIED = 2,   /* it was killed or crashed: records not committed then are counted in mt_stats.torn */
};

struct mt_stats {
    uint64_t records; /* read by this reader */
    uint64_t rows;
    uint64_t lost_full;
    uint64_t lost_too_big;
    uint64_t lost_torn;    /* claimed, never committed: only after the writer's death */
    uint64_t not_captured; /* recognised router launches that were not tapped */
};

struct mt_segment_name {
    char name[256]; /* file name, without the folder */
};

/* The folder of segments: MOETAP_SHM_DIR or MT_SHM_DIR. */
MT_API const char *mt_shm_dir(void);

/*
 * Lists segments whose session is `session` (NULL: all), sorted by name. *names is malloc()ed, free() it.
 * Files that carry the prefix and are no valid segment are listed too: attaching says what is wrong with them.
 */
MT_API int mt_discover(const char *session, struct mt_segment_name **names, size_t *count, struct mt_error *error);

typedef struct mt_reader mt_reader;

enum mt_attach_flags {
    MT_ATTACH_DRAIN = 1u << 0,    /* take the read side (one at a time, else -EBUSY); without it only look */
    MT_ATTACH_IN_PLACE = 1u << 1, /* mt_read() hands out the ids where they lie, without a copy */
};

/*
 * Attaches by name, or by path if it has a '/'. -ENOENT no such segment, -EINVAL not a segment or damaged, -EPROTO
 * another ABI major, -EAGAIN not complete yet, -EBUSY another reader drains it.
 */
MT_API int mt_attach(const char *name, unsigned flags, mt_reader **reader, struct mt_error *error);
MT_API void mt_detach(mt_reader *reader);

/* Removes the segment's name. Only the read side's holder may (-EPERM otherwise). */
MT_API int mt_unlink(mt_reader *reader, struct mt_error *error);

MT_API const struct mt_header *mt_header(const mt_reader *reader);
MT_API const char *mt_name(const mt_reader *reader);

/* Sites complete so far; mt_site() copies one (live fields as of now). */
MT_API uint32_t mt_site_count(const mt_reader *reader);
MT_API int mt_site(const mt_reader *reader, uint32_t index, struct mt_site *site);

/*
 * Hands out committed records in stream order, at most `max` of them, and frees their place in the ring once `take` has
 * returned for each. `record` and `ids` (record->bytes bytes: the ids, and mt_record_weights() if there are some) are
 * private copies, valid during the call. Every
 * record has been validated (commit word before and after the copy, bounds, site). A non-zero return of `take`
 * stops; the record that it saw counts as read. Returns the number of records, 0 if there is none now, or a negative
 * errno (-EBADMSG: the ring holds what no writer wrote).
 *
 * With MT_ATTACH_IN_PLACE, `ids` points into the ring, read-only and in one piece. The writer leaves that place alone
 * until `take` has returned; should a broken one not, that is found out behind `take` instead of before it: -EBADMSG
 * then also means that what `take` saw last is not to be believed. It is not counted as read.
 */
typedef int mt_take(const struct mt_record *record, const void *ids, void *user);
MT_API int64_t mt_read(mt_reader *reader, size_t max, mt_take *take, void *user, struct mt_error *error);

/* True once a record can be read; waits for at most timeout_ms. */
MT_API bool mt_wait(mt_reader *reader, int timeout_ms);

/* Is the writer still there? Looks at pid and start time, never at a time-out. */
MT_API enum mt_end mt_ended(const mt_reader *reader);

/*
 * To be called once mt_ended() says so and mt_read() gave 0: steps over what a dead writer claimed and never committed,
 * and lets mt_read() go on behind it. False if nothing lies behind. What was given up shows in mt_stats.lost_torn.
 */
MT_API bool mt_skip_torn(mt_reader *reader);

MT_API void mt_stats(const mt_reader *reader, struct mt_stats *stats);

/* One id of a record's payload as int32, MT_ID_NEGATIVE and MT_ID_OVERFLOW for the two marks; one value of row context
 * as it is. */
MT_API int32_t mt_decode_id(const void *ids, unsigned width, size_t index);

/* One of mt_record_weights() as a float, which holds each value of every enum mt_weight_type; NaN if there are none. */
MT_API float mt_decode_weight(const void *weights, unsigned type, size_t index);

/* The library's version, "major.minor.patch". */
MT_API const char *mt_version(void);

#ifdef __cplusplus
}
#endif
#endif
