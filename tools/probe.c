/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the router of a program that no recipe knows: the preloaded library samples what launches wrote, this judges.
 */
#include "verbs.h"

#include "../shim/recipe/recipe.h"
#include "probe/recipe_text.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const confidences[] = {"rejected", "possible", "likely", "certain"};

/* Every process of the command has left a file. */
static int read_folder(const char *folder, bool keep, struct evidence *evidence)
{
    DIR *dir = opendir(folder);
    int status = dir ? EXIT_OK : say_failed("%s: %s", folder, strerror(errno));
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char path[PATH_MAX + 256];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%.255s", folder, entry->d_name);
        if (!status && !evidence_read(evidence, path, (unsigned) atoi(entry->d_name)))
            status = say_failed("%s: cannot read what was sampled: %s", path, strerror(errno));
        if (!keep)
            unlink(path);
    }
    if (dir)
        closedir(dir);
    if (!keep)
        rmdir(folder);
    return status;
}

static void print_word(const char *what, unsigned least, unsigned most, const struct word *word, const struct word *by)
{
    char text[64], under[64] = "";
    word_text(word, text, sizeof text);
    if (by && by->kind)
        word_text(by, under, sizeof under);
    printf("  %-9s%u", what, least);
    if (most != least)
        printf(" to %u", most);
    printf(word->kind == WORD_CONSTANT ? ", a constant\n" : ", from %s%s%s\n", text, *under ? " / " : "", under);
}

static void print_evidence(const struct candidate *c)
{
    const struct kernel *kernel = c->kernel;
    printf("%s: %s\n", confidences[c->confidence], kernel->base);
    printf("  kernel   %s\n", kernel->demangled);
    fputs("  launches ", stdout);
    if (kernel->eager) /* else its process was killed before it could say */
        printf("%llu eager, %llu captured into graphs, ", (unsigned long long) kernel->eager,
               (unsigned long long) kernel->captured);
    printf("%u sampled", kernel->samples);
    printf(c->layers == 1 ? "; 1 layer\n" : "; %u layers\n", c->layers);
    printf("  ids      param %u", c->param);
    if (c->offset)
        printf(" + %u", c->offset);
    printf(", %s\n", recipe_dtype(c));
}

static void print_found(const struct candidate *c)
{
    print_evidence(c);
    print_word("k", c->k, c->k, &c->k_word, NULL);
    if (c->experts.kind) {
        char text[64];
        word_text(&c->experts, text, sizeof text);
        printf("  experts  ids up to %u, from %s\n", c->experts_seen - 1, text);
    } else {
        printf("  experts  at least %u, not told\n", c->experts_seen);
    }
    if (c->rows.kind)
        print_word("rows", c->rows_least, c->rows_most, &c->rows, &c->rows_by);
    if (c->stride.kind) {
        char text[64];
        word_text(&c->stride, text, sizeof text);
        printf("  stride   from %s\n", text);
    }
    const char *final;
    for (unsigned i = 0; (final = recipe_final(c, i)); i++)
        printf("  final    %s %s\n", final, c->replaced ? "replaces them in place" : "reorders them in place");
    if (c->shared)
        puts("  shared   with a sampler: the number of experts tells them apart");
    if (c->why[0])
        printf("  but      %s\n", c->why);
    putchar('\n');
}

/* NULL: none can be written. */
static char *print_recipe(const struct candidate *c, unsigned number, bool alone)
{
    char *text = NULL, why[256];
    size_t size = 0, count;
    FILE *memory = open_memstream(&text, &size);
    bool good = memory && recipe_print(memory, c, number, alone);
    if (memory && fclose(memory) != 0)
        good = false;
    if (good && text && mt_recipes_check("recipe", text, &count, why, sizeof why))
        return text;
    free(text);
    return NULL;
}

struct found {
    char **recipes;
    size_t count;
};

/* Overloads, or instances of a template, whose ids are of other types say: a recipe must tell them apart. */
static bool has_rival(const struct verdict *verdict, const struct candidate *c, const char *recipe)
{
    bool rival = false;
    for (size_t i = 0; i < verdict->count && !rival; i++) {
        const struct candidate *other = &verdict->all[i];
        const struct kernel *a = c->kernel, *b = other->kernel;
        if (other->confidence < LIKELY || strcmp(a->base, b->base) != 0 || strcmp(a->mangled, b->mangled) == 0)
            continue;
        char *another = print_recipe(other, 1, true);
        rival = another && strcmp(another, recipe) != 0;
        free(another);
    }
    return rival;
}

