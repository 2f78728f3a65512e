/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one stream learns of another through an event. A router's input may be made on another stream (experts that run
 * beside): then the launch that made it stands in that stream's history, and only it tells that the input is no weight.
 */
#ifndef MOETAP_SHIM_LAYER_JOIN_H
#define MOETAP_SHIM_LAYER_JOIN_H

#include "../lane.h"

/* `event` stands for what was launched on the lane so far. Thread-safe, as all here; no lane may be locked. */
void mt_join_recorded(CUevent event, struct mt_lane *lane);

/* What the lane launches from now on comes behind that: its history gets the latest launches of the other. */
void mt_join_waited(struct mt_lane *lane, CUevent event);

#endif
