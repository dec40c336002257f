// SPDX-License-Identifier: Apache-2.0
// The benchmark client: runs phases of file operations in a directory and prints one JSON object.
//
// It does as little as it can besides the operations themselves: names are made before the clock starts where they cost,
// every worker waits at a barrier before each phase, the rate is all that the workers did by the time from the first
// start to the last end.
//
// client --dir DIR --phases create,stat,... [--ops N] [--mib N] [--threads N] [--processes N] [--cpu N] [--step] [--list]

#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PHASES = 64, MAX_WORKERS = 256 };

// What one worker reports of one phase; in memory that all processes share.
struct result {
    uint64_t start, end;
    long done; // operations, entries or bytes; negative errno
    long latencies, steps;
    char what[24];
};

struct shared {
    pthread_barrier_t barrier;
    struct result results[MAX_PHASES][MAX_WORKERS];
};

static const char *root;
static long ops = 2000, mib = 64;
static int threads = 1, processes = 1, cpu = -1;
static bool step; // stop before and after each phase until a line comes on stdin
static const struct phase *plan[MAX_PHASES];
static int phases;
static struct shared *shared;
static uint32_t *latencies; // [worker][room], reused by every phase
static long latency_room;

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int failed(struct worker *w, const char *what)
{
    w->what = what;
    return errno ? -errno : -EIO;
}

static void die(const char *what)
{
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(2);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

// One line of the report. Worker 0 calls it between two barriers, while the others wait.
static void report(int p)
{
    static bool more;
    const struct phase *phase = plan[p];
    int workers = threads * processes;
    uint64_t start = UINT64_MAX, end = 0;
    double done = 0;
    long error = 0, count = 0, steps = 0;
    const char *what = "";
    uint32_t *all = malloc(sizeof *all * (size_t)(latency_room * workers));
    for (int i = 0; i < workers; i++) {
        struct result *r = &shared->results[p][i];
        if (r->done < 0) {
            error = -r->done;
            what = r->what;
            continue;
        }
        start = r->start < start ? r->start : start;
        end = r->end > end ? r->end : end;
        done += (double)r->done;
        steps += r->steps;
        memcpy(all + count, latencies + latency_room * i, sizeof *all * (size_t)r->latencies);
        count += r->latencies;
    }
    printf("%s\n  {\"name\": \"%s\", \"unit\": \"%s\"", more ? "," : "", phase->name, phase->unit);
    more = true;
    if (error) {
        printf(", \"error\": \"%s: %s\"}", what, strerror((int)error));
    } else {
        double seconds = (double)(end - start) * 1e-9;
        double amount = strcmp(phase->unit, "MiB/s") ? done : done / MIB;
        qsort(all, (size_t)count, sizeof *all, compare);
        printf(", \"rate\": %.3f, \"amount\": %.0f, \"operations\": %ld, \"seconds\": %.6f", amount / seconds, amount, steps, seconds);
        if (count)
            printf(", \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f", all[count / 2] / 1e3,
                   all[count * 99 / 100] / 1e3, all[count - 1] / 1e3);
        printf("}");
    }
    fflush(stdout);
    free(all);
}

// With --step: say on stderr where we are, and wait for whoever watches to write a line.
static void pause_for(const char *where, const char *phase)
{
    if (!step)
        return;
    fprintf(stderr, "@ %s %s\n", where, phase);
    for (int c = getchar(); c != '\n' && c != EOF;)
        c = getchar();
}

static void *work(void *argument)
{
    struct worker w = {.index = (int)(intptr_t)argument, .ops = ops, .mib = mib, .fd = -1};
    char name[32];
    sprintf(name, "w%d", w.index);
    int top = open(root, O_RDONLY | O_DIRECTORY);
    if (top < 0)
        die(root);
    if (mkdirat(top, name, 0755) && errno != EEXIST)
        die("mkdir of a worker's directory");
    if ((w.dirfd = openat(top, name, O_RDONLY | O_DIRECTORY)) < 0)
        die("open of a worker's directory");
    close(top);
    if (posix_memalign((void **)&w.buffer, PAGE, MIB))
        die("memory");
    memset(w.buffer, 0x5a, MIB);
    w.latency = latencies + latency_room * w.index;
    w.latency_room = latency_room;
    for (int p = 0; p < phases; p++) {
        struct result *r = &shared->results[p][w.index];
        w.latencies = 0;
        w.steps = 0;
        w.what = "";
        errno = 0;
        long status = plan[p]->prepare ? plan[p]->prepare(&w) : 0;
        pthread_barrier_wait(&shared->barrier);
        if (status >= 0) {
            pause_for("before", plan[p]->name);
            r->start = now_ns();
            lap_start(&w);
            status = plan[p]->run(&w);
            r->end = now_ns();
            pause_for("after", plan[p]->name);
        }
        r->done = status;
        r->latencies = w.latencies;
        r->steps = w.steps;
        snprintf(r->what, sizeof r->what, "%s", w.what);
        if (plan[p]->finish)
            plan[p]->finish(&w);
        pthread_barrier_wait(&shared->barrier);
        if (w.index == 0)
            report(p);
    }
    free(w.buffer);
    free(w.order);
    close(w.dirfd);
    return NULL;
}

static void run_process(int first)
{
    pthread_t ids[MAX_WORKERS];
    for (int i = 1; i < threads; i++)
        if ((errno = pthread_create(&ids[i], NULL, work, (void *)(intptr_t)(first + i))))
            die("thread");
    work((void *)(intptr_t)first);
    for (int i = 1; i < threads; i++)
        pthread_join(ids[i], NULL);
}

static void find_phases(char *names)
{
    for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
        const struct phase *found = NULL;
        for (const struct phase *p = metadata_phases; p->name && !found; p++)
            found = strcmp(p->name, name) ? NULL : p;
        for (const struct phase *p = data_phases; p->name && !found; p++)
            found = strcmp(p->name, name) ? NULL : p;
        if (!found || phases == MAX_PHASES) {
            fprintf(stderr, "client: no phase %s (try --list)\n", name);
            exit(2);
        }
        plan[phases++] = found;
    }
}

