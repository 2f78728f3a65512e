/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a moetap segment: a named shared-memory file in which a GPU leaves the topk_ids of every router launch
 * and from which one reader takes them.
 *
 *   offset 0               struct mt_header     written by the engine's CPU, constant once `abi_major` is set,
 *                                               except for the fields marked "live"
 *   counters_offset        struct mt_counters   written by the GPU only
 *   consumer_offset        struct mt_consumer   written by the reader only
 *   sites_offset           struct mt_site[]     written by the engine's CPU, append-only
 *   ring_offset            ring_size bytes      written by the GPU only, page aligned, a power of two
 *
 * Every word shared between two sides has one writer: PCIe has no atomic read-modify-write between GPU and CPU.
 * All integers are little-endian, all sizes are bytes unless named otherwise. The header compiles alone as C11 and as
 * CUDA C++. It holds only plain types: who shares a live field reads it with an acquire load.
 */
#ifndef MOETAP_SHM_LAYOUT_H
#define MOETAP_SHM_LAYOUT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MT_MAGIC "MOETAP\r\n" /* 8 bytes; CR LF shows a text-mode copy, as in PNG */
#define MT_ABI_MAJOR 1u       /* a reader refuses a major that it does not know */
#define MT_ABI_MINOR 2u       /* fields were added at a struct's end; older readers still work */
/* With weights behind the ids a record is longer than a reader of 1.x can know. So a segment that may hold some says
 * this major, and such a reader refuses it. All else is as in major 1. */
#define MT_ABI_MAJOR_WEIGHTS 2u
#define MT_ENDIAN 0x01020304u
#define MT_PAGE 4096u

#define MT_SHM_DIR "/dev/shm"       /* MOETAP_SHM_DIR overrides it */
#define MT_SEGMENT_PREFIX "moetap." /* moetap.<session>.<pid>.<device>[.<n>] */

#define MT_RING_SIZE_DEFAULT (64u << 20)
#define MT_RING_SIZE_MIN (64u << 10)
#define MT_RING_SIZE_MAX (16ull << 30)
#define MT_SITES_MAX 4096u
#define MT_RECORD_ALIGN 64u

enum mt_state {
    MT_STATE_OPEN = 1,   /* the engine may still write */
    MT_STATE_CLOSED = 2, /* the engine left through exit(); the GPU writes no more once the process is gone */
};

struct mt_header {
    char magic[8];
    uint32_t abi_major; /* live: 0 until the segment is complete, then stored with release, last of all */
    uint32_t abi_minor;
    uint32_t endian;      /* MT_ENDIAN */
    uint32_t header_size; /* sizeof(struct mt_header) of the writer */
    uint64_t segment_size;
    uint64_t counters_offset;
    uint64_t consumer_offset;
    uint64_t sites_offset;
    uint32_t site_size; /* stride of the table */
    uint32_t sites_max;
    uint64_t ring_offset;
    uint64_t ring_size;    /* a power of two, >= MT_RING_SIZE_MIN */
    uint64_t nonce;        /* random, part of every commit word */
    int32_t writer_pid;    /* in the writer's pid namespace */
    int32_t device;        /* CUDA ordinal in the engine's process */
    uint64_t writer_start; /* field 22 of /proc/<pid>/stat, in clock ticks: tells a re-used pid */
    uint8_t boot_id[16];   /* /proc/sys/kernel/random/boot_id; zero if unreadable */
    uint64_t created_ns;   /* CLOCK_REALTIME; records carry the GPU's %globaltimer, also ns since the epoch */
    char session[64];      /* NUL-terminated */
    char device_name[64];  /* as cuDeviceGetName says */
    char command[128];     /* the writer's /proc/self/comm */
    /* live, each written by the engine's CPU */
    uint32_t state;         /* enum mt_state */
    uint32_t site_count;    /* stored with release after the site is complete */
    uint64_t not_captured;  /* launches that were recognised and not tapped; reasons are in the log */
    uint64_t pid_namespace; /* constant: inode of the writer's /proc/self/ns/pid, 0 if unreadable. A reader in another
                               one (a container beside it) asks who holds the writer's lock: fcntl() on byte 0 */
    uint64_t reserved[7];
};

/* GPU-written. Each word is stored after the loss it counts; the last store has the final value (ring.h says how). */
struct mt_counters {
    uint64_t lost_full;    /* records dropped: no room in the ring */
    uint64_t lost_too_big; /* records dropped: larger than half the ring */
    uint64_t reserved[6];
};

/* Reader-written. */
struct mt_consumer {
    uint64_t tail;      /* stream position up to which the ring is free again; stored with release after the copy out */
    uint64_t records;   /* read so far, by all readers one after another */
    int32_t reader_pid; /* who holds the read side now, 0 nobody; the lock itself is flock() on the file */
    uint32_t reserved0;
    uint64_t next_seq; /* highest seq read + 1 */
    uint64_t gaps;     /* places where a dead writer's claims were stepped over */
    uint64_t reserved[3];
};

