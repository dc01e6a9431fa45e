/* How fast threads can read memory: each adds up its share of a buffer, pass after pass.
 *
 *   probe BYTES THREADS PASSES   prints the seconds that each pass took, as a JSON list
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static uint64_t *buffer;
static size_t words; /* that each thread reads */
static int threads, passes;
static atomic_int arrived;
static _Atomic uint64_t total; /* so that no read can be left out */

/* Wait until every thread has come here, spinning: sleeping and waking would count as reading. */
static void meet(int meetings)
{
    atomic_fetch_add(&arrived, 1);
    while (atomic_load(&arrived) < meetings * threads)
        ;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void *read_share(void *argument)
{
    int thread = (int)(intptr_t)argument;
    const uint64_t *share = buffer + words * thread;
    int meetings = 0;
    for (int pass = 0; pass < passes; pass++) {
        meet(++meetings);
        double start = now();
        uint64_t sum = 0;
        for (size_t i = 0; i < words; i++)
            sum += share[i];
        atomic_fetch_add(&total, sum);
        meet(++meetings);
        if (thread == 0)
            printf("%s%.9f", pass ? ", " : "[", now() - start);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "usage: probe BYTES THREADS PASSES\n"), 2;
    threads = atoi(argv[2]);
    passes = atoi(argv[3]);
    words = strtoull(argv[1], NULL, 10) / sizeof *buffer / threads;
    size_t bytes = words * sizeof *buffer * threads;
    buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return perror("probe"), 1;
#ifdef MADV_HUGEPAGE
    madvise(buffer, bytes, MADV_HUGEPAGE); /* the fastest read is the fairest measure of the others */
#endif
    memset(buffer, 1, bytes);
    pthread_t others[threads];
    for (int thread = 1; thread < threads; thread++)
        pthread_create(&others[thread], NULL, read_share, (void *)(intptr_t)thread);
    read_share((void *)0);
    for (int thread = 1; thread < threads; thread++)
        pthread_join(others[thread], NULL);
    printf("]\n");
    return 0;
}
