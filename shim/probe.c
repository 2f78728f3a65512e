/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include "driver.h"
#include "kernels.h"
#include "lane.h"
#include "layer.h"
#include "log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KERNELS_MAX 4096u
#define PARAM_BYTES 4096u
#define REGIONS_MAX 24u
#define WINDOW 65536u    /* bytes compared behind a pointer */
#define SHOWN 8192u      /* bytes of it that go into the file */
#define BORING_SAMPLES 4 /* of a kernel that wrote nothing like ids in them */
#define USES_MAX 8u
#define KERNEL_SAMPLES 64
#define FIRST_SAMPLES 24           /* in a row; later ones are spread */
#define TIME_MAX_NS 40000000000ull /* spent on samples by a process */
#define PATIENCE_NS 1000000000ull  /* for work that a sample waits for: it may itself wait for this thread */
#define TOKEN_LIMIT (1u << 22)     /* beyond any vocabulary */

struct seen {
    const struct mt_kernel *kernel;
    unsigned id, samples;
    bool off, interesting;
    uint64_t eager, captured;
    uint32_t last_grid;
    int32_t layers_seen;
    /* The first one for all launches; then for those of the same numbers: several routings may share a kernel. */
    struct use {
        uint64_t numbers;
        struct mt_layers *layers;
        const struct mt_lane *lane; /* of the last launch, and the history count behind it */
        uint32_t last;
    } uses[USES_MAX];
};

struct region {
    uint32_t offset, size;
    uint64_t address;
    unsigned char *was, *is; /* WINDOW bytes each */
};

/* The launch that this thread is in. */
struct sample {
    bool taken;
    CUfunction function;
    CUstream stream;
    const struct mt_kernel *kernel;
    uint32_t bytes;
    uint64_t params[PARAM_BYTES / 8];
    unsigned count;
    struct region regions[REGIONS_MAX];
    unsigned char memory[2 * REGIONS_MAX * WINDOW];
};
static __thread struct sample *current;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* everything below; never held over a wait */
static struct seen table[KERNELS_MAX];
static unsigned table_used, samples;
static uint64_t spent_ns;
static FILE *out;
static bool look_at_all;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

/* Tabs and line ends stand between fields. */
static void put_text(const char *text)
{
    for (; *text; text++)
        fputc(*text == '\t' || *text == '\n' ? ' ' : *text, out);
}

static void put_hex(const void *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (const unsigned char *c = bytes, *end = c + size; c < end; c++) {
        fputc(digits[*c >> 4], out);
        fputc(digits[*c & 15], out);
    }
}

static void put_kernel(const struct seen *seen)
{
    static const char *const kinds[] = {"router", "final", "no-ids", "consumer"};
    const struct mt_kernel *kernel = seen->kernel;
    const struct mt_kernel_info *info = kernel->info;
    const struct mt_recipe *recipe = look_at_all ? NULL : kernel->recipe;
    fprintf(out, "kernel\t%u\t%s\t%s\t", seen->id, recipe ? mt_recipe_name(recipe) : "-",
            recipe ? kinds[mt_recipe_kind(recipe)] : "-");
    for (unsigned i = 0; i < kernel->param_count; i++)
        fprintf(out, "%s%u:%u", i ? "," : "", kernel->param[i].offset, kernel->param[i].size);
    fprintf(out, "\t%llx\t", (unsigned long long) info->const_pointers);
    put_text(info->mangled);
    fputc('\t', out);
    put_text(info->demangled);
    fputc('\t', out);
    put_text(info->base);
    for (unsigned i = 0; i < info->template_count; i++) {
        fputc('\t', out);
        put_text(info->template_args[i]);
    }
    fputc('\n', out);
}

/* The lock is held. NULL: a kernel without a name, or too many. */
static struct seen *find(const struct mt_kernel *kernel)
{
    if (!kernel->info || !kernel->param_count)
        return NULL;
    size_t i = ((uintptr_t) kernel >> 4) * 2654435761u % KERNELS_MAX;
    while (table[i].kernel && table[i].kernel != kernel)
        i = (i + 1) % KERNELS_MAX;
    struct seen *seen = &table[i];
    if (seen->kernel)
        return seen;
    if (table_used >= KERNELS_MAX * 3 / 4) {
        mt_log_once(MT_LOG_PROBLEM, "more than %u kernels: later ones are not looked at", KERNELS_MAX * 3 / 4);
        return NULL;
    }
    *seen = (struct seen){.kernel = kernel, .id = table_used++, .off = kernel->recipe && !look_at_all};
    put_kernel(seen);
    return seen;
}

