/* SPDX-License-Identifier: Apache-2.0 */
/* What the sample engine is asked to do. */
#ifndef MOE_DEMO_OPTIONS_H
#define MOE_DEMO_OPTIONS_H

#include <stdbool.h>

/* How a step becomes a graph: as a whole; a graph a layer; captured a second time to update what was instantiated; in
 * relaxed capture mode; as a whole with --fork: the experts on a second stream. */
enum graph_mode { EAGER, PLAIN, PIECES, UPDATE, RELAXED, FORK };

/* Which of two router kernels: one for every second step, or for every second layer. */
enum routers { ONE, TURNS, MIXED };

/* pdl: programmatic dependent launch, each kernel may start while the one ahead still runs. */
struct options {
    long layers, experts, topk, tokens, steps, streams, seed, device;
    long draft; /* runs of a draft model's one layer behind each step: of all rows, then of fewer */
    enum graph_mode graph;
    enum routers routers;
    bool scrub, context, pdl, fork;
    /* A kernel makes the slots: from a block table, or from those of several KV cache groups, of which it knows the
     * addresses from an array, and in which the sequences have any rows. */
    enum plan { NO_PLAN, TABLE, TABLES, LISTS } plan;
    bool weights;                                /* the truth has the router's weights, too */
    bool rescale;                                /* behind the router a kernel changes its weights in place */
    enum eplb { NO_EPLB, APART, IN_PLACE } eplb; /* behind the router a kernel makes physical ids of its logical ones */
    const char *dtype, *truth, *door;
};
extern struct options options;

/* NULL, or what is wrong with the command line. */
const char *options_parse(int argc, char **argv);
int options_usage(const char *problem);

#endif
