/* SPDX-License-Identifier: Apache-2.0 */
/* Follows one segment to its engine's end and prints how often each layer chose each expert. */
#include <moetap/reader.h>

#include <inttypes.h>
#include <stdio.h>

#define LAYERS 256
#define EXPERTS 1024

static uint64_t chosen[LAYERS][EXPERTS];

static int take(const struct mt_record *record, const void *ids, void *user)
{
    const mt_reader *reader = user;
    struct mt_site site;
    if (mt_site(reader, record->site, &site) != 0 || site.flags & MT_SITE_RETRACTED || site.layer < 0 ||
        site.layer >= LAYERS)
        return 0;
    for (size_t i = 0; i < (size_t) record->rows * record->k; i++) {
        int32_t expert = mt_decode_id(ids, record->width, i); /* negative: padding, or an id of more than two bytes */
        if (expert >= 0 && expert < EXPERTS)
            chosen[site.layer][expert]++;
    }
    return 0;
}

int main(int argc, char **argv)
{
    mt_reader *reader;
    struct mt_error error = {""};
    if (argc != 2 || mt_attach(argv[1], MT_ATTACH_DRAIN, &reader, &error) != 0) {
        fprintf(stderr, "follow: %s\n", argc == 2 ? error.text : "usage: follow SEGMENT");
        return 1;
    }
    for (;;) {
        enum mt_end end = mt_ended(reader); /* asked before the read: what it wrote until then is read */
        int64_t records = mt_read(reader, 1000, take, reader, &error);
        if (records < 0) {
            fprintf(stderr, "follow: %s\n", error.text);
            break;
        }
        if (records == 0 && end != MT_END_NOT && !mt_skip_torn(reader))
            break;
        if (records == 0)
            mt_wait(reader, 100);
    }
    for (int layer = 0; layer < LAYERS; layer++) {
        for (int expert = 0; expert < EXPERTS; expert++) {
            if (chosen[layer][expert])
                printf("layer %d expert %d: %" PRIu64 "\n", layer, expert, chosen[layer][expert]);
        }
    }
    struct mt_stats stats;
    mt_stats(reader, &stats);
    printf("records %" PRIu64 ", lost %" PRIu64 ", not captured %" PRIu64 "\n", stats.records,
           stats.lost_full + stats.lost_too_big + stats.lost_torn, stats.not_captured);
    mt_detach(reader);
    return 0;
}