/* The lock is held. */
static bool wanted(const struct seen *seen, const struct mt_launch *launch)
{
    uint64_t n = seen->eager + 1;
    if (seen->off || spent_ns > TIME_MAX_NS || seen->samples >= KERNEL_SAMPLES)
        return false;
    if (!seen->interesting)
        return seen->samples < BORING_SAMPLES;
    return seen->samples < FIRST_SAMPLES || launch->grid[0] != seen->last_grid || (n & (n - 1)) == 0;
}

static bool capturing(CUstream stream)
{
    CUstreamCaptureStatus status;
    return mt_driver.cuStreamIsCapturing(stream, &status) != CUDA_SUCCESS || status != CU_STREAM_CAPTURE_STATUS_NONE;
}

/* No plain synchronise: what the stream runs may need another launch of this very thread (collectives). */
static bool wait_for(CUstream stream)
{
    uint64_t until = now_ns() + PATIENCE_NS;
    CUresult result;
    while ((result = mt_driver.cuStreamQuery(stream)) == CUDA_ERROR_NOT_READY && now_ns() < until)
        usleep(20);
    return result == CUDA_SUCCESS;
}

/* Some other stream may be capturing in a mode that forbids waits and copies meanwhile: ours are none of its business.
 */
static bool relax(CUstreamCaptureMode *mode)
{
    *mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    return mt_driver.cuThreadExchangeStreamCaptureMode(mode) == CUDA_SUCCESS;
}

static void restore(CUstreamCaptureMode mode)
{
    if (mt_driver.cuThreadExchangeStreamCaptureMode(&mode) != CUDA_SUCCESS)
        mt_log_once(MT_LOG_PROBLEM, "the thread's capture mode could not be restored");
}

/* Bytes of the window behind an address of device memory; 0: it is none. */
static uint32_t room_behind(uint64_t address)
{
    unsigned type = 0;
    CUdeviceptr start = 0;
    size_t size = 0;
    if (address < 4096 || address >> 48 ||
        mt_driver.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address) != CUDA_SUCCESS ||
        type != CU_MEMORYTYPE_DEVICE ||
        mt_driver.cuPointerGetAttribute(&start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, address) != CUDA_SUCCESS ||
        mt_driver.cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, address) != CUDA_SUCCESS ||
        address < start || address - start >= size)
        return 0;
    uint64_t room = size - (address - start);
    return room < WINDOW ? (uint32_t) room : WINDOW;
}

static void add_region(struct sample *sample, uint32_t offset)
{
    uint64_t address = sample->params[offset / 8];
    for (unsigned i = 0; i < sample->count; i++) {
        if (sample->regions[i].address == address)
            return;
    }
    uint32_t room = sample->count < REGIONS_MAX ? room_behind(address) : 0;
    if (!room)
        return;
    unsigned char *memory = sample->memory + 2 * WINDOW * sample->count;
    sample->regions[sample->count++] = (struct region){offset, room, address, memory, memory + WINDOW};
}

/* Pointers that the kernel may write through, in parameters (`begin`) or further inside of them. */
static void add_regions(struct sample *sample, bool begin)
{
    const struct mt_kernel *kernel = sample->kernel;
    for (unsigned i = 0; i < kernel->param_count; i++) {
        uint32_t start = kernel->param[i].offset, end = start + kernel->param[i].size;
        if ((kernel->info->const_pointers >> i & 1) || start % 8)
            continue;
        if (begin && start + 8 <= end && start + 8 <= sample->bytes)
            add_region(sample, start);
        for (uint32_t at = start + 8; !begin && at + 8 <= end && at + 8 <= sample->bytes; at += 8)
            add_region(sample, at);
    }
}

/* Each one's window ends where the next one begins. */
static void find_regions(struct sample *sample)
{
    sample->count = 0;
    add_regions(sample, true); /* first: the rest of a struct may hold left-over copies of the same addresses */
    add_regions(sample, false);
    for (unsigned i = 0; i < sample->count; i++) {
        struct region *region = &sample->regions[i];
        for (uint32_t w = 0; w < sample->bytes / 8; w++) {
            uint64_t other = sample->params[w];
            if (other > region->address && other - region->address < region->size)
                region->size = (uint32_t) (other - region->address);
        }
    }
}

