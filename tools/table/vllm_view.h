/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table as code expects it that reads vLLM's own shared buffer of routed experts: a bare int32 array
 * [slots, layers, k] in /dev/shm, behind an exclusive flock() on a file in the folder of temporary files.
 *
 * That format has no marks. Here: -1 where nothing was ever stored, where a record was lost and where the engine stored
 * a negative id; -2 an id that does not fit; 0 in layers that do not route, as there.
 */
#ifndef MOETAP_TOOLS_TABLE_VLLM_VIEW_H
#define MOETAP_TOOLS_TABLE_VLLM_VIEW_H

#include "../../shm/table.h"

struct vllm_view;

/* "INSTANCE_ID:DP_RANK" to the names of buffer (without a folder) and lock; false: it is none. */
bool vllm_view_names(const char *id, char buffer[128], char lock[512]);

/* "61:3-60" or "32:1,3-5": layers of the view, and which of them MoE layers 0, 1, ... are; without a list the first
 * ones. False: it is none. `map` of MT_TABLE_LAYERS_MAX. */
bool vllm_view_layers(const char *text, uint32_t *layers, uint32_t *map, uint32_t *mapped);

/* Memory for all of it is taken at once: its readers may touch any part. `left`: a file of that name was left by an
 * owner that is gone; otherwise one is an error. */
int vllm_view_open(const char *buffer, const char *lock, uint64_t slots, uint32_t layers, uint32_t k, bool left,
                   struct vllm_view **view, struct mt_error *error);

/* Around the rows of a pass. False: a signal came first. */
bool vllm_view_lock(struct vllm_view *view);
void vllm_view_unlock(struct vllm_view *view);

/* `ids` as for mt_table_put(), [layers, k]: those that `map` names and `layers` has not are missing. */
void vllm_view_put(struct vllm_view *view, int64_t slot, const uint32_t *map, uint32_t mapped, const int32_t *ids,
                   uint32_t layers);

/* NULL allowed. The buffer's name is removed with the table. */
void vllm_view_close(struct vllm_view *view, bool keep);

#endif
