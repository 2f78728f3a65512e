/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live table: which experts the token in each KV cache slot was routed to, as [slot, layer, k] in shared memory.
 * One process, the owner, keeps it (`moetap table`); any number of others look rows up, without a lock and without a
 * word to the owner. Part of libmoetap; needs no CUDA.
 *
 *   offset 0        struct mt_table_header
 *   chunks_offset   one bit for each chunk_slots slots: is there memory behind these rows?
 *   rows_offset     a row of `stride` bytes for each slot: struct mt_table_slot, then layers * k ids of `width` bytes
 *
 * The file grows as slots are used, and memory is taken chunk by chunk before a row is stored: a full /dev/shm is an
 * error code for the owner, not a SIGBUS. A reader must not touch rows of a chunk whose bit is not set: reading a hole
 * takes memory, too.
 *
 * Functions return 0 or a negative errno; `struct mt_error` as in reader.h. A table that was attached may be used by
 * any number of threads at once. A table that was created belongs to one thread at a time for mt_table_put() and
 * mt_table_lost(); the others may call mt_table_get() on it meanwhile. Nothing here prints.
 */
#ifndef MOETAP_SHM_TABLE_H
#define MOETAP_SHM_TABLE_H

#include "reader.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MT_TABLE_MAGIC "MOETABL\n"
#define MT_TABLE_ABI_MAJOR 1u
#define MT_TABLE_ABI_MINOR 0u
#define MT_TABLE_PREFIX "moetap-table." /* in the folder of segments */
#define MT_TABLE_VIEW_PREFIX "vllm_routed_experts_buffer_"
#define MT_TABLE_SLOTS_DEFAULT (1ull << 24)
#define MT_TABLE_SLOTS_MAX (1ull << 32)
#define MT_TABLE_LAYERS_MAX 4096u
#define MT_TABLE_K_MAX 1024u
#define MT_TABLE_CHUNK_SLOTS 1024u

/* An id that no record told: the layer's record was lost, or the layer does not route. */
#define MT_ID_MISSING (-3)
/* As stored: one mark more than in a record. What a row cannot hold is MT_ID_OVERFLOW. */
#define MT_ID8_MISSING 0xFDu
#define MT_ID16_MISSING 0xFFFDu

enum mt_table_state {
    MT_TABLE_OPEN = 1,
    MT_TABLE_CLOSED = 2,   /* the owner left */
    MT_TABLE_REPLACED = 3, /* another table has the name now, it may have grown: attach again */
};

struct mt_table_header {
    char magic[8];
    uint32_t abi_major; /* live: 0 until the table is complete */
    uint32_t abi_minor;
    uint32_t endian;      /* MT_ENDIAN */
    uint32_t header_size; /* sizeof(struct mt_table_header) of the owner */
    uint64_t slots;       /* rows that the table may grow to */
    uint32_t layers;
    uint32_t k;
    uint32_t experts; /* 0 if the engine does not tell */
    uint32_t width;   /* bytes of one id, 1 or 2 */
    /* The three marks, as stored; all other values are experts. */
    uint32_t missing;
    uint32_t negative;   /* the engine stored a negative id */
    uint32_t overflow;   /* the engine stored an id that does not fit */
    uint32_t ids_offset; /* in a row */
    uint32_t stride;     /* of a row, a multiple of 8 */
    uint32_t chunk_slots;
    uint64_t chunks_offset;
    uint64_t rows_offset;
    uint64_t created_ns; /* CLOCK_REALTIME */
    uint64_t source_id;  /* nonce of the segment that the rows come from */
    char source[128];    /* its name */
    /* live, written by the owner */
    int32_t owner_pid; /* for people: who owns it is who holds the lock (F_OFD_SETLK) on byte 0 */
    uint32_t state;    /* enum mt_table_state */
    uint64_t written;  /* rows stored */
    uint64_t used;     /* highest slot stored + 1 */
    uint64_t loss_seq; /* rows of a smaller seq were there before records were lost */
    char view[128];    /* file beside it that is removed along with it (MT_TABLE_VIEW_PREFIX...), or empty */
    uint64_t refused;  /* rows that were not stored: slot out of range, no memory */
    uint64_t reserved[6];
};

/* Ahead of each row's ids. */
struct mt_table_slot {
    uint64_t generation; /* 0 never written, odd while it is written, even when it is whole; grows with each rewrite */
    uint64_t seq;
    int32_t position, token;
    uint32_t missing;
    uint32_t reserved;
};

enum mt_row_status {
    MT_ROW_OK = 0,
    MT_ROW_NEVER = 1, /* nothing was ever stored there, or there is no such slot */
    MT_ROW_TORN = 2,  /* being written; ask again. It stays so if the owner died on it */
    MT_ROW_DOUBT = 3, /* whole, but records were lost since: the slot may hold another token's KV now. Its position and
                         token tell */
};