/* On the launch's own stream, so that nobody else's order changes. */
static bool read_regions(struct sample *sample, bool after)
{
    for (unsigned i = 0; i < sample->count; i++) {
        struct region *region = &sample->regions[i];
        if (mt_driver.cuMemcpyDtoHAsync_v2(after ? region->is : region->was, region->address, region->size,
                                           sample->stream) != CUDA_SUCCESS)
            region->size = 0;
    }
    return wait_for(sample->stream);
}

static int64_t element(const unsigned char *bytes, unsigned width, uint32_t i)
{
    int64_t i64;
    int32_t i32;
    uint16_t u16;
    switch (width) {
    case 8:
        memcpy(&i64, bytes + i * 8, 8);
        return i64;
    case 4:
        memcpy(&i32, bytes + i * 4, 4);
        return i32;
    case 2:
        memcpy(&u16, bytes + i * 2, 2);
        return u16;
    default:
        return bytes[i];
    }
}

/* Only to keep the file small: no floats, no hidden states. */
static bool like_ids(const struct region *region, uint32_t end)
{
    static const struct {
        unsigned width;
        int64_t limit;
    } widths[] = {{8, TOKEN_LIMIT}, {4, TOKEN_LIMIT}, {2, 2048}, {1, 128}};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        uint32_t n = end / widths[w].width;
        bool fits = n > 0;
        for (uint32_t i = 0; fits && i < n && i < (widths[w].width == 1 ? 64 : 2); i++) {
            int64_t value = element(region->is, widths[w].width, i);
            fits = value >= -1 && value < widths[w].limit;
        }
        if (fits)
            return true;
    }
    return false;
}

static bool put_region(const struct region *region)
{
    uint32_t first = 0, end = region->size;
    while (first < end && region->was[first] == region->is[first])
        first++;
    while (end > first && region->was[end - 1] == region->is[end - 1])
        end--;
    if (first == end || !like_ids(region, end))
        return false;
    fprintf(out, "memory\t%u\t%llx\t%u\t%u\t%u\t", region->offset, (unsigned long long) region->address, first, end,
            region->size);
    uint32_t shown = end + 256 < region->size ? end + 256 : region->size; /* what was there before may end a row */
    put_hex(region->is, shown < SHOWN ? shown : SHOWN);
    fputc('\n', out);
    return true;
}

/* A hash of the launch's numbers that are no pointers. */
static uint64_t numbers_of(const struct mt_kernel *kernel, const struct mt_launch *launch)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (unsigned i = 0; i < kernel->param_count; i++) {
        uint64_t value = 0;
        const void *at = mt_launch_param(kernel->info, launch, i);
        if (at && kernel->param[i].size <= sizeof value)
            memcpy(&value, at, kernel->param[i].size);
        if (value <= UINT32_MAX)
            hash = (hash ^ value ^ (uint64_t) i << 32) * 1099511628211u;
    }
    return hash;
}

static struct use *find_use(struct seen *seen, uint64_t numbers)
{
    unsigned i = 1;
    while (i < USES_MAX - 1 && seen->uses[i].layers && seen->uses[i].numbers != numbers)
        i++;
    seen->uses[i].numbers = numbers;
    return &seen->uses[i];
}

/* Which layer would this launch belong to, were it the router. The lane is locked. */
static void tell_layer(struct seen *seen, struct use *use, const struct mt_lane *lane)
{
    uint32_t count = lane->history.count;
    if (!use->layers && !(use->layers = mt_layers_new()))
        return;
    int32_t layer = mt_layers_identify(use->layers, &lane->history, use->lane == lane ? count - use->last : count);
    use->lane = lane;
    use->last = count;
    seen->layers_seen = layer >= seen->layers_seen ? layer + 1 : seen->layers_seen;
}

/* The lock is held. */
static void tell_layers(struct seen *seen, const struct mt_launch *launch)
{
    struct mt_lane *lane = mt_lane_find(launch->stream);
    if (!lane)
        return;
    mt_lane_lock(lane);
    tell_layer(seen, &seen->uses[0], lane);
    tell_layer(seen, find_use(seen, numbers_of(seen->kernel, launch)), lane);
    mt_lane_unlock(lane);
}

