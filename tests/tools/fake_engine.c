/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine without a GPU and without a shim: writes records that engine_ids.h tells beforehand into a segment, in the
 * folder and session that the environment names, and can do whatever engines do to those who watch them.
 */
#include "../shm/device.h"
#include "engine_ids.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
    unsigned long layers, streams, k, experts, rows, steps;
    unsigned long wait_full_ms;   /* how long a full ring is waited for */
    unsigned long wait_after;     /* steps after which "ready" is said and a signal is waited for */
    unsigned long nap_us;         /* after each step */
    unsigned long fork, spawn;    /* children that do the same */
    unsigned long orphan_ms;      /* leaves a child behind that writes for so long */
    unsigned long status, signal; /* the end */
    unsigned long big;            /* records that fit no ring, at the end */
    unsigned long not_captured;
    const char *tear; /* half-way, a record dies at this step of the protocol */
    bool wait;
    bool late_layers; /* known at the end only */
    bool retract;     /* site 0, at the end */
    bool corrupt;     /* half-way, a record that no writer writes */
    bool no_segment;
};

static const struct option longs[] = {
    {"layers", required_argument, NULL, 'l'},    {"streams", required_argument, NULL, 's'},
    {"k", required_argument, NULL, 'k'},         {"experts", required_argument, NULL, 'e'},
    {"rows", required_argument, NULL, 'r'},      {"steps", required_argument, NULL, 'n'},
    {"wait-full", required_argument, NULL, 'w'}, {"wait-after", required_argument, NULL, 'a'},
    {"nap", required_argument, NULL, 'u'},       {"fork", required_argument, NULL, 'f'},
    {"spawn", required_argument, NULL, 'p'},     {"orphan", required_argument, NULL, 'o'},
    {"exit", required_argument, NULL, 'x'},      {"die", required_argument, NULL, 'd'},
    {"big", required_argument, NULL, 'b'},       {"not-captured", required_argument, NULL, 'c'},
    {"tear", required_argument, NULL, 't'},      {"late-layers", no_argument, NULL, 'L'},
    {"retract", no_argument, NULL, 'R'},         {"corrupt", no_argument, NULL, 'C'},
    {"no-segment", no_argument, NULL, 'N'},      {NULL, 0, NULL, 0}};

static void parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){.layers = 2, .streams = 1, .k = 2, .experts = 8, .rows = 3, .steps = 4};
    int opt;
    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        unsigned long n = optarg ? strtoul(optarg, NULL, 10) : 0;
        switch (opt) {
        case 'l':
            o->layers = n;
            break;
        case 's':
            o->streams = n;
            break;
        case 'k':
            o->k = n;
            break;
        case 'e':
            o->experts = n;
            break;
        case 'r':
            o->rows = n;
            break;
        case 'n':
            o->steps = n;
            break;
        case 'w':
            o->wait_full_ms = n;
            break;
        case 'a':
            o->wait_after = n;
            o->wait = true;
            break;
        case 'u':
            o->nap_us = n;
            break;
        case 'f':
            o->fork = n;
            break;
        case 'p':
            o->spawn = n;
            break;
        case 'o':
            o->orphan_ms = n;
            break;
        case 'x':
            o->status = n;
            break;
        case 'd':
            o->signal = n;
            break;
        case 'b':
            o->big = n;
            break;
        case 'c':
            o->not_captured = n;
            break;
        case 't':
            o->tear = optarg;
            break;
        case 'L':
            o->late_layers = true;
            break;
        case 'R':
            o->retract = true;
            break;
        case 'C':
            o->corrupt = true;
            break;
        case 'N':
            o->no_segment = true;
            break;
        default:
            fprintf(stderr, "fake-engine: bad option\n");
            exit(64);
        }
    }
}

static uint64_t ring_size(void)
{
    const char *text = getenv("MOETAP_RING_SIZE");
    char *end;
    unsigned long long n = text ? strtoull(text, &end, 10) : MT_RING_SIZE_MIN;
    return !text ? n : n << (*end == 'K' ? 10 : *end == 'M' ? 20 : 0);
}

static void put(const struct options *o, struct mt_producer *producer, uint32_t site, uint32_t rows)
{
    const uint64_t n = (uint64_t) rows * o->k;
    int32_t *ids = malloc(n ? n * sizeof *ids : 1);
    if (!ids)
        exit(70);
    for (uint64_t i = 0; i < n; i++) {
        int32_t id = engine_id(site, producer->steps[site], i, (uint32_t) o->experts);
        ids[i] = id == MT_ID_OVERFLOW ? 70000 : id == MT_ID_NEGATIVE ? -1 : id;
    }
    const struct mt_tap_args args = {
        .producer = producer,
        .ids = ids,
        .stride = o->k,
        .column = 1,
        .rows = rows,
        .k = (uint32_t) o->k,
        .site = site,
        .counter = (uint16_t) site,
        .dtype = MT_DTYPE_I32,
        .width = (uint8_t) engine_width((uint32_t) o->experts),
    };
    rig_tap(&args);
    free(ids);
}

