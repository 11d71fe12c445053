/* What all loads share: clocks, latencies, counts of what went wrong, and the report on stdout. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LATEST 2.0 /* seconds for which nothing has come when the run ends: late */

enum failure { REFUSED, CUT, STATUS, LENGTH, FORM, LATE, FAILURES };
static const char *const failure_names[FAILURES] = {"refused", "cut", "status", "length", "form", "late"};

static struct {
    uint32_t *microseconds; /* one for each answer */
    size_t count, room;
    long failures[FAILURES];
    long reopened; /* kept connections that the server had ended before a request of ours reached it */
    long sent;     /* requests of the whole run, the warm-up and those that are sent again included */
    long issued;   /* requests of the measurement where a number is wanted */
    double warm_up, seconds, began, deadline;
    double spun; /* seconds in which a load that does not sleep had nothing to do */
    long wanted; /* requests after which to end, without a warm-up; 0: by time alone */
    int measuring;
    char example[256]; /* of what was wrong, for people */
    char more[512];    /* members that a load adds to the report, each with a comma and a space behind it */
} run;

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec * 1e-9;
}

static void die(const char *what)
{
    perror(what);
    exit(2);
}

/* Begin the warm-up; with none, measure at once. */
static void begin(void)
{
    run.began = now();
    run.deadline = run.began + run.warm_up;
}

/* Tell whether another request may be issued, and count it. */
__attribute__((unused)) static int issue(void)
{
    if (run.wanted && run.issued >= run.wanted)
        return 0;
    run.issued++;
    return 1;
}

/* Tell whether all that was wanted has been answered, or has failed. */
static int enough(void)
{
    long done = run.count;
    int kind;
    if (!run.wanted)
        return 0;
    for (kind = 0; kind < FAILURES; kind++)
        done += run.failures[kind];
    return done >= run.wanted;
}

/* Tell whether the run is over; switch from the warm-up to the measurement when it is time. */
static int over(double at)
{
    if (at < run.deadline && !(run.measuring && enough()))
        return 0;
    if (run.measuring)
        return 1;
    puts("measuring");
    fflush(stdout);
    run.measuring = 1;
    run.count = 0;
    memset(run.failures, 0, sizeof run.failures);
    run.reopened = 0;
    run.began = now();
    run.deadline = run.began + run.seconds;
    return 0;
}

static void answered(double sent, double at)
{
    if (run.count == run.room) {
        run.room = run.room ? 2 * run.room : 1 << 20;
        run.microseconds = realloc(run.microseconds, run.room * sizeof *run.microseconds);
        if (!run.microseconds)
            die("realloc");
    }
    run.microseconds[run.count++] = (uint32_t)((at - sent) * 1e6);
}

static void failed(enum failure kind, const char *bytes, size_t size)
{
    run.failures[kind]++;
    if (!run.example[0] && size) {
        size_t at;
        for (at = 0; at < size && at < sizeof run.example - 1; at++)
            run.example[at] = bytes[at] >= ' ' && bytes[at] < 127 && bytes[at] != '"' && bytes[at] != '\\' ? bytes[at] : '.';
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile(double share)
{
    return run.count ? run.microseconds[(size_t)((run.count - 1) * share)] * 1e-6 : 0;
}

/* Print one line of JSON; times are seconds. */
static void report(void)
{
    double seconds = now() - run.began;
    int kind, first = 1;
    qsort(run.microseconds, run.count, sizeof *run.microseconds, by_size);
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50\": %.6f, \"p99\": %.6f, \"longest\": %.6f, "
           "\"sent\": %ld, \"reopened\": %ld, \"spun\": %.6f, %s\"failures\": {",
           run.count, seconds, percentile(0.5), percentile(0.99), percentile(1), run.sent,
           run.reopened, run.spun, run.more);
    for (kind = 0; kind < FAILURES; kind++)
        if (run.failures[kind]) {
            printf("%s\"%s\": %ld", first ? "" : ", ", failure_names[kind], run.failures[kind]);
            first = 0;
        }
    printf("}, \"example\": \"%s\"}\n", run.example);
    fflush(stdout);
}

#endif
