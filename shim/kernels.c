/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels.h"

#include "hook/driver.h"
#include "log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MT_KERNEL_MOVES_BYTES 2048u
#define TABLE_SIZE 32768u /* functions; a large torch process has some thousands */

static struct slot {
    CUfunction function;
    const struct mt_kernel *kernel; /* NULL: not asked yet, or forgotten */
} table[TABLE_SIZE];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t table_used;
static const struct mt_recipes *recipes;
static bool keep_all;
static const struct mt_kernel unknown; /* stands for "nothing known": no parameters, no recipe */

void mt_kernels_start(const struct mt_recipes *r, bool keep)
{
    recipes = r;
    keep_all = keep;
}

static size_t first_slot(CUfunction function)
{
    uint64_t h = (uint64_t) (uintptr_t) function * 0x9e3779b97f4a7c15ull;
    return (size_t) (h >> 49); /* 15 bits: TABLE_SIZE */
}

/* A function handle may be a CUkernel in disguise: then the cuFunc calls refuse it and the cuKernel ones answer. */
static const char *ask_name(CUfunction function)
{
    const char *name = NULL;
    if (mt_driver.cuFuncGetName && mt_driver.cuFuncGetName(&name, function) == CUDA_SUCCESS && name)
        return name;
    if (mt_driver.cuKernelGetName && mt_driver.cuKernelGetName(&name, (CUkernel) function) == CUDA_SUCCESS)
        return name;
    return NULL;
}

/* Reads the layout up to the driver's "no such parameter"; whether it is a CUkernel, the first one tells. */
static void ask_params(CUfunction function, struct mt_kernel_info *info)
{
    size_t offset, size;
    bool plain =
        mt_driver.cuFuncGetParamInfo && mt_driver.cuFuncGetParamInfo(function, 0, &offset, &size) == CUDA_SUCCESS;
    while (info->param_count < MT_KERNEL_PARAMS_MAX) {
        CUresult result = CUDA_ERROR_NOT_SUPPORTED;
        if (plain)
            result = mt_driver.cuFuncGetParamInfo(function, info->param_count, &offset, &size);
        else if (mt_driver.cuKernelGetParamInfo)
            result = mt_driver.cuKernelGetParamInfo((CUkernel) function, info->param_count, &offset, &size);
        if (result != CUDA_SUCCESS)
            return;
        info->param[info->param_count].offset = (uint32_t) offset;
        info->param[info->param_count++].size = (uint32_t) size;
    }
}

/* What a router that no recipe knows may be called. */
static void explain_unknown(const struct mt_kernel_info *info)
{
    static const char *const words[] = {"topk", "top_k", "gating", "router", "routing"};
    if (mt_log_level() < MT_LOG_EXPLAIN)
        return;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasestr(info->base, words[i])) {
            char sizes[256] = "";
            for (unsigned p = 0, n = 0; p < info->param_count && n < sizeof sizes - 12; p++)
                n += (unsigned) snprintf(sizes + n, sizeof sizes - n, " %u", info->param[p].size);
            mt_log_new(MT_LOG_EXPLAIN, "no recipe for %s, parameters of%s bytes", info->demangled, sizes);
            return;
        }
    }
}

void mt_kernels_say_no_ids(const struct mt_recipe *recipe, const struct mt_kernel_info *info)
{
    const char *note = mt_recipe_note(recipe);
    mt_log_new(MT_LOG_PROBLEM, "not captured: %s routes inside and stores no ids that can be read%s%s", info->base,
               *note ? ": " : "", note);
}

