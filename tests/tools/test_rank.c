/* SPDX-License-Identifier: Apache-2.0 */
/* What engines' process titles say, and what only looks like it. */
#include "../../tools/table/rank.h"

#include <criterion/criterion.h>

Test(rank, titles)
{
    static const struct {
        const char *title;
        struct rank rank;
    } titles[] = {
        {"VLLM::Worker", {-1, -1, -1}},
        {"VLLM::Worker_TP0", {-1, 0, -1}},
        {"VLLM::Worker_DP1_PP2_PCP3_TP4_DCP5_EP6", {1, 4, 2}},
        {"VLLM::EngineCore_DP12", {12, -1, -1}},
        {"sglang::scheduler_DP0_PP1_TP2_EP0", {0, 2, 1}},
        {"sglang::scheduler_PP0_ATTN_CP1_MOE_DP3_TP7_EP1", {-1, 7, 0}},
        {"sglang::scheduler_MOE_DP3", {-1, -1, -1}},
        {"sglang::scheduler DP1 TP3", {1, 3, -1}},
        {"VLLM::Worker_TP", {-1, -1, -1}},
        {"VLLM::Worker_TP1x", {-1, -1, -1}},
        {"VLLM::Worker_TP99999999999999999999", {-1, -1, -1}},
        {"python serve_TP1", {-1, -1, -1}},
        {"", {-1, -1, -1}},
    };
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++) {
        const struct rank rank = rank_in_title(titles[i].title), *wanted = &titles[i].rank;
        cr_assert(rank.data == wanted->data && rank.tensor == wanted->tensor && rank.stage == wanted->stage,
                  "%s: data %d, tensor %d, stage %d", titles[i].title, rank.data, rank.tensor, rank.stage);
    }
}
