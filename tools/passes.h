/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ties records together: the layers of one forward pass with each other and with what the pass's rows are (KV slots,
 * positions, token ids). Fed with records in the order of one segment's stream; hands out whole passes.
 *
 * The producer numbers the runs of taps of row context (struct mt_record.context); they come ahead of the routers of
 * their pass. So a lost record leaves a hole, never a shift: what a hole touches is missing, not guessed.
 */
#ifndef MOETAP_TOOLS_PASSES_H
#define MOETAP_TOOLS_PASSES_H

#include "../shm/reader.h"

struct pass_layer {
    int32_t layer; /* of its model, or MT_LAYER_UNKNOWN */
    uint32_t site;
    uint32_t rows, k;
    const int32_t *ids;   /* [rows, k], MT_ID_NEGATIVE and MT_ID_OVERFLOW as in the record */
    const float *weights; /* [rows, k], NULL: the record has none */
};

/* A hybrid model's layers keep their cache in groups, each with slots and block tables of its own. */
#define PASS_GROUPS 16u
struct pass_group {
    const int32_t *slots;  /* [rows] */
    const int32_t *blocks; /* as MT_SITE_BLOCKS says, and -n: n are ahead, of which only the last one's number follows.
                              NULL: no sequence begins at a block's start */
    uint32_t block_words;
};

struct pass {
    uint64_t first_seq;
    uint64_t time_ns;
    uint64_t run; /* of its layers on their stream, from 0; lost ones count */
    /* Of its row context, 0 if it has none. Its routers have these rows first; what they have more is padding. */
    uint32_t rows;
    /* [rows]; NULL: the engine shows none, or it was lost. The slots are the first group's. */
    const int32_t *slots, *positions, *tokens;
    struct pass_group groups[PASS_GROUPS];
    uint32_t group_count; /* 0 without slots */
    /* Slots that rows of this pass went to, but which rows nothing tells: the first group's, and those of so many
     * groups as above. */
    const int32_t *unplaced;
    uint32_t unplaced_groups; /* 0: the engine shows none */
    uint32_t unplaced_rows;
    /* What the engine shows of the sequences in these rows; NULL: nothing, or it was lost. starts[sequences + 1] */
    const int32_t *starts;
    uint32_t sequences;
    bool listed;  /* slot by slot; what is ahead of a sequence may have been put there in the place of the like of it */
    bool decodes; /* each of them goes on with one that ran before, perhaps some passes ago */
    /* Some lists end with their sequences' last rows: with the very slots of these, or with others. Then they are about
     * another part of the cache. Lists that end ahead of the rows tell neither. */
    bool lists_fit, lists_differ;
    /* Slots that its sequences attend to, as MT_SITE_READS says; NULL: not shown, or none but those of the pass. */
    const int32_t *reads;
    uint32_t read_count;
    /* Where the engine shows a batch of sequences with as many rows each: how many; 0: it does not. And the KV cache
     * that the pass goes on with, and the one that it leaves; 0: not known. */
    uint32_t batch;
    uint64_t cache_before, cache_after;
    /* [batch]: where each sequence stood in the batch that left the cache; NULL: where it stands. */
    const int32_t *order;
    const struct pass_layer *layers; /* in the order of their records; each site at most once */
    uint32_t layer_count;
    uint32_t lost; /* records lost since the pass before, as far as known */
    /* Since the pass before, row context was lost, or slots came with no router behind it: rows ran that nobody shows.
     */
    bool hole;
    bool bare; /* nothing has shown row context yet: an engine's warm-up */
};

/*
 * A batch whose layers keep their cache in groups comes with an array of slots for each. Only layers that attend to
 * everything keep a slot for each token; what such a layer attends to is read right behind its slots. Zero before the
 * first record.
 */
struct pass_arrays {
    uint64_t context; /* the latest record's */
    uint32_t count;   /* of the batch so far; PASS_GROUPS: nothing is known of them until the next one */
    uint32_t site;    /* theirs */
    uint32_t attends; /* the number of the one, from 1; 0: not seen yet */
};
/* All records of row context of a segment, in their order. Did this one come in the midst of a pass, with an array
 * behind the first one? */
bool pass_arrays_see(struct pass_arrays *arrays, const struct mt_site *site, const struct mt_record *record);

/* `pass` is valid during the call. A non-zero return stops the feeding call, which returns it. */
typedef int pass_take(const struct pass *pass, void *user);

struct passes;

struct passes *passes_new(pass_take *take, void *user);
void passes_free(struct passes *passes);
/* A site of slots that is known before a record of it comes, as to a reader that begins in the midst of a stream. */
void passes_know_slots(struct passes *passes, uint32_t index, const struct mt_site *site);
/* Which array it is, as to a reader that saw all records before; 0: not known. */
void passes_know_array(struct passes *passes, uint32_t attends);
/* `site` describes record->site. Records of retracted sites are to be left out by the caller. -ENOMEM, or what take
 * returned. */
int passes_add(struct passes *passes, const struct mt_site *site, const struct mt_record *record, const void *ids);
/* The stream's end: hands out the pass that is under way. */
int passes_flush(struct passes *passes);

#endif