/* Leaves it without a plan where padding would show what an older launch left there. */
static void plan_moves(struct mt_kernel *kernel)
{
    struct mt_kernel_move *moves = calloc(2 * kernel->param_count + 1, sizeof *moves);
    uint32_t words = 0; /* planned so far */
    unsigned count = 0;
    bool whole = moves && kernel->bytes <= MT_KERNEL_MOVES_BYTES;
    for (unsigned i = 0; whole && i < kernel->param_count; i++) {
        const struct mt_kernel_param *p = &kernel->param[i];
        uint32_t first = p->offset / 8, end = (p->offset + p->size + 7) / 8;
        whole = first <= words && !(p->size >= 8 && p->offset % 8);
        if ((p->size < 8 || p->size % 8) && end > words)
            moves[count++] = (struct mt_kernel_move){(uint16_t) (end - 1), 0, 0};
        words = end > words ? end : words;
    }
    for (unsigned i = 0; whole && i < kernel->param_count; i++) {
        const struct mt_kernel_param *p = &kernel->param[i];
        if (p->size >= 8)
            moves[count++] = (struct mt_kernel_move){(uint16_t) (p->offset / 8), (uint16_t) i, p->size};
    }
    if (whole) {
        kernel->moves = moves;
        kernel->move_count = count;
    } else {
        free(moves);
    }
}

static void find_also(const struct mt_kernel_info *info, struct mt_kernel *kernel)
{
    const struct mt_recipe *also[MT_KERNEL_ALSO + 1] = {NULL};
    if (mt_recipes_also(recipes, info, kernel->recipe, also, MT_KERNEL_ALSO + 1) > MT_KERNEL_ALSO)
        mt_log_new(MT_LOG_PROBLEM,
                   "more than %d recipes fit %s as well: %s and those behind it are not tried, remove some",
                   MT_KERNEL_ALSO, info->base, mt_recipe_name(also[MT_KERNEL_ALSO]));
    memcpy(kernel->also, also, sizeof kernel->also);
}

static const struct mt_kernel *ask(const struct mt_launch *launch)
{
    struct mt_kernel_info *info = calloc(1, sizeof *info);
    if (!info)
        return &unknown;
    bool layouts = mt_driver.cuFuncGetParamInfo || mt_driver.cuKernelGetParamInfo;
    if (!layouts)
        mt_log_once(MT_LOG_PROBLEM, "the driver cannot tell kernels' parameter layouts (it is older than CUDA 12.4): "
                                    "nothing is captured; update the driver");
    ask_params(launch->function, info);

    struct mt_kernel *kernel = calloc(1, sizeof *kernel + info->param_count * sizeof kernel->param[0]);
    if (!kernel) {
        free(info);
        return &unknown;
    }
    kernel->param_count = info->param_count;
    for (unsigned i = 0; i < info->param_count; i++) {
        kernel->param[i].offset = info->param[i].offset;
        kernel->param[i].size = info->param[i].size;
        uint32_t end = info->param[i].offset + info->param[i].size;
        if (end > kernel->bytes)
            kernel->bytes = end;
    }

    plan_moves(kernel);

    const char *name = launch->symbol ? launch->symbol : ask_name(launch->function);
    char why[256] = "";
    if (name && layouts) {
        mt_kernel_info_set_name(info, name);
        kernel->recipe = mt_recipes_match(recipes, info, why, sizeof why);
        const struct mt_recipe *other = kernel->recipe;
        for (unsigned i = 0; other && i < MT_KERNEL_OTHERS; i++)
            kernel->others[i] = other = mt_recipes_next(recipes, info, other);
        if (kernel->recipe)
            find_also(info, kernel);
        if (other && mt_recipes_next(recipes, info, other))
            mt_log_new(MT_LOG_PROBLEM, "more than %d recipes fit %s: those behind %s are not tried, remove some",
                       MT_KERNEL_OTHERS + 1, info->base, mt_recipe_name(other));
        for (unsigned i = 0; i < info->param_count; i++) {
            /* Which of the recipes is right, only a launch tells: what all of them say holds for each. */
            bool only_reads = mt_kernel_only_reads(info, kernel->recipe, i);
            for (unsigned n = 0; only_reads && n < MT_KERNEL_OTHERS && kernel->others[n]; n++)
                only_reads = mt_kernel_only_reads(info, kernel->others[n], i);
            kernel->only_reads |= (uint64_t) only_reads << i;
        }
    }
    if (kernel->recipe || (keep_all && name && layouts)) {
        info->mangled = strdup(name); /* the driver's copy goes with the module */
        kernel->info = info->mangled ? info : NULL;
    }
    if (kernel->recipe) {
        if (mt_recipe_kind(kernel->recipe) == MT_RECIPE_NO_IDS)
            mt_kernels_say_no_ids(kernel->recipe, info);
        else
            mt_log_new(MT_LOG_EXPLAIN, "recipe %s reads %s", mt_recipe_name(kernel->recipe), info->demangled);
        for (unsigned i = 0; i < MT_KERNEL_OTHERS && kernel->others[i]; i++)
            mt_log_new(MT_LOG_EXPLAIN, "or recipe %s, as each launch tells", mt_recipe_name(kernel->others[i]));
        for (unsigned i = 0; i < MT_KERNEL_ALSO && kernel->also[i]; i++)
            mt_log_new(MT_LOG_EXPLAIN, "and recipe %s", mt_recipe_name(kernel->also[i]));
    } else {
        if (why[0])
            mt_log_new(MT_LOG_PROBLEM, "not captured: %s: %s", info->base, why);
        else if (name)
            explain_unknown(info);
    }
    if (!kernel->info) {
        kernel->recipe = NULL;
        free(info);
    }
    kernel->routes = kernel->recipe && mt_recipe_kind(kernel->recipe) == MT_RECIPE_ROUTER;
    return kernel;
}