/* One stream's tap dies, those of the others go on: the producer's memory is shared, as a GPU's is. */
static void tear(const struct options *o, struct mt_producer *producer)
{
    pid_t pid = fork();
    if (pid == 0) {
        rig_kill_at = o->tear;
        put(o, producer, 0, (uint32_t) o->rows);
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
        exit(71); /* the point was never reached */
}

/* Committed, and with ids of three bytes. */
static void corrupt(struct mt_producer *producer)
{
    struct mt_claim claim;
    if (!mt_ring_claim(producer, 0, 12, 0, &claim))
        exit(72);
    mt_ring_fill(producer, &claim, 0, 2, 2, 3);
    mt_ring_commit(producer, claim.position);
}

static const int awaited[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

static void awaited_set(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < sizeof awaited / sizeof *awaited; i++)
        sigaddset(set, awaited[i]);
}

/* Not for ever: should the test die, nobody sends it. */
static void wait_for_signal(void)
{
    sigset_t set;
    awaited_set(&set);
    printf("ready\n");
    fflush(stdout);
    const struct timespec limit = {10, 0};
    printf("signal %d\n", sigtimedwait(&set, NULL, &limit));
    fflush(stdout);
}

static void write_records(const struct options *o, struct mt_producer *producer)
{
    for (unsigned long step = 0; step <= o->steps; step++) {
        if (o->wait && step == o->wait_after)
            wait_for_signal();
        if (step == o->steps)
            break;
        if (o->tear && step == o->steps / 2)
            tear(o, producer);
        if (o->corrupt && step == o->steps / 2)
            corrupt(producer);
        for (uint32_t site = 0; site < o->layers * o->streams; site++)
            put(o, producer, site, (uint32_t) o->rows);
        if (o->nap_us)
            usleep((useconds_t) o->nap_us);
    }
    for (unsigned long i = 0; i < o->big; i++)
        put(o, producer, 0, (uint32_t) (producer->ring_size / o->k));
}

/* `started`: a descriptor that is told once the segment is there, or -1. */
static void be_engine(const struct options *o, int started)
{
    const char *session = getenv("MOETAP_SESSION");
    struct mt_segment segment;
    struct mt_error error = {""};
    if (mt_segment_create(&segment, session ? session : "local", 0, "fake device", ring_size(), false, NULL, &error) !=
        0) {
        /* As the shim does: a line, and the engine goes on. */
        fprintf(stderr, "fake-engine: %s\n", error.text);
        return;
    }
    for (uint32_t i = 0; i < o->layers * o->streams; i++) {
        struct mt_site site = {.layer = o->late_layers ? MT_LAYER_UNKNOWN : (int32_t) (i % o->layers),
                               .stream = i / (uint32_t) o->layers,
                               .experts = (uint32_t) o->experts,
                               .k = (uint32_t) o->k,
                               .dtype = MT_DTYPE_I32};
        snprintf(site.kernel, sizeof site.kernel, "router%u", i);
        snprintf(site.recipe, sizeof site.recipe, "fake");
        mt_segment_add_site(&segment, &site);
    }
    struct mt_producer *producer = rig_producer(&segment);
    if (!producer)
        exit(70);
    producer->wait_ns = o->wait_full_ms * 1000000u;
    if (started >= 0 && write(started, "", 1) != 1)
        exit(70);
    for (unsigned long i = 0; i < o->not_captured; i++)
        mt_segment_count_not_captured(&segment);
    write_records(o, producer);
    for (uint32_t i = 0; o->late_layers && i < o->layers * o->streams; i++)
        mt_segment_set_layer(&segment, i, (int32_t) (i % o->layers));
    if (o->retract)
        mt_segment_add_flags(&segment, 0, MT_SITE_RETRACTED);
    printf("produced %llu\n", (unsigned long long) producer->attempts);
    fflush(stdout);
    if (o->signal) {
        signal((int) o->signal, SIG_DFL);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        kill(getpid(), (int) o->signal);
    }
    mt_segment_close(&segment);
    rig_producer_free(producer);
    mt_segment_destroy(&segment, false);
}

/* The child has made its segment when this returns: who watches us can see that one of us is left. */
static void leave_orphan(struct options *o)
{
    int ends[2];
    char byte;
    if (pipe(ends) != 0)
        exit(70);
    fflush(stdout);
    if (fork() == 0) {
        o->nap_us = o->orphan_ms * 1000u / o->steps;
        be_engine(o, ends[1]);
        exit(0);
    }
    if (read(ends[0], &byte, 1) != 1)
        exit(70);
}

static void start_children(const struct options *o, char **argv)
{
    for (unsigned long i = 0; i < o->fork + o->spawn; i++) {
        if (fork() != 0)
            continue;
        if (i < o->fork)
            return; /* to be an engine itself */
        for (char **word = argv; *word; word++) {
            if (strcmp(*word, "--spawn") == 0 || strcmp(*word, "--fork") == 0)
                word[1] = "0";
        }
        execv("/proc/self/exe", argv);
        _exit(70);
    }
}

int main(int argc, char **argv)
{
    struct options o;
    parse(argc, argv, &o);
    if (o.wait) {
        sigset_t set;
        awaited_set(&set);
        sigprocmask(SIG_BLOCK, &set, NULL);
    }
    start_children(&o, argv);
    if (o.orphan_ms)
        leave_orphan(&o);
    else if (!o.no_segment)
        be_engine(&o, -1);
    while (!o.orphan_ms && (wait(NULL) > 0 || errno == EINTR)) {
    }
    return (int) o.status;
}
