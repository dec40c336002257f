// SPDX-License-Identifier: Apache-2.0
// Phases of the benchmark client that move bytes.
//
// "cold" means: the mount's own pages of the file were dropped (fsync, then POSIX_FADV_DONTNEED) before the clock
// started; what lies below a mirror may still be in memory. "warm" means: the file was read once, on the same open
// file. "direct" is O_DIRECT on the mount. Random phases visit each page at most once.

#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static long write_all(struct worker *w, int flags, bool sync)
{
    int fd = openat(w->dirfd, "data", O_CREAT | O_WRONLY | O_TRUNC | flags, 0644);
    if (fd < 0)
        return failed(w, "open");
    for (long i = 0; i < w->mib; i++) {
        if (write(fd, w->buffer, MIB) != MIB) {
            int status = failed(w, "write");
            close(fd);
            return status;
        }
        lap(w);
    }
    int status = sync && fsync(fd) ? failed(w, "fsync") : 0;
    if (close(fd) && !status)
        status = failed(w, "close");
    if (status)
        return status;
    w->data = true;
    return w->mib * MIB;
}

static long run_seq_write(struct worker *w) { return write_all(w, 0, false); }
static long run_seq_write_fsync(struct worker *w) { return write_all(w, 0, true); }
static long run_seq_write_direct(struct worker *w) { return write_all(w, O_DIRECT, false); }

static int remove_data(struct worker *w)
{
    w->data = false;
    return unlinkat(w->dirfd, "data", 0) && errno != ENOENT ? failed(w, "unlink") : 0;
}

static int open_data(struct worker *w, int flags)
{
    if (!w->data) {
        long status = write_all(w, 0, false);
        if (status < 0)
            return (int)status;
        w->latencies = 0;
        w->steps = 0;
    }
    w->fd = openat(w->dirfd, "data", flags);
    return w->fd < 0 ? failed(w, "open") : 0;
}

static int drop_cache(struct worker *w)
{
    if (fsync(w->fd))
        return failed(w, "fsync");
    return (errno = posix_fadvise(w->fd, 0, 0, POSIX_FADV_DONTNEED)) ? failed(w, "fadvise") : 0;
}

// A random order of the file's pages, the same in each run (xorshift64, fixed seed by worker).
static int shuffle_pages(struct worker *w)
{
    long pages = w->mib * (MIB / PAGE);
    uint64_t state = 88172645463325252u + (uint64_t)w->index;
    free(w->order);
    if (!(w->order = malloc(sizeof *w->order * (size_t)pages)))
        return failed(w, "memory");
    for (long i = 0; i < pages; i++)
        w->order[i] = (uint32_t)i;
    for (long i = pages - 1; i > 0; i--) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        long j = (long)(state % (uint64_t)(i + 1));
        uint32_t kept = w->order[i];
        w->order[i] = w->order[j];
        w->order[j] = kept;
    }
    w->pages = pages < w->ops ? pages : w->ops;
    return 0;
}

static long read_all(struct worker *w)
{
    for (long i = 0; i < w->mib; i++) {
        if (pread(w->fd, w->buffer, MIB, i * MIB) != MIB)
            return failed(w, "read");
        lap(w);
    }
    return w->mib * MIB;
}

static int before_cold(struct worker *w)
{
    int status = open_data(w, O_RDONLY);
    return status ? status : drop_cache(w);
}

static int before_warm(struct worker *w)
{
    long status = open_data(w, O_RDONLY);
    if (!status && (status = read_all(w)) > 0)
        status = 0;
    w->latencies = 0;
    w->steps = 0;
    return (int)status;
}

static int before_direct(struct worker *w)
{
    int status = open_data(w, O_RDWR | O_DIRECT);
    return status ? status : shuffle_pages(w);
}

static int before_random_cold(struct worker *w)
{
    int status = before_cold(w);
    if (!status && (errno = posix_fadvise(w->fd, 0, 0, POSIX_FADV_RANDOM)))
        status = failed(w, "fadvise");
    return status ? status : shuffle_pages(w);
}

static int before_random_warm(struct worker *w)
{
    int status = before_warm(w);
    return status ? status : shuffle_pages(w);
}

static int before_random_write(struct worker *w)
{
    int status = open_data(w, O_RDWR);
    return status ? status : shuffle_pages(w);
}

static long random_read(struct worker *w)
{
    for (long i = 0; i < w->pages; i++) {
        if (pread(w->fd, w->buffer, PAGE, (off_t)w->order[i] * PAGE) != PAGE)
            return failed(w, "read");
        lap(w);
    }
    return w->pages;
}

static long random_write(struct worker *w)
{
    for (long i = 0; i < w->pages; i++) {
        if (pwrite(w->fd, w->buffer, PAGE, (off_t)w->order[i] * PAGE) != PAGE)
            return failed(w, "write");
        lap(w);
    }
    return w->pages;
}

static void close_data(struct worker *w)
{
    if (w->map) {
        munmap(w->map, (size_t)w->mib * MIB);
        w->map = NULL;
    }
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
}

static int map_data(struct worker *w)
{
    void *map = mmap(NULL, (size_t)w->mib * MIB, PROT_READ, MAP_SHARED, w->fd, 0);
    if (map == MAP_FAILED)
        return failed(w, "mmap");
    w->map = map;
    return 0;
}

static int before_mmap_cold(struct worker *w)
{
    int status = before_cold(w);
    return status ? status : map_data(w);
}

static int before_mmap_warm(struct worker *w)
{
    int status = before_warm(w);
    return status ? status : map_data(w);
}

static long run_mmap_read(struct worker *w)
{
    long size = w->mib * MIB;
    unsigned sum = 0;
    for (long i = 0; i < size; i += PAGE) {
        sum += *(volatile unsigned char *)(w->map + i);
        if (i % MIB == 0)
            lap(w);
    }
    return sum ? size : (errno = EBADMSG, failed(w, "mmap: wrong bytes"));
}

const struct phase data_phases[] = {
    {"seq_write", "MiB/s", remove_data, run_seq_write, NULL},
    {"seq_write_fsync", "MiB/s", remove_data, run_seq_write_fsync, NULL},
    {"seq_read_cold", "MiB/s", before_cold, read_all, close_data},
    {"seq_read_warm", "MiB/s", before_warm, read_all, close_data},
    {"rand_read_cold", "op/s", before_random_cold, random_read, close_data},
    {"rand_read_warm", "op/s", before_random_warm, random_read, close_data},
    {"rand_write", "op/s", before_random_write, random_write, close_data},
    {"seq_write_direct", "MiB/s", remove_data, run_seq_write_direct, NULL},
    {"seq_read_direct", "MiB/s", before_direct, read_all, close_data},
    {"rand_read_direct", "op/s", before_direct, random_read, close_data},
    {"rand_write_direct", "op/s", before_direct, random_write, close_data},
    {"mmap_read_cold", "MiB/s", before_mmap_cold, run_mmap_read, close_data},
    {"mmap_read_warm", "MiB/s", before_mmap_warm, run_mmap_read, close_data},
    {NULL, NULL, NULL, NULL, NULL},
};
