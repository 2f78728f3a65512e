/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the software CUDA device: what its files share. */
#ifndef MOETAP_TESTS_SOFTCUDA_DEVICE_H
#define MOETAP_TESTS_SOFTCUDA_DEVICE_H

#include "softcuda.h"

#include <cuda.h>
#include <pthread.h>
#include <stdbool.h>

#define API __attribute__((visibility("default")))

/* Work of a stream, or a node of a graph. */
struct soft_op {
    enum { OP_KERNEL, OP_COPY, OP_SET, OP_RECORD, OP_WAIT, OP_GRAPH } kind;
    /* kernel */
    const struct softcuda_kernel *kernel;
    struct softcuda_dim grid, block;
    unsigned char *args; /* flat parameter buffer, owned */
    /* copy, set */
    void *to;
    const void *from;
    size_t size;
    int value;
    /* record, wait */
    CUevent event;
    unsigned long ticket;
    /* graph: a private list of ops in the order chosen for this replay */
    struct soft_op *list;
    size_t count;
    struct soft_op *next;
};

struct soft_node {
    struct soft_op op;
    struct soft_node **deps;
    size_t dep_count;
    unsigned index;
    struct CUgraph_st *graph; /* whose node it is */
};

struct CUgraph_st {
    struct soft_node **nodes;
    size_t count;
};

struct CUgraphExec_st {
    struct CUgraph_st graph; /* deep copy */
};

struct CUevent_st {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned long recorded, reached;
    CUgraph graph; /* recorded while that graph was captured, with these */
    unsigned long long capture_id;
    struct soft_node **deps;
    size_t dep_count;
};

struct CUstream_st {
    unsigned flags;
    int device;
    bool dead;
    pthread_t worker;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct soft_op *head, *tail;
    bool busy;
    struct CUstream_st *next; /* of all streams */
    /* capture */
    CUstreamCaptureStatus status;
    CUstreamCaptureMode mode;
    pthread_t capturer;
    bool origin;
    CUgraph graph;
    struct soft_node **deps;
    size_t dep_count;
    unsigned long long capture_id;
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
int soft_current_device(void);

/* Streams: special handles resolved; NULL if there is none. */
CUstream soft_stream(CUstream stream, bool per_thread);
/* Enqueues, or adds a node while the stream captures. Takes over op's owned memory. */
CUresult soft_submit(CUstream stream, const struct soft_op *op);
void soft_drain(CUstream stream);
void soft_drain_all(bool only_blocking);
/* Is a call that may wait or allocate forbidden now, as some capture of this thread's mode demands? Invalidates it. */
bool soft_forbidden(void);

/* An OP_KERNEL with its own copy of the arguments. */
CUresult soft_kernel_op(CUfunction f, const unsigned grid[3], const unsigned block[3], void **params, void **extra,
                        struct soft_op *op);
void soft_run(struct soft_op *op);
void soft_op_free(struct soft_op *op);
struct soft_op soft_op_copy(const struct soft_op *op);

struct soft_node *soft_graph_add(CUgraph graph, const struct soft_op *op, struct soft_node *const *deps,
                                 size_t dep_count);
void soft_deps_set(struct soft_node ***deps, size_t *count, struct soft_node *const *from, size_t n);
void soft_deps_add(struct soft_node ***deps, size_t *count, struct soft_node *const *from, size_t n);

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
