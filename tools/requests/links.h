/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of requests.c, order.c and proof.c: rows, what the cache holds, and which row came behind which.
 */
#ifndef MOETAP_TOOLS_REQUESTS_LINKS_H
#define MOETAP_TOOLS_REQUESTS_LINKS_H

#include "../groups.h"
#include "requests.h"

#define NONE UINT32_MAX           /* no node */
#define ROOT (UINT32_MAX - 1u)    /* parent of position 0 */
#define UNKNOWN (UINT32_MAX - 2u) /* a parent there was, and it is not known which */
#define NODES_MAX (UINT32_MAX - 3u)
#define SLOTS_MAX GROUPS_SLOTS_MAX
#define POSITIONS_MAX (1u << 25)
#define DRAFTS_MAX 32u /* that a step may verify */
#define BLOCK_MAX 65536u
#define LINGER 16u /* passes for which a sequence that was left behind may come back */

enum link {
    LINK_ROOT,
    LINK_BLOCK,    /* by the slot before it */
    LINK_LOST,     /* the slot before it does not hold the position before it */
    LINK_OPEN,     /* a block's first row, nothing of its sequence before it in the pass */
    LINK_ADJACENT, /* a block's first row behind a row of the position before it: of the same sequence? */
    LINK_JOINED,   /* it is */
    LINK_SOLVED,
    LINK_TABLE, /* by what the engine itself shows of its sequences and their blocks */
};

struct node {
    int32_t position, slot, token;
    uint32_t pass, row, parent;
    uint32_t old;     /* what its slot held before */
    uint32_t experts; /* what they are in all layers, as one number; 0: not all are known */
    uint32_t page;    /* in which it stands now, once there are pages; NONE */
    uint8_t link;
    bool starts;   /* first of its sequence in the pass */
    bool proven;   /* by the slots alone */
    bool dropped;  /* a rejected token: its sequence wrote the position again */
    bool parental; /* something came behind it */
    bool ends;     /* by the engine's own sequences: the last row of one, so far */
    bool bridged;  /* the rows ahead of its block are told by a bridge, not by the links of the block ahead */
};

/* A sequence as it stood when it last ran: its rows of that pass. */
struct entry {
    uint32_t first, last, pass;
    bool left; /* others of that pass ran on without it */
    bool full; /* that pass had as many rows as any */
    bool goes_on;
    bool unsure; /* it may be part of what is beside it */
};

struct site {
    uint32_t up;    /* towards the representative of those sites that share passes */
    uint32_t count; /* of layers, at the representative */
    bool seen;
    int32_t column;
};

/* A sequence that found blocks in the cache of which some were not one sequence's: the last row of each. */
struct bridge {
    uint32_t node, first; /* whose, and its first one in bridge_tails */
};

/* The blocks that the engine showed ahead of a block's first row, as one number. */
struct shown_table {
    uint32_t node;
    uint64_t blocks;
};

/* Sequences made of what a pass attends to. */
struct read_sequences {
    int32_t *starts; /* [count + 1]: rows */
    uint32_t *from;  /* [count]: where each begins in the pass's reads */
    uint32_t count, room;
    int32_t *blocks; /* as MT_SITE_BLOCKS says */
    uint32_t words, block_room;
};

/* What was seen of one group of the cache. */
struct surveyed {
    uint32_t divisor, told_block; /* by the engine, 0: not at all */
    struct seen_slot *seen;       /* while surveying */
    uint32_t seen_count;
    uint32_t rewritten; /* greatest divisor of the positions that were written again */
    uint32_t *padding;  /* slots that padded rows are sent to */
    uint32_t padding_count;
};

struct proof;
struct shown;

