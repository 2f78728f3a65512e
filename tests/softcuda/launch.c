/* SPDX-License-Identifier: Apache-2.0 */
/* Launches, and running what was launched. */
#include "device.h"

#include "callbacks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct grid_run {
    const struct soft_op *op;
    void *params[64];
    unsigned next, blocks, first, pause_us;
};

/* SOFTCUDA_SLOW=part-of-a-kernel's-name:microseconds,... */
static unsigned pause_of(const char *kernel)
{
    for (const char *at = getenv("SOFTCUDA_SLOW"); at && *at;) {
        char name[256];
        unsigned us;
        if (sscanf(at, "%255[^:]:%u", name, &us) != 2)
            abort();
        if (strstr(kernel, name))
            return us;
        at = strchr(at, ',');
        at = at ? at + 1 : NULL;
    }
    return 0;
}

static void *run_blocks(void *user)
{
    struct grid_run *run = user;
    const struct soft_op *op = run->op;
    unsigned n;
    while ((n = __atomic_fetch_add(&run->next, 1, __ATOMIC_RELAXED)) < run->blocks) {
        n = (n + run->first) % run->blocks; /* no order of blocks is promised */
        if (run->pause_us)
            usleep(run->pause_us);
        const struct softcuda_block block = {
            op->kernel,  op->grid,
            op->block,   {n % op->grid.x, n / op->grid.x % op->grid.y, n / op->grid.x / op->grid.y},
            run->params, run->pause_us};
        op->kernel->run(&block);
    }
    return NULL;
}

static void run_kernel(const struct soft_op *op)
{
    if (!op->kernel->run)
        return;
    static unsigned seed;
    struct grid_run run = {
        .op = op, .blocks = op->grid.x * op->grid.y * op->grid.z, .pause_us = pause_of(op->kernel->name)};
    run.first = __atomic_add_fetch(&seed, 2654435761u, __ATOMIC_RELAXED) % run.blocks;
    for (unsigned i = 0; i < op->kernel->param_count; i++)
        run.params[i] = op->args + op->kernel->params[i].offset;
    const char *text = getenv("SOFTCUDA_THREADS");
    pthread_t threads[16];
    int wanted = text ? atoi(text) : 1, started = 0;
    while (started + 1 < wanted && started < 15 && (unsigned) started + 1 < run.blocks &&
           pthread_create(&threads[started], NULL, run_blocks, &run) == 0)
        started++;
    run_blocks(&run);
    while (started)
        pthread_join(threads[--started], NULL);
}

void soft_run(struct soft_op *op)
{
    switch (op->kind) {
    case OP_KERNEL:
        run_kernel(op);
        break;
    case OP_COPY:
        memcpy(op->to, op->from, op->size);
        break;
    case OP_SET:
        memset(op->to, op->value, op->size);
        break;
    case OP_RECORD:
        pthread_mutex_lock(&op->event->lock);
        if (op->event->reached < op->ticket)
            op->event->reached = op->ticket;
        pthread_cond_broadcast(&op->event->done);
        pthread_mutex_unlock(&op->event->lock);
        break;
    case OP_WAIT:
        pthread_mutex_lock(&op->event->lock);
        while (op->event->reached < op->ticket)
            pthread_cond_wait(&op->event->done, &op->event->lock);
        pthread_mutex_unlock(&op->event->lock);
        break;
    case OP_EMPTY:
        break;
    case OP_GRAPH:
        soft_replay(op->graph);
        break;
    }
}

static size_t args_size(const struct softcuda_kernel *kernel)
{
    size_t size = 16;
    for (unsigned i = 0; i < kernel->param_count; i++) {
        if (kernel->params[i].offset + kernel->params[i].size > size)
            size = kernel->params[i].offset + kernel->params[i].size;
    }
    return size;
}

struct soft_op soft_op_copy(const struct soft_op *op)
{
    struct soft_op copy = *op;
    if (op->args) {
        copy.args = aligned_alloc(64, (args_size(op->kernel) + 63) & ~(size_t) 63);
        if (!copy.args)
            abort();
        memcpy(copy.args, op->args, args_size(op->kernel));
    }
    if (op->graph)
        copy.graph = soft_graph_copy(op->graph);
    return copy;
}

void soft_op_free(struct soft_op *op)
{
    if (op->graph)
        soft_graph_free(op->graph);
    free(op->args);
}