static void before(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    pthread_mutex_lock(&lock);
    struct seen *seen = find(kernel);
    bool take = seen && wanted(seen, launch);
    pthread_mutex_unlock(&lock);
    if (take && !current && (current = malloc(sizeof *current)))
        current->taken = false; /* the rest is large, and filled before it is read */
    struct sample *sample = current;
    /* With two sources it may have been told already. */
    bool again = sample && sample->taken && sample->function == launch->function && sample->stream == launch->stream;
    if (take && sample && !again && !capturing(launch->stream)) {
        uint64_t begun = now_ns();
        sample->function = launch->function;
        sample->stream = launch->stream;
        sample->kernel = kernel;
        memset(sample->params, 0, sizeof sample->params);
        sample->bytes = mt_kernel_copy_params(kernel, launch, sample->params, sizeof sample->params);
        find_regions(sample);
        CUstreamCaptureMode mode;
        if ((sample->taken = sample->count && relax(&mode))) {
            sample->taken = wait_for(sample->stream) && read_regions(sample, false);
            restore(mode);
        }
        pthread_mutex_lock(&lock);
        spent_ns += now_ns() - begun;
        pthread_mutex_unlock(&lock);
    } else if (sample && !again) {
        sample->taken = false;
    }
    mt_quiet_end();
}

static void write_sample(struct seen *seen, const struct sample *sample, const struct mt_launch *launch)
{
    seen->last_grid = launch->grid[0];
    fprintf(out, "sample\t%u\t%u\t%d\t%u\t%u\t%u\t", seen->id, samples++, seen->layers_seen, launch->grid[0],
            launch->grid[1], launch->grid[2]);
    put_hex(sample->params, sample->bytes);
    fputc('\n', out);
    for (unsigned i = 0; i < sample->count; i++) {
        if (sample->regions[i].size && put_region(&sample->regions[i]))
            seen->interesting = true;
    }
    fflush(out);
}

static void after(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    struct sample *sample = current;
    bool take = sample && sample->taken && sample->kernel == kernel && sample->stream == launch->stream;
    uint64_t begun = now_ns();
    CUstreamCaptureMode mode;
    bool read = take && relax(&mode);
    if (read) {
        read = wait_for(launch->stream) && read_regions(sample, true);
        restore(mode);
    }
    uint64_t spent = take ? now_ns() - begun : 0;
    if (sample)
        sample->taken = false;
    struct mt_lane *lane = mt_lane_find(launch->stream);
    if (lane) {
        mt_lane_lock(lane);
        mt_history_add(&lane->history, kernel, launch);
        mt_lane_unlock(lane);
    }
    bool captured = capturing(launch->stream);
    pthread_mutex_lock(&lock);
    struct seen *seen = find(kernel);
    if (seen) {
        spent_ns += spent;
        if (captured)
            seen->captured++;
        else
            seen->eager++;
        if (take) {
            seen->samples++;
            seen->off |= !read; /* the wait was in vain, or the memory cannot be had: not again */
        }
        if (seen->interesting || read)
            tell_layers(seen, launch);
        if (read)
            write_sample(seen, sample, launch);
    }
    pthread_mutex_unlock(&lock);
    mt_quiet_end();
}

static void fence(CUstream stream)
{
    (void) stream;
}

static void recorded(CUevent event, CUstream stream)
{
    (void) event, (void) stream;
}

static void waits(CUstream stream, CUevent event)
{
    (void) stream, (void) event;
}

static void node(const struct mt_launch *launch)
{
    mt_quiet_begin();
    const struct mt_kernel *kernel = mt_kernels_find(launch);
    pthread_mutex_lock(&lock);
    struct seen *seen = find(kernel);
    if (seen)
        seen->captured++;
    pthread_mutex_unlock(&lock);
    mt_quiet_end();
}

static void unload(void)
{
    mt_kernels_forget();
}

static void context_gone(CUcontext context)
{
    (void) context;
}

bool mt_probe_start(const char *folder, struct mt_recipes *recipes, bool all)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", folder, (int) getpid());
    look_at_all = all;
    mt_kernels_start(recipes, true);
    if (!mt_driver.cuMemcpyDtoHAsync_v2 || !mt_driver.cuStreamQuery)
        mt_log(MT_LOG_PROBLEM, "this driver cannot be probed: it has no cuMemcpyDtoHAsync or no cuStreamQuery");
    else
        out = fopen(path, "ae");
    return out != NULL;
}

const struct mt_sink *mt_probe_sink(void)
{
    static const unsigned always = 1; /* before() looks at memory ahead of every launch */
    static const struct mt_sink sink = {&always, before, after, fence,  recorded,
                                        waits,   fence,  node,  unload, context_gone};
    return &sink;
}

void mt_probe_end(void)
{
    if (!out)
        return;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < KERNELS_MAX; i++) {
        if (table[i].kernel)
            fprintf(out, "total\t%u\t%llu\t%llu\n", table[i].id, (unsigned long long) table[i].eager,
                    (unsigned long long) table[i].captured);
    }
    fflush(out);
    pthread_mutex_unlock(&lock);
}
