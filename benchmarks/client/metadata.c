// SPDX-License-Identifier: Apache-2.0
// Phases of the benchmark client that ask for names and attributes.

#define _GNU_SOURCE
#include "client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

// f1234567: made by hand, because sprintf costs as much as a cached stat.
static void set_name(char name[16], char kind, long i)
{
    name[0] = kind;
    for (int digit = 7; digit > 0; digit--, i /= 10)
        name[digit] = (char)('0' + i % 10);
    name[8] = 0;
}

static int make_files(struct worker *w, bool timed)
{
    char name[16];
    for (long i = 0; i < w->ops; i++) {
        set_name(name, 'f', i);
        int fd = openat(w->dirfd, name, O_CREAT | O_EXCL | O_WRONLY, 0644);
        if (fd < 0)
            return failed(w, "create");
        if (close(fd))
            return failed(w, "close");
        if (timed)
            lap(w);
    }
    w->files = true;
    w->filled = false;
    return 0;
}

static int remove_files(struct worker *w, bool timed)
{
    char name[16];
    for (long i = 0; i < w->ops; i++) {
        set_name(name, 'f', i);
        if (unlinkat(w->dirfd, name, 0))
            return failed(w, "unlink");
        if (timed)
            lap(w);
    }
    w->files = w->filled = false;
    return 0;
}

static int fill_files(struct worker *w, bool timed)
{
    char name[16];
    for (long i = 0; i < w->ops; i++) {
        set_name(name, 'f', i);
        int fd = openat(w->dirfd, name, O_WRONLY);
        if (fd < 0)
            return failed(w, "open");
        if (write(fd, w->buffer, SMALL) != SMALL)
            return failed(w, "write");
        if (close(fd))
            return failed(w, "close");
        if (timed)
            lap(w);
    }
    w->filled = true;
    return 0;
}

static int want_none(struct worker *w) { return w->files ? remove_files(w, false) : 0; }
static int want_files(struct worker *w) { return w->files ? 0 : make_files(w, false); }
static int want_filled(struct worker *w)
{
    int status = want_files(w);
    return status || w->filled ? status : fill_files(w, false);
}

static long run_create(struct worker *w)
{
    int status = make_files(w, true);
    return status ? status : w->ops;
}

static long run_write_small(struct worker *w)
{
    int status = fill_files(w, true);
    return status ? status : w->ops;
}

static long run_unlink(struct worker *w)
{
    int status = remove_files(w, true);
    return status ? status : w->ops;
}

static long run_stat(struct worker *w)
{
    char name[16];
    struct stat st;
    for (long i = 0; i < w->ops; i++) {
        set_name(name, 'f', i);
        if (fstatat(w->dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
            return failed(w, "stat");
        lap(w);
    }
    return w->ops;
}

static long run_stat_missing(struct worker *w)
{
    char name[16];
    struct stat st;
    for (long i = 0; i < w->ops; i++) {
        set_name(name, 'n', i);
        if (fstatat(w->dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
            return failed(w, "stat of a missing name");
        lap(w);
    }
    return w->ops;
}

static long run_open_read_close(struct worker *w)
{
    char name[16];
    for (long i = 0; i < w->ops; i++) {
        set_name(name, 'f', i);
        int fd = openat(w->dirfd, name, O_RDONLY);
        if (fd < 0)
            return failed(w, "open");
        if (read(fd, w->buffer, PAGE) != SMALL)
            return failed(w, "read");
        if (close(fd))
            return failed(w, "close");
        lap(w);
    }
    return w->ops;
}

// One pass over the directory; with attributes it does what `ls -l` does.
static long list(struct worker *w, bool attributes)
{
    int fd = openat(w->dirfd, ".", O_RDONLY | O_DIRECTORY);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return failed(w, "opendir");
    long entries = 0;
    struct dirent *entry;
    struct stat st;
    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
        if (entry->d_name[0] == '.')
            continue;
        if (attributes && fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
            int status = failed(w, "stat");
            closedir(dir);
            return status;
        }
        entries++;
    }
    if (errno) {
        int status = failed(w, "readdir");
        closedir(dir);
        return status;
    }
    closedir(dir);
    lap(w);
    return entries == w->ops ? entries : (errno = EBADMSG, failed(w, "readdir: wrong number of entries"));
}

static long passes(struct worker *w, bool attributes, int times)
{
    long total = 0;
    for (int i = 0; i < times; i++) {
        long entries = list(w, attributes);
        if (entries < 0)
            return entries;
        total += entries;
    }
    return total;
}

static long run_readdir(struct worker *w) { return passes(w, false, 5); }
static long run_readdir_stat(struct worker *w) { return passes(w, true, 1); }

static int rename_all(struct worker *w, char from, char to, bool timed)
{
    char old[16], new[16];
    for (long i = 0; i < w->ops; i++) {
        set_name(old, from, i);
        set_name(new, to, i);
        if (renameat(w->dirfd, old, w->dirfd, new))
            return failed(w, "rename");
        if (timed)
            lap(w);
    }
    return 0;
}

static long run_rename(struct worker *w)
{
    int status = rename_all(w, 'f', 'r', true);
    return status ? status : w->ops;
}

static void rename_back(struct worker *w) { rename_all(w, 'r', 'f', false); }

static long run_chmod(struct worker *w)
{
    char name[16];
    for (long i = 0; i < w->ops; i++) {
        set_name(name, 'f', i);
        if (fchmodat(w->dirfd, name, 0600, 0))
            return failed(w, "chmod");
        lap(w);
    }
    return w->ops;
}

static int make_dirs(struct worker *w, bool timed)
{
    char name[16];
    for (long i = 0; i < w->ops; i++) {
        set_name(name, 'd', i);
        if (mkdirat(w->dirfd, name, 0755))
            return failed(w, "mkdir");
        if (timed)
            lap(w);
    }
    return 0;
}

static int remove_dirs(struct worker *w, bool timed)
{
    char name[16];
    for (long i = 0; i < w->ops; i++) {
        set_name(name, 'd', i);
        if (unlinkat(w->dirfd, name, AT_REMOVEDIR))
            return failed(w, "rmdir");
        if (timed)
            lap(w);
    }
    return 0;
}

static long run_mkdir(struct worker *w)
{
    int status = make_dirs(w, true);
    return status ? status : w->ops;
}

static void after_mkdir(struct worker *w) { remove_dirs(w, false); }
static int before_rmdir(struct worker *w) { return make_dirs(w, false); }

static long run_rmdir(struct worker *w)
{
    int status = remove_dirs(w, true);
    return status ? status : w->ops;
}

const struct phase metadata_phases[] = {
    {"create", "op/s", want_none, run_create, NULL},
    {"stat", "op/s", want_files, run_stat, NULL},
    {"stat_missing", "op/s", want_files, run_stat_missing, NULL},
    {"write_small", "op/s", want_files, run_write_small, NULL},
    {"open_read_close", "op/s", want_filled, run_open_read_close, NULL},
    {"chmod", "op/s", want_files, run_chmod, NULL},
    {"readdir", "entries/s", want_files, run_readdir, NULL},
    {"readdir_stat", "entries/s", want_files, run_readdir_stat, NULL},
    {"rename", "op/s", want_files, run_rename, rename_back},
    {"unlink", "op/s", want_files, run_unlink, NULL},
    {"mkdir", "op/s", NULL, run_mkdir, after_mkdir},
    {"rmdir", "op/s", before_rmdir, run_rmdir, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
