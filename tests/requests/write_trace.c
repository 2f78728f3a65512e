/* SPDX-License-Identifier: Apache-2.0 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct engine_options options = {.block = 16,
                                     .blocks = 600,
                                     .batch = 8,
                                     .budget = 128,
                                     .prompt_max = 60,
                                     .output_max = 30,
                                     .loss = 400,
                                     .name_rows = true,
                                     .seed = 5,
                                     .steps = 200};
    struct engine_truth truth;
    if (argc < 2)
        return 2;
    options.stages = argc > 2 && strcmp(argv[2], "stages") == 0;
    engine_run(argv[1], &options, &truth);
    engine_truth_free(&truth);
    return 0;
}
