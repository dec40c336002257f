// SPDX-License-Identifier: Apache-2.0
// What the parts of the benchmark client share. client.c: workers, clocks and the report; metadata.c and data.c: phases.
#ifndef INSTAR_BENCH_CLIENT_H
#define INSTAR_BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MIB = 1 << 20, PAGE = 4096, SMALL = 128 };

// What one worker (a thread or a process) knows. Each works in a directory of its own.
struct worker {
    int index;
    int dirfd;          // its directory
    long ops;           // operations in each phase that counts operations
    long mib;           // size of its data file, in MiB
    bool files, filled; // what stands in its directory: f0...f<ops-1>, and each with SMALL bytes
    bool data;          // the data file is written
    int fd;             // the data file, open from a phase's prepare to its finish
    char *buffer;       // 1 MiB, aligned to a page
    char *map;          // the data file mapped
    uint32_t *order;    // random order of pages
    long pages;         // how many of them a phase visits
    uint32_t *latency;  // ns of each operation of the phase; room for latency_room of them
    long latency_room, latencies;
    uint64_t last;
    long steps;         // operations of this phase so far
    const char *what;   // the call that failed
};

// One phase. `run` alone is timed. Each returns a negative errno on failure; `run` returns how much was done.
struct phase {
    const char *name;
    const char *unit; // op/s, entries/s or MiB/s (where `run` returns bytes)
    int (*prepare)(struct worker *);
    long (*run)(struct worker *);
    void (*finish)(struct worker *);
};

extern const struct phase metadata_phases[], data_phases[]; // each ends with a null name

uint64_t now_ns(void);
int failed(struct worker *w, const char *what); // notes the call, returns -errno

// Note the time that the operation just finished took; `lap_start` starts the first.
static inline void lap_start(struct worker *w) { w->last = now_ns(); }
static inline void lap(struct worker *w)
{
    uint64_t now = now_ns();
    if (w->latencies < w->latency_room)
        w->latency[w->latencies++] = now - w->last > UINT32_MAX ? UINT32_MAX : (uint32_t)(now - w->last);
    w->last = now;
    w->steps++;
}

#endif
