/* SPDX-License-Identifier: Apache-2.0 */
#include "vllm_view.h"

#include "../../shm/settings.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

struct vllm_view {
    int fd, lock;
    bool made_lock;
    char lock_path[512];
    int32_t *ids;
    uint64_t slots, size;
    uint32_t layers, k;
};

/* Where Python's tempfile looks first. */
static const char *temporary(void)
{
    static const char *const names[] = {"TMPDIR", "TEMP", "TMP"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *folder = getenv(names[i]);
        if (folder && *folder && access(folder, W_OK | X_OK) == 0)
            return folder;
    }
    return "/tmp";
}

bool vllm_view_names(const char *id, char buffer[128], char lock[512])
{
    const char *colon = strrchr(id, ':'), *end;
    uint64_t rank;
    if (!colon || colon == id || colon - id > 64 || !mt_parse_number(colon + 1, &end, &rank) || *end)
        return false;
    for (const char *c = id; c < colon; c++) {
        if (!isalnum((unsigned char) *c) && !strchr("-_.", *c))
            return false;
    }
    int n = (int) (colon - id);
    snprintf(buffer, 128, MT_TABLE_VIEW_PREFIX "%.*s_%llu", n, id, (unsigned long long) rank);
    return snprintf(lock, 512, "%s/vllm_routed_experts_%.*s_%llu.lock", temporary(), n, id, (unsigned long long) rank) <
           512;
}

bool vllm_view_layers(const char *text, uint32_t *layers, uint32_t *map, uint32_t *mapped)
{
    uint64_t all, from, to;
    *mapped = 0;
    if (!mt_parse_number(text, &text, &all) || all == 0 || all > MT_TABLE_LAYERS_MAX)
        return false;
    *layers = (uint32_t) all;
    while (*mapped < all && !*text) /* the first ones */
        map[*mapped] = *mapped, ++*mapped;
    if (*mapped)
        return true;
    for (char sign = ':'; *text == sign; sign = ',') {
        if (!mt_parse_number(text + 1, &text, &from))
            return false;
        to = from;
        if (*text == '-' && !mt_parse_number(text + 1, &text, &to))
            return false;
        for (uint64_t layer = from; layer <= to; layer++) {
            if (layer >= all || (*mapped && layer <= map[*mapped - 1]))
                return false;
            map[(*mapped)++] = (uint32_t) layer;
        }
    }
    return *mapped && !*text;
}

static int open_lock(struct vllm_view *view, const char *path, struct mt_error *error)
{
    snprintf(view->lock_path, sizeof view->lock_path, "%s", path);
    view->made_lock = access(path, F_OK) != 0;
    view->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (view->lock >= 0)
        return 0;
    int result = -errno;
    snprintf(error->text, sizeof error->text, "%.180s: cannot open it: %s", path, strerror(-result));
    return result;
}

/* Who still maps one of another size would get a SIGBUS if it shrank: it keeps it, without the name. */
static bool reusable(const struct vllm_view *view, const char *path)
{
    struct stat status;
    if (lstat(path, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t) status.st_size == view->size)
        return true;
    unlink(path);
    return false;
}

static int make_buffer(struct vllm_view *view, const char *path, bool left, struct mt_error *error)
{
    left = left && reusable(view, path);
    view->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (left ? 0 : O_EXCL), 0600);
    if (view->fd < 0) {
        int result = -errno;
        if (result == -EEXIST)
            snprintf(error->text, sizeof error->text,
                     "%.140s is there already, and nothing says that moetap left it: an engine's own, or remove it",
                     path);
        else
            snprintf(error->text, sizeof error->text, "%.180s: cannot create it: %s", path, strerror(-result));
        return result;
    }
    struct rlimit limit;
    int result = getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < view->size ? EFBIG : 0;
    while (!result && (result = posix_fallocate(view->fd, 0, (off_t) view->size)) == EINTR)
        result = 0;
    if (!result) {
        void *ids = mmap(NULL, view->size, PROT_READ | PROT_WRITE, MAP_SHARED, view->fd, 0);
        if (ids != MAP_FAILED) {
            view->ids = ids;
            memset(ids, 0xFF, view->size);
            return 0;
        }
        result = errno;
    }
    unlink(path);
    snprintf(error->text, sizeof error->text, "no room for %.140s, %llu MiB (%s): free some, or fewer --slots", path,
             (unsigned long long) view->size >> 20, strerror(result));
    return -result;
}

int vllm_view_open(const char *buffer, const char *lock, uint64_t slots, uint32_t layers, uint32_t k, bool left,
                   struct vllm_view **out, struct mt_error *error)
{
    struct vllm_view *view = calloc(1, sizeof *view);
    if (!view) {
        snprintf(error->text, sizeof error->text, "out of memory");
        return -ENOMEM;
    }
    char path[512];
    snprintf(path, sizeof path, "%.300s/%s", mt_shm_dir(), buffer);
    *view = (struct vllm_view){.fd = -1, .lock = -1, .slots = slots, .layers = layers, .k = k};
    view->size = slots * layers * k * sizeof *view->ids;
    int result = open_lock(view, lock, error);
    if (!result) {
        result = vllm_view_lock(view) ? make_buffer(view, path, left, error) : -EINTR;
        vllm_view_unlock(view);
    }
    if (result)
        vllm_view_close(view, false);
    else
        *out = view;
    return result;
}

bool vllm_view_lock(struct vllm_view *view)
{
    return flock(view->lock, LOCK_EX) == 0;
}

void vllm_view_unlock(struct vllm_view *view)
{
    flock(view->lock, LOCK_UN);
}

void vllm_view_put(struct vllm_view *view, int64_t slot, const uint32_t *map, uint32_t mapped, const int32_t *ids,
                   uint32_t layers)
{
    if (slot < 0 || (uint64_t) slot >= view->slots)
        return;
    int32_t *row = view->ids + (uint64_t) slot * view->layers * view->k;
    memset(row, 0, (size_t) view->layers * view->k * sizeof *row);
    for (uint32_t layer = 0; layer < mapped; layer++) {
        for (uint32_t i = 0; i < view->k; i++) {
            int32_t id = layer < layers ? ids[layer * view->k + i] : MT_ID_MISSING;
            row[map[layer] * view->k + i] = id == MT_ID_MISSING ? MT_ID_NEGATIVE : id;
        }
    }
}

void vllm_view_close(struct vllm_view *view, bool keep)
{
    if (!view)
        return;
    if (view->ids)
        munmap(view->ids, view->size);
    if (view->fd >= 0)
        close(view->fd);
    if (view->lock >= 0) {
        if (view->made_lock && !keep)
            unlink(view->lock_path);
        close(view->lock);
    }
    free(view);
}
