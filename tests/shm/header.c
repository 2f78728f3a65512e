/* SPDX-License-Identifier: Apache-2.0 */
#include HEADER

/* Other programs and other versions of this one read these bytes. */
_Static_assert(sizeof(struct mt_record) == 64, "record");
_Static_assert(sizeof(struct mt_counters) == 64, "counters");
_Static_assert(sizeof(struct mt_consumer) == 64, "consumer");
_Static_assert(sizeof(struct mt_site) == 384, "site");
_Static_assert(sizeof(struct mt_header) == 464, "header");
_Static_assert(sizeof(struct mt_header) <= MT_PAGE, "header fits its page");

int main(void)
{
    return 0;
}
