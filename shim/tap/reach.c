/* SPDX-License-Identifier: Apache-2.0 */
#include "reach.h"

#include "../hook/driver.h"

#define CACHE 8

/*
 * Where engines keep their ids there are few allocations, mostly pools: asking the driver each time would cost more
 * than the tap's launch. One that was freed since stays here: then a recipe that fits is as right as before, and one
 * that does not is caught a little less often.
 */
static _Thread_local struct {
    struct mt_range known[CACHE];
    unsigned next;
} cache;

/* Memory without a range, if a driver has such: nothing tells where it ends. */
static bool is_memory(uint64_t address)
{
    unsigned type = 0;
    return mt_driver.cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, address) == CUDA_SUCCESS;
}

static bool ask(uint64_t address, struct mt_range *found)
{
    CUdeviceptr start = 0;
    size_t size = 0;
    if (mt_driver.cuPointerGetAttribute(&start, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, address) != CUDA_SUCCESS ||
        mt_driver.cuPointerGetAttribute(&size, CU_POINTER_ATTRIBUTE_RANGE_SIZE, address) != CUDA_SUCCESS ||
        address < start || address - start >= size)
        return false;
    *found = (struct mt_range){start, start + size};
    return true;
}

uint64_t mt_reach(uint64_t address, uint64_t most)
{
    struct mt_range found;
    unsigned i = 0;
    while (i < CACHE && !(address >= cache.known[i].begin && address < cache.known[i].end))
        i++;
    if (i < CACHE && most <= cache.known[i].end - address)
        return most;
    if (!ask(address, &found))
        return is_memory(address) ? most : 0;
    /* Memory that is mapped piece by piece (expandable segments) is one range for whoever uses it. */
    for (struct mt_range more; found.end - address < most && ask(found.end, &more);)
        found.end = more.end;
    cache.known[i < CACHE ? i : cache.next++ % CACHE] = found;
    return found.end - address < most ? found.end - address : most;
}

bool mt_reach_all(struct mt_range range)
{
    return range.begin < range.end && mt_reach(range.begin, range.end - range.begin) == range.end - range.begin;
}