static void list_phases(void)
{
    for (const struct phase *p = metadata_phases; p->name; p++)
        printf("metadata %s %s\n", p->name, p->unit);
    for (const struct phase *p = data_phases; p->name; p++)
        printf("data %s %s\n", p->name, p->unit);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"dir", required_argument, NULL, 'd'},       {"phases", required_argument, NULL, 'p'},
        {"ops", required_argument, NULL, 'n'},       {"mib", required_argument, NULL, 'm'},
        {"threads", required_argument, NULL, 't'},   {"cpu", required_argument, NULL, 'c'},
        {"processes", required_argument, NULL, 'P'}, {"list", no_argument, NULL, 'l'},
        {"step", no_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'd': root = optarg; break;
        case 'p': find_phases(optarg); break;
        case 'n': ops = atol(optarg); break;
        case 'm': mib = atol(optarg); break;
        case 't': threads = atoi(optarg); break;
        case 'P': processes = atoi(optarg); break;
        case 'c': cpu = atoi(optarg); break;
        case 's': step = true; break;
        case 'l': list_phases(); return 0;
        default: return 2;
        }
    }
    int workers = threads * processes;
    if (!root || !phases || ops < 1 || mib < 1 || threads < 1 || processes < 1 || workers > MAX_WORKERS ||
        (step && workers > 1)) {
        fprintf(stderr, "client: --dir and --phases are needed; numbers are positive, at most %d workers, one with --step\n", MAX_WORKERS);
        return 2;
    }
    if (cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set))
            die("sched_setaffinity");
    }
    latency_room = ops > 65536 ? 65536 : ops;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    latencies = mmap(NULL, sizeof *latencies * (size_t)(latency_room * workers), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || latencies == MAP_FAILED)
        die("shared memory");
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->barrier, &attributes, (unsigned)workers);
    printf("{\"client\": \"c\", \"threads\": %d, \"processes\": %d, \"ops\": %ld, \"mib\": %ld, \"cpu\": %d, \"phases\": [",
           threads, processes, ops, mib, cpu);
    fflush(stdout);
    for (int i = 1; i < processes; i++) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0) {
            run_process(i * threads);
            _exit(0);
        }
    }
    run_process(0);
    for (int i = 1; i < processes; i++)
        wait(NULL);
    printf("\n]}\n");
    return 0;
}