struct mt_table_row {
    uint64_t generation; /* the same at two look-ups: nothing was stored there in between */
    uint64_t seq;        /* of the first record of the pass that routed it (struct mt_record) */
    int32_t position;    /* of the token in its sequence, -1 unknown */
    int32_t token;       /* its id, -1 unknown */
    uint32_t missing;    /* layers whose ids are MT_ID_MISSING */
    uint32_t status;     /* enum mt_row_status */
};

struct mt_table_spec {
    uint64_t slots; /* 0: MT_TABLE_SLOTS_DEFAULT */
    uint32_t layers, k, experts;
    uint64_t source_id;
    const char *source; /* NULL: none */
};

typedef struct mt_table mt_table;

/*
 * Creates the table `name` (without the prefix, or a path) and owns it, or takes over one whose owner is gone: the same
 * shape and source go on, with all rows in doubt; any other is replaced, and who is attached to it sees
 * MT_TABLE_REPLACED. `note` (NULL allowed) then says so. -EBUSY another process owns it, -EINVAL no such shape or a bad
 * name, -ENOSPC, -ENOMEM no room to map it.
 */
MT_API int mt_table_create(const char *name, const struct mt_table_spec *spec, mt_table **table, struct mt_error *note,
                           struct mt_error *error);

/* Attaches to look, by name (with or without the prefix) or path; the right to read is enough. -ENOENT, -EACCES,
 * -EINVAL not a table or damaged, -EPROTO another ABI major, -EAGAIN not complete yet, -ENOMEM no room to map it. */
MT_API int mt_table_attach(const char *name, mt_table **table, struct mt_error *error);

/* The owner's leaves the table closed, for `moetap clean` or the next owner; remove it before to leave nothing. */
MT_API void mt_table_detach(mt_table *table);

/*
 * Makes it a table of more layers, with the rows that it has; those layers are missing in them. It is another file
 * under the same name: who is attached sees MT_TABLE_REPLACED, and the rows as they were. For the owner, while no other
 * thread uses `table`. On an error it is as it was: -EPERM not the owner, -EINVAL not more layers or too many, -ENOSPC,
 * -ENOMEM no room.
 */
MT_API int mt_table_grow(mt_table *table, uint32_t layers, struct mt_error *error);

/* Notes a file of the same folder, made by the owner, that goes when the table goes: whoever takes the table over or
 * removes it then knows whose it is. One that was noted before is removed, unless it is the same. NULL: none. -EPERM
 * not the owner, -EINVAL the name does not begin with MT_TABLE_VIEW_PREFIX or is too long. */
MT_API int mt_table_set_view(mt_table *table, const char *view);

/* Removes the name of an owned table, and its view. -EPERM not the owner. */
MT_API int mt_table_unlink(mt_table *table, struct mt_error *error);

/* Removes a table that nobody owns, and its view, also if it is no valid table. -EBUSY it is owned, -ENOENT. */
MT_API int mt_table_remove(const char *name, struct mt_error *error);

/* As mt_discover(), for tables. */
MT_API int mt_table_discover(struct mt_segment_name **names, size_t *count, struct mt_error *error);

/* Live fields change under the reader. */
MT_API const struct mt_table_header *mt_table_header(const mt_table *table);
MT_API enum mt_table_state mt_table_state(const mt_table *table);
/* Is there an owner now? */
MT_API bool mt_table_owned(const mt_table *table);

/*
 * Stores a row: `ids` are layers * k experts, MT_ID_NEGATIVE, MT_ID_OVERFLOW or MT_ID_MISSING; of `about` seq, position
 * and token. -EPERM not the owner, -ERANGE no such slot, -ENOSPC (or -EFBIG, by the process's limit) no memory.
 */
MT_API int mt_table_put(mt_table *table, int64_t slot, const struct mt_table_row *about, const int32_t *ids);

/* Records before `seq` were lost: rows stored before are in doubt. -EPERM not the owner. */
MT_API int mt_table_lost(mt_table *table, uint64_t seq);

/*
 * Copies the rows of n slots: to `ids` layers * k * width bytes for each, as stored; to `rows` what is known of each.
 * The ids of rows that are neither MT_ROW_OK nor MT_ROW_DOUBT are all marked missing. Never waits: a row that is being
 * written is tried a few times. Returns how many are MT_ROW_OK.
 */
MT_API size_t mt_table_get(const mt_table *table, const int64_t *slots, size_t n, void *ids, struct mt_table_row *rows);

/* One of the ids that mt_table_get() gave: an expert, MT_ID_NEGATIVE, MT_ID_OVERFLOW or MT_ID_MISSING. */
MT_API int32_t mt_table_id(const mt_table *table, const void *ids, size_t index);

#ifdef __cplusplus
}
#endif
#endif