/* Each recipe once, as tensor-parallel processes all find the same; another one of the same kernel has a name of its
 * own. False: it is there already. */
static bool add_recipe(struct found *found, const struct verdict *verdict, const struct candidate *c)
{
    char *recipe = print_recipe(c, 1, true);
    bool alone = recipe && !has_rival(verdict, c, recipe), named = recipe != NULL;
    for (unsigned number = 1; named; number++) {
        free(recipe);
        if (!(recipe = print_recipe(c, number, alone)))
            break;
        size_t name = strcspn(recipe, "\n");
        named = false;
        for (size_t i = 0; i < found->count; i++) {
            if (strcmp(found->recipes[i], recipe) == 0) {
                free(recipe);
                return false;
            }
            named |= strncmp(found->recipes[i], recipe, name + 1) == 0;
        }
    }
    if (recipe)
        found->recipes[found->count++] = recipe;
    return true;
}

static int by_score(const void *a, const void *b)
{
    const struct candidate *const *x = a, *const *y = b;
    return (*x)->score < (*y)->score ? 1 : (*x)->score > (*y)->score ? -1 : 0;
}

static void print_known(const struct evidence *evidence)
{
    for (size_t i = 0; i < evidence->kernel_count; i++) {
        const struct kernel *kernel = &evidence->kernels[i];
        bool routes = strcmp(kernel->kind, "router") == 0 || strcmp(kernel->kind, "no-ids") == 0;
        bool before = false;
        for (size_t j = 0; j < i; j++)
            before |= strcmp(evidence->kernels[j].recipe, kernel->recipe) == 0;
        if (routes && !before)
            printf("known: recipe %s reads %s\n", kernel->recipe, kernel->demangled);
    }
}

static void print_totals(const struct evidence *evidence)
{
    unsigned long long eager = 0, captured = 0;
    for (size_t i = 0; i < evidence->kernel_count; i++) {
        eager += evidence->kernels[i].eager;
        captured += evidence->kernels[i].captured;
    }
    printf("%zu kernels, %llu launches, %zu of them sampled", evidence->kernel_count, eager + captured,
           evidence->sample_count);
    printf(captured ? "; %llu were captured into graphs, which cannot be sampled\n" : "\n", captured);
    if (captured > eager)
        puts("most launches were captured: run it without CUDA graphs (vLLM, SGLang: --enforce-eager, "
             "--disable-cuda-graph)");
}

static int write_recipes(const char *output, const struct found *found)
{
    FILE *file = fopen(output, "we");
    if (!file)
        return say_failed("%s: %s", output, strerror(errno));
    fputs("# Found by `moetap probe`.\n", file);
    for (size_t i = 0; i < found->count; i++)
        fprintf(file, "\n%s", found->recipes[i]);
    bool good = !ferror(file);
    return fclose(file) == 0 && good ? EXIT_OK : say_failed("%s: cannot write it: %s", output, strerror(errno));
}

/* Best first. */
static void print_candidates(const struct verdict *verdict, const struct candidate **order, struct found *found,
                             bool rejected)
{
    for (size_t i = 0; i < verdict->count; i++) {
        const struct candidate *c = order[i];
        if (c->confidence != REJECTED && (c->confidence < LIKELY || add_recipe(found, verdict, c))) {
            print_found(c);
        } else if (c->confidence == REJECTED && rejected) {
            print_evidence(c);
            printf("  not ids  %s\n\n", c->why);
        }
    }
    for (size_t i = 0; i < found->count; i++)
        printf("%s\n", found->recipes[i]);
}

/* What was found. EXIT_FAILED: nothing that is at least likely. */
static int report(const struct evidence *evidence, const struct verdict *verdict, const char *output, bool rejected)
{
    const struct candidate **order = calloc(verdict->count + 1, sizeof *order);
    struct found found = {calloc(verdict->count + 1, sizeof *found.recipes), 0};
    int status = EXIT_FAILED;
    if (!order || !found.recipes) {
        free(order);
        free(found.recipes);
        return say_failed("out of memory");
    }
    for (size_t i = 0; i < verdict->count; i++)
        order[i] = &verdict->all[i];
    qsort(order, verdict->count, sizeof *order, by_score);
    print_known(evidence);
    print_totals(evidence);
    putchar('\n');
    print_candidates(verdict, order, &found, rejected);
    if (!found.count)
        puts("no router was found");
    else
        status = output ? write_recipes(output, &found) : EXIT_OK;
    for (size_t i = 0; i < found.count; i++)
        free(found.recipes[i]);
    free(found.recipes);
    free(order);
    return status;
}

