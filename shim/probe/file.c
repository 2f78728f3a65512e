/* SPDX-License-Identifier: Apache-2.0 */
#include "file.h"

#include "../recipe/recipe.h"

#include <stdio.h>
#include <unistd.h>

#define TOKEN_LIMIT (1u << 22) /* beyond any vocabulary */

static FILE *out;

bool mt_probe_file_open(const char *folder)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", folder, (int) getpid());
    return (out = fopen(path, "ae")) != NULL;
}

bool mt_probe_file_is_open(void)
{
    return out != NULL;
}

void mt_probe_file_flush(void)
{
    fflush(out);
}

/* Tabs and line ends stand between fields. */
static void put_text(const char *text)
{
    for (; *text; text++)
        fputc(*text == '\t' || *text == '\n' ? ' ' : *text, out);
}

static void put_hex(const void *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (const unsigned char *c = bytes, *end = c + size; c < end; c++) {
        fputc(digits[*c >> 4], out);
        fputc(digits[*c & 15], out);
    }
    fputc('\n', out);
}

void mt_probe_put_kernel(unsigned id, const struct mt_kernel *kernel, const struct mt_recipe *recipe)
{
    const struct mt_kernel_info *info = kernel->info;
    fprintf(out, "kernel\t%u\t%s\t%s\t", id, recipe ? mt_recipe_name(recipe) : "-",
            recipe ? mt_recipe_kind_names[mt_recipe_kind(recipe)] : "-");
    for (unsigned i = 0; i < kernel->param_count; i++)
        fprintf(out, "%s%u:%u", i ? "," : "", kernel->param[i].offset, kernel->param[i].size);
    fprintf(out, "\t%llx\t", (unsigned long long) info->const_pointers);
    put_text(info->mangled);
    fputc('\t', out);
    put_text(info->demangled);
    fputc('\t', out);
    put_text(info->base);
    for (unsigned i = 0; i < info->template_count; i++) {
        fputc('\t', out);
        put_text(info->template_args[i]);
    }
    fputc('\n', out);
}

void mt_probe_put_sample(unsigned id, unsigned number, int32_t layers, const struct mt_sample *sample,
                         const struct mt_launch *launch)
{
    fprintf(out, "sample\t%u\t%u\t%d\t%u\t%u\t%u\t", id, number, layers, launch->grid[0], launch->grid[1],
            launch->grid[2]);
    put_hex(sample->params, sample->bytes);
}

/* Only to keep the file small: no floats, no hidden states. */
static bool like_ids(const struct mt_region *region, uint32_t end)
{
    static const struct {
        unsigned width;
        int64_t limit;
    } widths[] = {{8, TOKEN_LIMIT}, {4, TOKEN_LIMIT}, {2, 2048}, {1, 128}};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        uint32_t n = end / widths[w].width;
        bool fits = n > 0;
        for (uint32_t i = 0; fits && i < n && i < (widths[w].width == 1 ? 64 : 2); i++) {
            int64_t value = mt_small_int(region->is, widths[w].width, i);
            fits = value >= -1 && value < widths[w].limit;
        }
        if (fits)
            return true;
    }
    return false;
}

bool mt_probe_put_memory(const struct mt_region *region, uint32_t *end)
{
    uint32_t first = 0, last = region->size;
    while (first < last && region->was[first] == region->is[first])
        first++;
    while (last > first && region->was[last - 1] == region->is[last - 1])
        last--;
    if (first == last || !like_ids(region, last))
        return false;
    fprintf(out, "memory\t%u\t%llx\t%u\t%u\t%u\t", region->offset, (unsigned long long) region->address, first, last,
            region->size);
    uint32_t shown = last + 256 < region->size ? last + 256 : region->size; /* what was there before may end a row */
    put_hex(region->is, shown < MT_PROBE_SHOWN ? shown : MT_PROBE_SHOWN);
    *end = last;
    return true;
}

void mt_probe_put_use(const struct mt_probe_use *use)
{
    fprintf(out, "use\t%u\t%u\t%u\t%u\t%u\t%s\t", use->id, use->named, use->sample, use->offset, use->behind, use->how);
    put_hex(use->bytes, use->bytes ? use->size : 0);
}

void mt_probe_put_total(unsigned id, uint64_t eager, uint64_t captured)
{
    fprintf(out, "total\t%u\t%llu\t%llu\n", id, (unsigned long long) eager, (unsigned long long) captured);
}