/* Element type of the ids in the engine's memory. */
enum mt_dtype {
    MT_DTYPE_NONE = 0,
    MT_DTYPE_I32 = 1,
    MT_DTYPE_I64 = 2,
    MT_DTYPE_U32 = 3,
    MT_DTYPE_I16 = 4,
    MT_DTYPE_U16 = 5,
    MT_DTYPE_U8 = 6,
};

/* Element type of the router's weights (topk_weights): in the engine's memory and, bit for bit, in records. */
enum mt_weight_type {
    MT_WEIGHT_NONE = 0,
    MT_WEIGHT_F32 = 1,
    MT_WEIGHT_F16 = 2,
    MT_WEIGHT_BF16 = 3,
};

enum mt_site_flags {
    MT_SITE_GRAPH = 1u << 0,     /* tapped while a stream was capturing: records come from graph replays */
    MT_SITE_RETRACTED = 1u << 1, /* live: known later to be no router (a group stage of grouped top-k, a sampler):
                                    its records are to be left out */
    MT_SITE_NO_IDS = 1u << 2,    /* routing is fused into the expert kernel, no ids are stored: never any record */
};

#define MT_LAYER_UNKNOWN (-1)

/* What a site's records hold. All but the ids are rows of one value (k = 1), 4 bytes each. */
enum mt_site_kind {
    MT_SITE_ROUTER = 0,    /* topk_ids */
    MT_SITE_SLOTS = 1,     /* KV cache slot of each row; negative: a padded row */
    MT_SITE_POSITIONS = 2, /* position of each row in its sequence, from 0 */
    MT_SITE_TOKENS = 3,    /* token id of each row */
    /* Of sequences, not rows; since ABI 1.2. */
    MT_SITE_STARTS = 4, /* row at which each sequence of the pass begins, and behind the last where it ends */
    MT_SITE_BLOCKS = 5, /* slots of a KV block, and then, for each sequence whose first row begins a block and is not
                           its position 0: that row, how many blocks are ahead of it, and their numbers. No record if
                           there is no such sequence. Slot = block's number * slots of a block + place in it */
    MT_SITE_BATCH = 6,  /* two values: how many sequences the pass has, and how many rows each, padding among them. The
                           rows of a sequence are side by side. */
    MT_SITE_CACHE = 7, /* four values: the address of the KV cache that the pass goes on with, 0 if none, and of the one
                          that it leaves, the low half of each first. The lowest bit of the first address is set where
                          that one was put in another order, see MT_SITE_ORDER. */
    MT_SITE_READS = 8, /* slots that the pass attends to: of each sequence all up to its last row, one sequence after
                          another. No record if none attends to what was there before the pass. */
    MT_SITE_LENGTHS = 9,     /* of a pass of prompts: how many rows each sequence has */
    MT_SITE_KV_INDICES = 10, /* how many sequences there are, and then, for each that has KV slots: its number in the
                                pass, how many slots, how many of these are told, and those, the last ones. They are
                                the slots of its rows of the pass and of all ahead of them, or of the latter alone */
    MT_SITE_ORDER = 11, /* between two passes: which sequence of the batch before is now at each place of the batch */
};

/*
 * One place in the engine that routes: kernels of one recipe, on one stream, for one layer. Layers are numbered for all
 * sites with the same E and k together: where prefill and decode take different kernels, two sites name one layer.
 * Immutable but for the live fields.
 */
struct mt_site {
    char kernel[256]; /* the kernel's name, demangled, cut to fit, NUL-terminated */
    char recipe[64];
    int32_t layer;    /* live: MoE layer from 0 within one forward pass, MT_LAYER_UNKNOWN while not identified */
    uint32_t flags;   /* live: enum mt_site_flags */
    uint32_t stream;  /* the engine's streams, numbered from 0 in the order in which routers were seen on them */
    uint32_t experts; /* E, 0 if the launch does not tell */
    uint32_t k;
    uint8_t dtype;    /* enum mt_dtype, in the engine's memory */
    uint8_t id_space; /* 0 unknown, 1 logical, 2 physical */
    uint8_t kind;     /* enum mt_site_kind; since ABI 1.1, before it 0 */
    uint8_t weights; /* live: enum mt_weight_type, what its first record with weights has; since ABI 1.2, before it 0 */
    /* Since ABI 1.2: another site's index + 1, whose ids a kernel turned into the ids of this one (load balancing:
     * logical ones into physical ones). Steps of both count the same runs. 0: a router's own. */
    uint32_t mapped_from;
    uint32_t model; /* live: which model of this E and k its layer is of, where the shim could tell several apart, as a
                       draft from its target; 0: the first, or not told. Since ABI 1.2 */
    uint64_t reserved[4];
};

