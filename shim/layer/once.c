/* SPDX-License-Identifier: Apache-2.0 */
#include "once.h"

#include <pthread.h>
#include <stddef.h>

enum { FIRSTS = sizeof((struct mt_firsts *) NULL)->address / sizeof(uint64_t) };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all firsts */

static bool is_first(struct mt_firsts *firsts, uint64_t address, bool add)
{
    pthread_mutex_lock(&lock);
    unsigned count = firsts->count, i = 0;
    while (i < count && i < FIRSTS && firsts->address[i] != address)
        i++;
    bool found = i < count && i < FIRSTS;
    if (!found && (add || !count)) {
        firsts->address[count % FIRSTS] = address;
        __atomic_store_n(&firsts->count, count + 1, __ATOMIC_RELAXED);
        found = true;
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static bool begins(struct mt_once *once, uint64_t address)
{
    once->latest = address;
    once->pass++;
    return true;
}

bool mt_once_first(struct mt_once *once, struct mt_firsts *firsts, uint64_t address, bool moves)
{
    if (once->latest == address)
        return begins(once, address);
    unsigned known = __atomic_load_n(&firsts->count, __ATOMIC_RELAXED);
    if (known != once->known) {
        once->known = known;
        once->count = 0;
    }
    uint32_t i = 0;
    while (i < once->count && once->others[i].address != address)
        i++;
    bool again = moves && i < once->count && once->others[i].pass == once->pass;
    /* The lock is only for what is new here. */
    if ((again || i == once->count) && is_first(firsts, address, again))
        return begins(once, address);
    if (i < MT_ONCE_LAYERS) {
        once->others[i].address = address;
        once->others[i].pass = once->pass;
        once->count += i == once->count;
    }
    return false;
}
