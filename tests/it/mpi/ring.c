/* Ranks of a ring: large messages go round, every byte is checked, neighbours read each other's
 * memory. Rank 0 tells everybody's findings, then all wait until its standard input ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LENGTH = 4 << 20, ROUNDS = 10, LINE = 256 };

struct place {
    long pid;
    char *address;
};

static unsigned char value(int rank, int round, long at) {
    return (unsigned char)(rank * 31 + round * 7 + at * 13 + (at >> 12));
}

/* What process_vm_readv(2) says about the memory of another process. */
static const char *read_memory(struct place other, int rank) {
    static char copy[LENGTH];
    struct iovec here = {copy, LENGTH}, there = {other.address, LENGTH};
    long got = process_vm_readv((pid_t)other.pid, &here, 1, &there, 1, 0);
    if (got != LENGTH)
        return got < 0 ? strerror(errno) : "short";
    for (long at = 0; at < LENGTH; at++)
        if ((unsigned char)copy[at] != value(rank, -1, at))
            return "wrong";
    return "ok";
}

int main(int argc, char **argv) {
    int rank, size, errors = 0;
    char line[LINE], space[LINE / 2] = "";
    /* Where Yama is strict, only those who are allowed may look. */
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    int next = (rank + 1) % size, last = (rank + size - 1) % size;
    char *out = malloc(LENGTH), *in = malloc(LENGTH), *still = malloc(LENGTH);
    for (int round = 0; round < ROUNDS; round++) {
        for (long at = 0; at < LENGTH; at++)
            out[at] = (char)value(rank, round, at);
        MPI_Sendrecv(out, LENGTH, MPI_CHAR, next, round, in, LENGTH, MPI_CHAR, last, round,
                     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        for (long at = 0; at < LENGTH; at++)
            errors += (unsigned char)in[at] != value(last, round, at);
    }
    long mine = rank + 1, sum = 0;
    MPI_Allreduce(&mine, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);

    for (long at = 0; at < LENGTH; at++)
        still[at] = (char)value(rank, -1, at);
    struct place own = {getpid(), still}, other;
    MPI_Sendrecv(&own, sizeof own, MPI_BYTE, next, 99, &other, sizeof other, MPI_BYTE, last, 99,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    const char *memory = read_memory(other, last);
    MPI_Barrier(MPI_COMM_WORLD);

    ssize_t got = readlink("/proc/self/ns/user", space, sizeof space - 1);
    snprintf(line, sizeof line, "rank %d of %d: errors %d, sum %ld, memory %s, %s", rank, size,
             errors, sum, memory, got < 0 ? "?" : space);
    char *all = rank ? NULL : malloc((size_t)size * LINE);
    MPI_Gather(line, LINE, MPI_CHAR, all, LINE, MPI_CHAR, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        for (int other_rank = 0; other_rank < size; other_rank++)
            puts(all + other_rank * LINE);
        puts("ready");
        fflush(stdout);
        while (getchar() != EOF)
            ;
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return errors != 0;
}