struct options {
    const char *output, *source, *keep, *from;
    bool all, verbose;
};

static int parse(int argc, char **argv, struct options *options)
{
    enum { SOURCE = 256, ALL, KEEP, FROM };
    static const struct option longs[] = {{"output", required_argument, NULL, 'o'},
                                          {"source", required_argument, NULL, SOURCE},
                                          {"all", no_argument, NULL, ALL},
                                          {"keep", required_argument, NULL, KEEP},
                                          {"from", required_argument, NULL, FROM},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    int opt;
    while ((opt = getopt_long(argc, argv, "+:o:v", longs, NULL)) != -1) {
        switch (opt) {
        case 'o':
            options->output = optarg;
            break;
        case SOURCE:
            if ((opt = check_source(optarg)))
                return opt;
            options->source = optarg;
            break;
        case ALL:
            options->all = true;
            break;
        case KEEP:
            options->keep = optarg;
            break;
        case FROM:
            options->from = optarg;
            break;
        case 'v':
            options->verbose = true;
            break;
        default:
            return say_bad_option(argv, opt);
        }
    }
    if (options->from && (optind < argc || options->keep))
        return say_usage("--from judges what an earlier run has kept: it takes no command and no --keep");
    if (!options->from && optind == argc)
        return say_usage("probe what? moetap probe [OPTIONS] -- CMD...");
    return EXIT_OK;
}

/* Where the library puts its samples, as an absolute path: CMD may go elsewhere. */
static int make_folder(const char *keep, char *folder)
{
    snprintf(folder, PATH_MAX, "/tmp/moetap-probe-XXXXXX");
    if (!keep)
        return mkdtemp(folder) ? EXIT_OK : say_failed("%s: %s", folder, strerror(errno));
    if (mkdir(keep, 0700) != 0 || !realpath(keep, folder))
        return say_failed("--keep %s: %s%s", keep, strerror(errno),
                          errno == EEXIST ? ": name a folder that is not there yet" : "");
    return EXIT_OK;
}

/* Runs CMD; `status` is what to end with if nothing else fails. */
static int sample(char **command, const struct options *options, char *folder, int *status, bool *ran)
{
    int failed = make_folder(options->keep, folder);
    if (failed)
        return failed;
    if (setenv("MOETAP_PROBE", folder, 1) != 0 || setenv("MOETAP_PROBE_ALL", options->all ? "1" : "0", 1) != 0) {
        rmdir(folder);
        return say_failed("out of memory");
    }
    *status = run_preloaded(command, options->source, ran);
    return EXIT_OK;
}

int verb_probe(int argc, char **argv)
{
    struct options options = {0};
    char folder[PATH_MAX];
    int status = parse(argc, argv, &options);
    if (status)
        return status;
    if (options.output && !can_write(options.output))
        return EXIT_FAILED;
    bool ran = options.from != NULL;
    if (ran)
        signal(SIGPIPE, SIG_IGN); /* as main() does it for verbs that start nothing */
    int judged = ran ? EXIT_OK : sample(argv + optind, &options, folder, &status, &ran);
    if (judged)
        return judged;
    struct evidence evidence = {0};
    struct verdict verdict = {0};
    judged = read_folder(ran && options.from ? options.from : folder, options.from || (ran && options.keep), &evidence);
    if (options.from && !judged && !evidence.kernel_count)
        judged = say_failed("%s: nothing sampled is in it: it is a folder that probe --keep made", options.from);
    if (ran && !judged)
        judged = judge(&evidence, &verdict) ? report(&evidence, &verdict, options.output, options.verbose)
                                            : say_failed("out of memory");
    free(verdict.all);
    evidence_free(&evidence);
    if (fflush(stdout) != 0)
        judged = say_failed("cannot write the report: %s", strerror(errno));
    return status ? status : judged;
}