const struct mt_kernel *mt_kernels_find(const struct mt_launch *launch)
{
    size_t i = first_slot(launch->function);
    for (size_t n = 0; n < TABLE_SIZE; n++, i = (i + 1) & (TABLE_SIZE - 1)) {
        CUfunction function = __atomic_load_n(&table[i].function, __ATOMIC_ACQUIRE);
        if (function == launch->function) {
            const struct mt_kernel *kernel = __atomic_load_n(&table[i].kernel, __ATOMIC_ACQUIRE);
            if (__builtin_expect(kernel != NULL, 1))
                return kernel;
            break;
        }
        if (!function)
            break;
    }

    pthread_mutex_lock(&table_lock);
    const struct mt_kernel *kernel = NULL;
    for (size_t n = 0; n < TABLE_SIZE; n++, i = (i + 1) & (TABLE_SIZE - 1)) {
        if (table[i].function == launch->function) {
            kernel = table[i].kernel;
            if (!kernel)
                __atomic_store_n(&table[i].kernel, kernel = ask(launch), __ATOMIC_RELEASE);
            break;
        }
        if (!table[i].function) {
            if (table_used >= TABLE_SIZE * 3 / 4) {
                mt_log_once(MT_LOG_PROBLEM, "more than %u kernels: later ones are not looked at", TABLE_SIZE * 3 / 4);
                break;
            }
            table_used++;
            kernel = ask(launch);
            __atomic_store_n(&table[i].kernel, kernel, __ATOMIC_RELEASE);
            __atomic_store_n(&table[i].function, launch->function, __ATOMIC_RELEASE);
            break;
        }
    }
    pthread_mutex_unlock(&table_lock);
    return kernel ? kernel : &unknown;
}

void mt_kernels_forget(void)
{
    /* What was known stays allocated: another thread may be reading it, and modules are few. */
    pthread_mutex_lock(&table_lock);
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        if (table[i].function)
            __atomic_store_n(&table[i].kernel, NULL, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&table_lock);
}

uint32_t mt_kernel_copy_params(const struct mt_kernel *kernel, const struct mt_launch *launch, void *bytes,
                               uint32_t size)
{
    uint32_t end = kernel->bytes < size ? kernel->bytes : size;
    if (launch->params) {
        for (unsigned i = 0; i < kernel->param_count; i++) {
            const struct mt_kernel_param *p = &kernel->param[i];
            if (p->offset >= end)
                continue;
            uint32_t n = p->offset + p->size <= end ? p->size : end - p->offset;
            memcpy((char *) bytes + p->offset, launch->params[i], n);
        }
        return end;
    }
    size_t have;
    const void *buffer = mt_launch_packed(launch, &have);
    if (!buffer)
        return 0;
    if (have < end)
        end = (uint32_t) have;
    memcpy(bytes, buffer, end);
    return end;
}