struct requests {
    const struct mt_site *sites;
    struct site *site;
    uint32_t site_count;
    enum requests_rules rules;
    uint32_t block, layers, k, experts;
    struct surveyed surveyed[PASS_GROUPS];
    struct group_seen groups[PASS_GROUPS];
    uint32_t group; /* whose slots are followed */
    uint32_t seen_rows, seen_passes;
    bool drafts;                          /* draft tokens were rejected somewhere */
    bool listed, lists_fit, lists_differ; /* as in some pass */
    uint32_t fullest;                     /* rows of the largest pass */
    struct node *nodes;
    uint32_t node_count, node_room;
    uint64_t *times;       /* of each pass */
    uint32_t *layers_seen; /* by each pass */
    uint32_t pass_count, pass_room;
    uint32_t *content; /* of each slot: the node that wrote it last */
    uint32_t slot_count;
    /* By position: how many slots hold it, and the exclusive or of those slots. */
    uint32_t *held, *held_slots;
    uint32_t position_count;
    bool blind; /* some rows were not seen: what no slot seems to hold may be there all the same */
    bool hole;
    uint32_t blind_from, blind_until;      /* passes; NONE */
    uint32_t *open;                        /* by position: how many slots hold it with nothing behind it */
    bool hits;                             /* a request began behind a prefix that it found in the cache */
    bool foreign;                          /* something is in the cache that no pass of the trace wrote */
    uint64_t blind_rows, blind_graph_rows; /* the latter of those that ran in CUDA graphs */
    uint32_t filled;                       /* sequences behind blocks that no pass of the trace wrote */
    struct entry *entries;
    uint32_t entry_count, entry_room;
    struct bridge *bridges;
    uint32_t bridge_count, bridge_room;
    struct shown_table *tables; /* by rising node, as the bridges */
    uint32_t table_count, table_room;
    uint32_t *bridge_tails, tail_count, tail_room;
    uint32_t *element, element_room; /* of the pass: where in its block table each sequence is, 0: nowhere */
    bool tokenless;                  /* some rows came without their token */
    bool proven;                     /* links over a block's end are proven ones */
    struct proof *proof;             /* NULL until made */
    struct read_sequences reads;     /* of the pass */
    bool reads_shown;                /* some pass was shown with what it attends to */
    bool slotted;                    /* slots were seen somewhere: batches are not looked at */
    uint32_t *tails;                 /* of the batch that ran last: the last row of each sequence, NONE */
    uint32_t tail_lines;             /* as many sequences as it had */
    uint64_t batch_cache;            /* the cache that it left; 0: not known */
    int32_t padded;                  /* the token of padding, as it stood in front of prompts; MT_CONTEXT_OVERFLOW */
    bool guessed, shown;             /* links were made without, and by, the engine's own sequences */
    struct shown *said;              /* the list by its tokens, NULL until made */
    struct request *list;
    uint32_t count;
};
struct work {
    struct requests *r;
    uint32_t base, end; /* its nodes */
    uint32_t pass;
    bool complete; /* all layers were seen */
};

bool links_is_padding(const struct requests *r, uint32_t slot);
/* All links of a pass whose sequences the engine shows. -ENOMEM. */
int links_table(const struct work *work, const struct pass *pass);
/* Adds a node; NONE: out of memory, or more than there are numbers for. */
uint32_t links_add(struct requests *r, const struct node *node);
/* Finds the sequences of a pass by what they attend to, in r->reads. -ENOMEM; -EDOM: it makes no sense. */
int links_reads(struct requests *r, const struct pass *pass);
/* The same, and shows them in `pass` as if the engine itself did. */
int links_show_reads(struct requests *r, struct pass *pass);
/* Rows and links of a batch whose sequences have as many rows each. */
int links_batch(const struct work *work, const struct pass *pass);
/* The row ahead of a node, on the way from a request's last row: `bridge` is NONE there, and kept between calls. */
uint32_t links_up(const struct requests *r, uint32_t node, uint32_t *bridge);
/* requests_match() where all sequences were shown. */
int links_match_shown(struct requests *r, const int32_t *tokens, uint32_t count, struct request_row *rows);
void links_shown_free(struct shown *shown);
/* The links of a pass's rows that the slots alone do not tell: by what the engine keeps in order. */
void links_order(const struct work *work);
/* Sequences as they stand after the pass, for the next one. -ENOMEM. */
int links_next(const struct work *work);
/* Puts what is proven in the place of all links over a block's end. -ENOMEM. */
int links_prove(struct requests *r);

#endif
