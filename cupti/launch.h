/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What any source of launches hands out. A source (the CUPTI tracer, the preloaded symbols) sees the engine's calls
 * into the driver and tells the one sink; it knows nothing of routers, recipes or rings.
 */
#ifndef MOETAP_CUPTI_LAUNCH_H
#define MOETAP_CUPTI_LAUNCH_H

#include <cuda.h>
#include <stdbool.h>
#include <stdint.h>

struct mt_launch {
    CUfunction function; /* may be a CUkernel cast to CUfunction: cuFunc* then answers 400, cuKernel* works */
    const char *symbol;  /* mangled name if the source has it for nothing, else NULL */
    uint32_t grid[3];
    uint32_t block[3];
    CUstream stream;     /* CU_STREAM_LEGACY / CU_STREAM_PER_THREAD instead of NULL: what NULL meant in that call */
    void *const *params; /* NULL if the call packed them into `extra` */
    void *const *extra;  /* CU_LAUNCH_PARAM_* list or NULL */
};

/*
 * Called on the engine's own thread, inside its call. `params` are valid in both calls. A launch that the driver
 * refused gets no after(). Never called for launches that the sink itself makes (mt_quiet_*).
 */
struct mt_sink {
    const unsigned *waiting; /* 0: nothing is open that before() or fence() could close, no need to call them */
    void (*before)(const struct mt_launch *launch);
    void (*after)(const struct mt_launch *launch);
    /*
     * The work put on this stream so far is about to be seen from elsewhere: event record, copy, synchronise, graph
     * launch. `stream` as above; NULL: all streams of this thread.
     */
    void (*fence)(CUstream stream);
    /* The event stands for the work on this stream so far, fence() came ahead; a stream will wait for that. */
    void (*recorded)(CUevent event, CUstream stream);
    void (*waits)(CUstream stream, CUevent event);
    /* The capture that began on this stream is about to end. */
    void (*capture_ends)(CUstream stream);
    /* A kernel was added to a graph by hand: no launch of it will be seen. `stream` is NULL. */
    void (*node)(const struct mt_launch *launch);
    /* A module is about to be unloaded: function handles may be given to other kernels afterwards. */
    void (*unload)(void);
    /* A context is about to be destroyed or reset: everything that was made in it is gone. */
    void (*context_gone)(CUcontext context);
};

/* What a call's stream argument means, in either flavour of the call. */
static inline CUstream mt_stream_meant(CUstream stream, bool per_thread)
{
    return stream ? stream : per_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
}

/* Of the thread. initial-exec: the first touch must not call malloc, which may be the engine's own. In the header, as
 * every launch of the engine asks. */
struct mt_launch_thread {
    int quiet;         /* depth */
    int hooked;        /* depth of launch calls that came in by a preloaded symbol */
    uint64_t reported; /* see tracer.h */
};
extern __thread struct mt_launch_thread mt_launch_thread
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Calls into the driver between these two are ours and are not reported. Per thread, nests. */
static inline void mt_quiet_begin(void)
{
    mt_launch_thread.quiet++;
}

static inline void mt_quiet_end(void)
{
    mt_launch_thread.quiet--;
}

static inline bool mt_is_quiet(void)
{
    return mt_launch_thread.quiet > 0;
}

#endif
