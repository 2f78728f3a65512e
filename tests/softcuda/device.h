/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the software CUDA device: what its files share. */
#ifndef MOETAP_TESTS_SOFTCUDA_DEVICE_H
#define MOETAP_TESTS_SOFTCUDA_DEVICE_H

#include "softcuda.h"

#include <cuda.h>
#include <pthread.h>
#include <stdbool.h>

#define API __attribute__((visibility("default")))

/* Work of a stream, or of a node of a graph. */
struct soft_op {
    enum { OP_KERNEL, OP_COPY, OP_SET, OP_RECORD, OP_WAIT, OP_EMPTY, OP_GRAPH } kind;
    /* kernel */
    const struct soft_function *function;
    const struct softcuda_kernel *kernel;
    struct softcuda_dim grid, block;
    unsigned shared;
    bool overlaps;       /* launched with programmatic stream serialization: it waits in full all the same */
    unsigned char *args; /* flat parameter buffer, owned */
    /* copy, set */
    void *to;
    const void *from;
    size_t size;
    int value;
    /* record, wait */
    CUevent event;
    unsigned long ticket;
    /* a replay or a child: owned */
    CUgraph graph;
    struct soft_op *next;
};

struct CUgraphNode_st {
    struct soft_op op;
    CUgraphNode *deps;
    size_t dep_count;
    size_t programmatic; /* so many of the first are programmatic edges */
    unsigned index;
    CUgraph graph;
    CUgraphNode origin; /* copied from, only compared */
    void **params;      /* into op.args, for who asks */
    bool excused;       /* taken out of a stream's dependencies by hand: nobody has to join it */
};

struct CUgraph_st {
    CUgraphNode *nodes;
    size_t count;
};

struct CUgraphExec_st {
    CUgraph graph; /* flat: no children, each node after those that it waits for */
};

/* One capture sequence; lives for ever, as events may point at it. */
struct soft_capture {
    unsigned long long id;
    CUstreamCaptureStatus status; /* NONE: ended */
    CUstreamCaptureMode mode;
    pthread_t thread;
    CUstream origin;
    CUgraph graph;
    bool graph_is_users;
    struct soft_capture *next;
};

struct CUevent_st {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned long recorded, reached;
    struct soft_capture *capture; /* recorded in it, with these */
    CUgraphNode *deps;
    size_t dep_count;
};

struct CUstream_st {
    unsigned flags;
    CUcontext context;
    bool dead;
    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct soft_op *head, *tail;
    bool busy;
    struct CUstream_st *next; /* of all streams */
    /* capture */
    struct soft_capture *capture;
    CUgraphNode *deps;
    CUgraphEdgeData *edges; /* for who asks: always the default */
    size_t dep_count;
};

struct CUctx_st {
    int device;
    bool primary, gone;
    CUstream legacy;
};

struct soft_function {
    unsigned magic; /* tells CUfunction from CUkernel */
    const struct softcuda_kernel *kernel;
    struct soft_function *next;
};
#define SOFT_FUNCTION 0x66756e63u
#define SOFT_KERNEL 0x6b65726eu
#define SOFT_GONE 0x676f6e65u

/* Injected failure of a named call (SOFTCUDA_FAIL=name:code[:nth],...), CUDA_SUCCESS if none. Logs with SOFTCUDA_LOG.
 */
CUresult soft_enter(const char *name);
#define ENTER(name)                                                                                                    \
    CUresult injected = soft_enter(name);                                                                              \
    if (injected)                                                                                                      \
    return injected

bool soft_ready(void); /* cuInit was called */
CUcontext soft_context(void);
int soft_current_device(void);
void *soft_must(void *memory); /* a test device that is out of memory has nothing to add */

/* Streams: special handles resolved; NULL if there is none. */
CUstream soft_stream(CUstream stream, bool per_thread);
/* Enqueues, or adds a node while the stream captures. Takes over op's owned memory unless it fails. */
CUresult soft_submit(CUstream stream, const struct soft_op *op);
void soft_forget_all(CUcontext context); /* what was allocated and registered in it */
void soft_drain(CUstream stream);
void soft_drain_all(CUcontext context, bool only_blocking); /* NULL: of every context */
CUstream soft_streams(void);                                /* the head of all */
bool soft_is_legacy(CUstream stream);
CUstreamCaptureStatus soft_capture_status(CUstream stream);
void soft_invalidate(struct soft_capture *capture);
/* The stream waits for what it was told of before, while it captures. */
CUresult soft_capture_wait(CUstream stream, CUevent event);
/* Is a call that may wait or allocate forbidden now, as some capture of this thread's mode demands? Invalidates it. */
bool soft_forbidden(void);
/* Would work on this legacy stream wait for a stream that captures? Then that capture is invalid. */
bool soft_implicit(CUstream legacy, bool invalidate);

void soft_run(struct soft_op *op);
void soft_replay(CUgraph flat);
void soft_op_free(struct soft_op *op);
struct soft_op soft_op_copy(const struct soft_op *op);
CUresult soft_kernel_op(struct soft_op *op, const struct soft_function *function, const unsigned grid[3],
                        const unsigned block[3], unsigned shared, void **params, void **extra);

CUgraph soft_graph_copy(CUgraph graph);
void soft_graph_free(CUgraph graph);
CUgraphNode soft_graph_add(CUgraph graph, const struct soft_op *op, const CUgraphNode *deps, size_t dep_count);
CUgraphEdgeData soft_edge(CUgraphNode node, size_t dep);
bool soft_graph_has(CUgraph graph, const CUgraphNode *nodes, size_t count);
void soft_deps_set(CUgraphNode **deps, size_t *count, const CUgraphNode *from, size_t n);
void soft_deps_add(CUgraphNode **deps, size_t *count, const CUgraphNode *from, size_t n); /* each once */

/* CUPTI's ear: enter and exit of the calls that it can be asked about. */
typedef void soft_hook(int exit, unsigned cbid, const char *name, const void *params, const char *symbol,
                       CUresult *result, unsigned long long *correlation);
API void softcuda_set_hook(soft_hook *hook);
extern soft_hook *soft_the_hook;

#define TRACED(cbid, name, params, symbol, call)                                                                       \
    do {                                                                                                               \
        unsigned long long correlation = 0;                                                                            \
        soft_hook *hook = __atomic_load_n(&soft_the_hook, __ATOMIC_ACQUIRE);                                           \
        if (hook)                                                                                                      \
            hook(0, cbid, name, params, symbol, NULL, &correlation);                                                   \
        CUresult traced = (call);                                                                                      \
        if (hook)                                                                                                      \
            hook(1, cbid, name, params, symbol, &traced, &correlation);                                                \
        return traced;                                                                                                 \
    } while (0)

#endif
