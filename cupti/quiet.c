/* SPDX-License-Identifier: Apache-2.0 */
#include "launch.h"

__thread struct mt_launch_thread mt_launch_thread;