/*
 * A record: this header, then rows * k ids of `width` bytes each, row-major; then, if it has weights, rows * k of them
 * from the next multiple of 16 bytes of the payload on; zero-padded to MT_RECORD_ALIGN. Positions count bytes of the
 * endless stream; a position's place is `position & (ring_size - 1)`. Headers never wrap, payloads may: map the ring
 * twice, one copy behind the other, and they do not.
 */
struct mt_record {
    uint64_t commit;  /* mt_commit_word(nonce, position); stored last, one aligned 8-byte store */
    uint64_t seq;     /* tap runs on this device from 0, lost ones included */
    uint64_t time_ns; /* GPU %globaltimer at the claim */
    /* Runs of this site's layer on this stream from 0, by whatever kernel, lost ones included: a loss cannot shift what
     * follows. Where the layer is unknown: of this site. */
    uint64_t step;
    uint64_t lost; /* records lost on this device before this one */
    uint32_t site;
    uint32_t rows;
    uint32_t bytes; /* payload, before padding */
    uint16_t k;
    uint8_t width; /* 1 or 2: bytes of one id; 4: bytes of one int32 of a site that is no router's */
    /* enum mt_weight_type; none: nobody asked, or this launch's are not known. Since ABI 1.2, before it 0. */
    uint8_t weights;
    /* Runs of taps of row context (slots, positions, tokens) on this device so far, lost ones included, and this one
     * if it is one. Row context comes ahead of a pass's routers: a router's rows are those of the latest record of each
     * kind on its stream that has at most this number, if none of the numbers behind that one is missing. 0: no row
     * context. */
    uint64_t context;
};

/*
 * Ids after narrowing. A real id is stored as it is, also one >= E (fused shared experts). The two top values say what
 * no id can say; neither is ever "expert 0" or "no row".
 */
#define MT_ID8_NEGATIVE 0xFFu /* the engine stored a negative id (padding, masked): -1 in most engines */
#define MT_ID8_OVERFLOW 0xFEu /* the engine stored an id that does not fit: >= 254 */
#define MT_ID16_NEGATIVE 0xFFFFu
#define MT_ID16_OVERFLOW 0xFFFEu
/* One byte an id while E leaves room for a few shared experts above it, two bytes otherwise or if E is unknown. */
#define MT_ID8_EXPERTS_MAX 240u
/* The same, decoded to int32. */
#define MT_ID_NEGATIVE (-1)
#define MT_ID_OVERFLOW (-2)
/* Row context is int32 as it is; what does not fit: */
#define MT_CONTEXT_OVERFLOW INT32_MIN

/* Names its position and its segment, so that no left-over bytes of the ring can pass for it (splitmix64's mixer). */
#ifdef __CUDACC__
__host__ __device__
#endif
    static inline uint64_t
    mt_commit_word(uint64_t nonce, uint64_t position)
{
    uint64_t z = nonce ^ (position + 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

#ifdef __CUDACC__
#define MT_LAYOUT_FN static __host__ __device__ inline
#else
#define MT_LAYOUT_FN static inline
#endif

/* Bytes of one weight; 0: none, or a type that is not known. */
MT_LAYOUT_FN uint32_t mt_weight_size(uint32_t type)
{
    return type == MT_WEIGHT_F32 ? 4 : type == MT_WEIGHT_F16 || type == MT_WEIGHT_BF16 ? 2 : 0;
}

/* Where in the payload the weights begin. */
MT_LAYOUT_FN uint64_t mt_weights_offset(uint64_t ids, uint32_t width)
{
    return (ids * width + 15) & ~(uint64_t) 15;
}

/* Bytes of a payload of so many ids, before padding. */
MT_LAYOUT_FN uint64_t mt_payload_size(uint64_t ids, uint32_t width, uint32_t weights)
{
    return weights ? mt_weights_offset(ids, width) + ids * mt_weight_size(weights) : ids * width;
}

/* Can it be a record's shape? Bytes beyond its payload are the reader's to check. */
static inline int mt_record_sane(const struct mt_record *record)
{
    return (record->width == 1 || record->width == 2 || (record->width == 4 && record->k == 1)) && record->k > 0 &&
           (!record->weights || (record->width != 4 && mt_weight_size(record->weights))) &&
           record->bytes == mt_payload_size((uint64_t) record->rows * record->k, record->width, record->weights);
}

/* The weights of a record whose payload `ids` is, [rows, k]; NULL if it has none. Aligned if the payload is. */
static inline const void *mt_record_weights(const struct mt_record *record, const void *ids)
{
    return record->weights
               ? (const uint8_t *) ids + mt_weights_offset((uint64_t) record->rows * record->k, record->width)
               : 0;
}

/* Is it of a site that is no router's? */
static inline int mt_record_is_context(const struct mt_record *record)
{
    return record->width == 4;
}

MT_LAYOUT_FN uint64_t mt_record_size(uint64_t payload)
{
    return (sizeof(struct mt_record) + payload + MT_RECORD_ALIGN - 1) & ~(uint64_t) (MT_RECORD_ALIGN - 1);
}

#ifdef __cplusplus
}
#endif
#endif