CUresult soft_kernel_op(struct soft_op *op, const struct soft_function *function, const unsigned grid[3],
                        const unsigned block[3], unsigned shared, void **params, void **extra)
{
    if (!grid[0] || !grid[1] || !grid[2] || !block[0] || !block[1] || !block[2] || (params && extra))
        return CUDA_ERROR_INVALID_VALUE;
    const struct softcuda_kernel *kernel = function->kernel;
    *op = (struct soft_op){.kind = OP_KERNEL,
                           .function = function,
                           .kernel = kernel,
                           .grid = {grid[0], grid[1], grid[2]},
                           .block = {block[0], block[1], block[2]},
                           .shared = shared};
    op->args = soft_must(aligned_alloc(64, (args_size(kernel) + 63) & ~(size_t) 63));
    if (params) {
        for (unsigned i = 0; i < kernel->param_count; i++)
            memcpy(op->args + kernel->params[i].offset, params[i], kernel->params[i].size);
    } else if (extra) {
        const void *buffer = NULL;
        size_t size = 0;
        for (void **e = extra; *e != CU_LAUNCH_PARAM_END; e += 2) {
            if (*e == CU_LAUNCH_PARAM_BUFFER_POINTER)
                buffer = e[1];
            else if (*e == CU_LAUNCH_PARAM_BUFFER_SIZE)
                size = *(size_t *) e[1];
        }
        memcpy(op->args, buffer, size < args_size(kernel) ? size : args_size(kernel));
    }
    return CUDA_SUCCESS;
}

static CUresult launch(const char *name, CUfunction f, const unsigned grid[3], const unsigned block[3], unsigned shared,
                       CUstream stream, bool per_thread, bool overlaps, void **params, void **extra)
{
    ENTER(name);
    const struct soft_function *function = (const struct soft_function *) f;
    CUstream s = soft_stream(stream, per_thread);
    if (!s || !function || (function->magic != SOFT_FUNCTION && function->magic != SOFT_KERNEL))
        return CUDA_ERROR_INVALID_HANDLE;
    struct soft_op op;
    CUresult result = soft_kernel_op(&op, function, grid, block, shared, params, extra);
    if (result != CUDA_SUCCESS)
        return result;
    op.overlaps = overlaps;
    result = soft_submit(s, &op);
    if (result != CUDA_SUCCESS)
        soft_op_free(&op);
    return result;
}

static bool overlaps(const CUlaunchConfig *config)
{
    bool found = false;
    for (unsigned i = 0; i < config->numAttrs; i++)
        found |= config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION &&
                 config->attrs[i].value.programmaticStreamSerializationAllowed;
    return found;
}

static const char *symbol_of(CUfunction f)
{
    const struct soft_function *function = (const struct soft_function *) f;
    return function && (function->magic == SOFT_FUNCTION || function->magic == SOFT_KERNEL) ? function->kernel->name
                                                                                            : NULL;
}

#define LAUNCH(symbol, per_thread)                                                                                     \
    API CUresult symbol(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,    \
                        unsigned shared, CUstream stream, void **params, void **extra)                                 \
    {                                                                                                                  \
        const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};                                                  \
        cuLaunchKernel_params p = {f, gx, gy, gz, bx, by, bz, shared, stream, params, extra};                          \
        TRACED(CUPTI_DRIVER_TRACE_CBID_##symbol, #symbol, &p, symbol_of(f),                                            \
               launch(#symbol, f, grid, block, shared, stream, per_thread, false, params, extra));                     \
    }
LAUNCH(cuLaunchKernel, false)
LAUNCH(cuLaunchKernel_ptsz, true)

#define LAUNCH_EX(symbol, per_thread)                                                                                  \
    API CUresult symbol(const CUlaunchConfig *c, CUfunction f, void **params, void **extra)                            \
    {                                                                                                                  \
        if (!c)                                                                                                        \
            return CUDA_ERROR_INVALID_VALUE;                                                                           \
        const unsigned grid[] = {c->gridDimX, c->gridDimY, c->gridDimZ};                                               \
        const unsigned block[] = {c->blockDimX, c->blockDimY, c->blockDimZ};                                           \
        cuLaunchKernelEx_params p = {c, f, params, extra};                                                             \
        TRACED(                                                                                                        \
            CUPTI_DRIVER_TRACE_CBID_##symbol, #symbol, &p, symbol_of(f),                                               \
            launch(#symbol, f, grid, block, c->sharedMemBytes, c->hStream, per_thread, overlaps(c), params, extra));   \
    }
LAUNCH_EX(cuLaunchKernelEx, false)
LAUNCH_EX(cuLaunchKernelEx_ptsz, true)

#define LAUNCH_COOPERATIVE(symbol, per_thread)                                                                         \
    API CUresult symbol(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,    \
                        unsigned shared, CUstream stream, void **params)                                               \
    {                                                                                                                  \
        const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};                                                  \
        cuLaunchCooperativeKernel_params p = {f, gx, gy, gz, bx, by, bz, shared, stream, params};                      \
        TRACED(CUPTI_DRIVER_TRACE_CBID_##symbol, #symbol, &p, symbol_of(f),                                            \
               launch(#symbol, f, grid, block, shared, stream, per_thread, false, params, NULL));                      \
    }
LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel, false)
LAUNCH_COOPERATIVE(cuLaunchCooperativeKernel_ptsz, true)
