/* SPDX-License-Identifier: Apache-2.0 */
#include "table_rig.h"

char folder[64];
struct outcome o;

void table_enter(void)
{
    strcpy(folder, "/dev/shm/moetap-test-XXXXXX");
    cr_assert(mkdtemp(folder));
    setenv("MOETAP_SHM_DIR", folder, 1);
    setenv("TMPDIR", folder, 1);
}

void table_leave(void)
{
    command(&o, "rm -rf %s", folder);
}

struct mt_segment segment;
static struct mt_producer *producer;
static uint32_t layers;

const char *segment_name(void)
{
    return strrchr(segment.path, '/') + 1;
}

void add_site(uint32_t kind, int32_t layer)
{
    const struct mt_site site = {.layer = layer,
                                 .experts = kind == MT_SITE_ROUTER ? EXPERTS : 0,
                                 .k = kind == MT_SITE_ROUTER ? K : 1,
                                 .dtype = MT_DTYPE_I32,
                                 .kind = (uint8_t) kind,
                                 .recipe = "fake"};
    cr_assert_geq(mt_segment_add_site(&segment, &site), 0);
}

void add_layer(void)
{
    add_site(MT_SITE_ROUTER, (int32_t) layers++);
}

void open_engine(const char *session)
{
    struct mt_error error = {""};
    cr_assert_eq(mt_segment_create(&segment, session, 0, "fake device", 1 << 20, false, NULL, &error), 0, "%s",
                 error.text);
    layers = 0;
    for (uint32_t i = 0; i < ROUTER; i++)
        add_site(MT_SITE_SLOTS + i, MT_LAYER_UNKNOWN);
    while (layers < LAYERS)
        add_layer();
    producer = rig_producer(&segment);
    cr_assert(producer);
    producer->wait_ns = 5000000000u;
}

void close_engine(void)
{
    rig_producer_free(producer);
    mt_segment_destroy(&segment, true);
}

int32_t id_of(int32_t slot, uint32_t pass, uint32_t layer, uint32_t i)
{
    return (int32_t) (((uint32_t) slot + 3 * pass + 5 * layer + i) % EXPERTS);
}

void put_record(uint32_t site, const int32_t *values, uint32_t rows, uint32_t k, uint32_t width, bool lost)
{
    struct mt_claim claim;
    const uint32_t bytes = rows * k * width;
    const bool context = site < ROUTER || site >= ROUTER + layers;
    if (!mt_ring_claim(producer, site, lost ? MT_RING_PAYLOAD_MAX : bytes, context, &claim)) {
        cr_assert(lost);
        return;
    }
    mt_ring_fill(producer, &claim, site, rows, k, width);
    for (uint32_t i = 0; i < bytes; i++) {
        uint64_t at = (claim.position + sizeof(struct mt_record) + i) & (producer->ring_size - 1);
        producer->ring[at] = (uint8_t) ((uint32_t) values[i / width] >> i % width * 8);
    }
    mt_ring_commit(producer, claim.position);
}

static void record(uint32_t number, uint32_t site, const int32_t *slots, uint32_t rows, bool lost)
{
    static int32_t values[4096 * K];
    const uint32_t k = site < ROUTER ? 1 : K;
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t j = 0; j < k; j++)
            values[i * k + j] = site == 0   ? slots[i]
                                : site == 1 ? (int32_t) (100 + i)
                                : site == 2 ? (int32_t) (1000 + i)
                                            : id_of(slots[i], number, site - ROUTER, j);
    }
    put_record(site, values, rows, k, site < ROUTER ? 4 : 1, lost);
}

void pass(uint32_t number, const int32_t *slots, uint32_t rows, int lost)
{
    for (uint32_t site = 0; site < ROUTER + layers; site++)
        record(number, site, slots, rows, lost == (int) site);
}

void draft_pass(uint32_t number, const int32_t *slots, uint32_t rows)
{
    for (uint32_t site = 0; site < ROUTER; site++)
        record(number, site, slots, rows, false);
    record(number, ROUTER + layers - 1, slots, rows, false);
}

void lose_a_pass(void)
{
    static const int32_t slots[] = {0};
    for (uint32_t site = 0; site < ROUTER + layers; site++)
        record(0, site, slots, 1, true);
}

void padded_pass(uint32_t number, const int32_t *slots, uint32_t real, uint32_t padded, uint32_t rows)
{
    for (uint32_t site = 0; site < ROUTER + layers; site++)
        record(number, site, slots, site == 0 ? real : site < ROUTER ? padded : rows, false);
}

mt_table *await_table(const char *name)
{
    mt_table *table = NULL;
    for (int i = 0; i < 5000 && !table; i++) {
        mt_table_attach(name, &table, NULL);
        usleep(1000);
    }
    cr_assert(table, "no table");
    return table;
}

struct mt_table_row row;
int32_t got[LAYERS_MAX * K];

void look(const mt_table *table, int64_t slot)
{
    const struct mt_table_header *header = mt_table_header(table);
    uint16_t ids[LAYERS_MAX * K];
    cr_assert_leq(header->layers, LAYERS_MAX);
    mt_table_get(table, &slot, 1, ids, &row);
    for (uint32_t i = 0; i < header->layers * K; i++)
        got[i] = mt_table_id(table, ids, i);
}

/* Once the pass is there: its ids, `missing` a layer without. */
void await_row(const mt_table *table, int32_t slot, uint32_t number, enum mt_row_status status, int missing)
{
    for (int i = 0; i < 5000; i++) {
        look(table, slot);
        if (row.status == (uint32_t) status && row.missing == (missing >= 0) &&
            got[(missing == 0) * K] == id_of(slot, number, missing == 0, 0))
            break;
        usleep(1000);
    }
    cr_assert_eq(row.status, status, "slot %d: status %u", slot, row.status);
    for (uint32_t i = 0; i < mt_table_header(table)->layers * K; i++) {
        int32_t wanted = (int) (i / K) == missing ? MT_ID_MISSING : id_of(slot, number, i / K, i % K);
        cr_assert_eq(got[i], wanted, "slot %d layer %u: %d, not %d", slot, i / K, got[i], wanted);
    }
    cr_assert_eq(row.missing, missing >= 0);
}
