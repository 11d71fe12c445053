/* Good requests at a steady rate beside a flood of bad ones: from one thread with epoll(7).
 *
 * flood --good 127.0.0.1:PORT|/PATH --request FILE --length BYTES --rate N [--connections N]
 *       [--bad ADDRESS=FILE]... [--bad-rate N] [--flight N] [--warm-up S] [--seconds S]
 *
 * The good ones are HTTP on kept connections. They come as if many people had sent them, at random moments
 * that are the same in each run, and their latency counts from when they were due, also where all
 * connections are in use by then. A bad one has a connection of its own, of which the server has to make an
 * end; a FILE has many, each behind its size as four bytes (big-endian), and all of them are sent in turn.
 * What --flight connections at once are not enough for is not sent.
 *
 * Prints what measure.h does, and in "bad" how many a second were sent, "refused" (answered by 4xx or 5xx),
 * "closed" (without an answer), "reset" (before one), and, if there are any, "served".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "answer.h"
#include "measure.h"

#define DOORS 16
#define KINDS 4096
#define BURST 32 /* bad ones begun between two looks at the good ones */

struct bytes {
    const char *data;
    size_t size;
};

struct good {
    int fd, busy;
    double due;
    size_t sent;
    struct answer answer;
};

struct bad {
    int fd;
    const struct kind *kind;
    size_t sent, got;
    char head[16]; /* of the answer */
};

static struct kind {
    const struct address *door;
    struct bytes wire;
} kinds[KINDS];

enum end { BEGUN, REFUSES, CLOSES, RESETS, SERVES, ENDS };
static const char *const end_names[ENDS] = {"sent", "refused", "closed", "reset", "served"};

static struct address good_address, doors[DOORS];
static struct bytes request;
static struct good *goods;
static struct bad *bads;
static int good_count = 16, bad_room = 512, door_count, kind_count, poller;
static int *idle, idle_count, *spare, spare_count; /* numbers of goods and bads */
static long length, ends[ENDS];
static double rate, bad_rate;

static struct bytes whole_file(const char *path)
{
    struct stat found;
    struct bytes bytes;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &found))
        die(path);
    bytes.size = found.st_size;
    bytes.data = mmap(NULL, bytes.size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes.data == MAP_FAILED)
        die(path);
    close(fd);
    return bytes;
}

static void kinds_of(char *text)
{
    char *path = strchr(text, '=');
    struct bytes all;
    size_t at, size;
    if (!path || door_count == DOORS) {
        fprintf(stderr, "%s: no ADDRESS=FILE, or too many\n", text);
        exit(2);
    }
    *path++ = 0;
    address_set(&doors[door_count], text);
    all = whole_file(path);
    for (at = 0; at + 4 <= all.size && kind_count < KINDS; at += 4 + size) {
        const unsigned char *four = (const unsigned char *)all.data + at;
        size = (size_t)four[0] << 24 | four[1] << 16 | four[2] << 8 | four[3];
        kinds[kind_count].door = &doors[door_count];
        kinds[kind_count++].wire = (struct bytes){all.data + at + 4, size};
    }
    door_count++;
}

static void watch(int fd, unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = number};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        die("epoll_ctl");
}

static void good_open(int number)
{
    struct good *g = &goods[number];
    g->fd = address_socket(&good_address, 0, 0);
    if (connect(g->fd, (struct sockaddr *)&good_address.name, good_address.size))
        die("connect");
    fcntl(g->fd, F_SETFL, O_NONBLOCK);
    watch(g->fd, number);
}

static void good_send(struct good *g)
{
    ssize_t sent = send(g->fd, request.data + g->sent, request.size - g->sent, MSG_NOSIGNAL);
    if (sent > 0)
        g->sent += sent;
}

static void good_start(double due)
{
    struct good *g = &goods[idle[--idle_count]];
    g->busy = 1;
    g->due = due;
    g->sent = 0;
    answer_reset(&g->answer);
    run.sent++;
    good_send(g);
}

/* The answer is whole, or will not be. */
static void good_over(int number, int broken)
{
    struct good *g = &goods[number];
    if (broken || g->answer.closes) {
        close(g->fd);
        good_open(number);
    }
    g->busy = 0;
    idle[idle_count++] = number;
}

static void good_event(int number)
{
    static char buffer[1 << 16];
    struct good *g = &goods[number];
    if (g->busy && g->sent < request.size)
        good_send(g);
    for (;;) {
        ssize_t got = recv(g->fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (!g->busy) {
            if (got <= 0) { /* the server does not keep it any longer */
                close(g->fd);
                good_open(number);
                run.reopened++;
                return;
            }
            failed(FORM, buffer, got);
            continue;
        }
        if (got <= 0 || answer_take(&g->answer, buffer, got)) {
            failed(got <= 0 ? CUT : FORM, got <= 0 ? NULL : buffer, got <= 0 ? 0 : got);
            good_over(number, 1);
            return;
        }
        if (!g->answer.in_body || g->answer.body < g->answer.length)
            continue;
        if (g->answer.status != 200)
            failed(STATUS, g->answer.head, g->answer.head_size);
        else if (g->answer.body != length)
            failed(LENGTH, g->answer.head, g->answer.head_size);
        else
            answered(g->due, now());
        good_over(number, 0);
        return;
    }
}

static void bad_send(struct bad *b)
{
    while (b->sent < b->kind->wire.size) {
        ssize_t sent = send(b->fd, b->kind->wire.data + b->sent, b->kind->wire.size - b->sent, MSG_NOSIGNAL);
        if (sent < 0)
            return; /* not connected yet, full, or refused already */
        b->sent += sent;
    }
}

static void bad_start(void)
{
    static unsigned next;
    int number = spare[--spare_count];
    struct bad *b = &bads[number];
    b->kind = &kinds[next++ % kind_count];
    b->sent = b->got = 0;
    memset(b->head, 0, sizeof b->head);
    b->fd = address_socket(b->kind->door, SOCK_NONBLOCK, 1);
    if (connect(b->fd, (struct sockaddr *)&b->kind->door->name, b->kind->door->size) && errno != EINPROGRESS) {
        ends[RESETS]++;
        close(b->fd);
        b->fd = -1;
        spare[spare_count++] = number;
        return;
    }
    ends[BEGUN]++;
    bad_send(b);
    watch(b->fd, good_count + number);
}

static void bad_event(int number)
{
    static char buffer[4096];
    struct bad *b = &bads[number];
    ssize_t got;
    if (b->fd < 0)
        return;
    bad_send(b);
    while ((got = recv(b->fd, buffer, sizeof buffer, 0)) > 0) {
        size_t piece = sizeof b->head - 1 - b->got;
        if (piece > (size_t)got)
            piece = got;
        memcpy(b->head + b->got, buffer, piece);
        b->got += piece;
    }
    if (got < 0 && (errno == EAGAIN || errno == ENOTCONN))
        return;
    if (!b->got)
        ends[got < 0 ? RESETS : CLOSES]++;
    else if (strstr(b->head, " 200 "))
        ends[SERVES]++;
    else
        ends[REFUSES]++;
    close(b->fd);
    b->fd = -1;
    spare[spare_count++] = number;
}

/* Return how long it is until the next good request: exponentially distributed. */
static double gap(void)
{
    return -log(1 - drand48()) / rate;
}

static void drive(void)
{
    struct epoll_event events[256];
    double begun, at, good_due, bad_due;
    int index, got, was_measuring = 0;
    goods = calloc(good_count, sizeof *goods);
    idle = calloc(good_count, sizeof *idle);
    bads = calloc(bad_room, sizeof *bads);
    spare = calloc(bad_room, sizeof *spare);
    if (!goods || !idle || !bads || !spare)
        die("calloc");
    for (index = 0; index < good_count; index++) {
        good_open(index);
        idle[idle_count++] = index;
    }
    for (index = 0; index < bad_room; index++) {
        bads[index].fd = -1;
        spare[spare_count++] = index;
    }
    srand48(1);
    begin();
    begun = now();
    good_due = begun + gap();
    bad_due = begun;
    while (!over(at = now())) {
        double until;
        if (run.measuring && !was_measuring) {
            was_measuring = 1;
            begun = at;
            memset(ends, 0, sizeof ends);
        }
        for (; good_due <= at && idle_count; good_due += gap())
            good_start(good_due);
        for (index = 0; bad_rate && bad_due <= at && spare_count && index < BURST; index++) {
            bad_start();
            bad_due += 1 / bad_rate;
        }
        if (at - bad_due > 0.1) /* more than anybody could make good for */
            bad_due = at;
        until = idle_count ? good_due : at + 0.01;
        if (bad_rate && spare_count && bad_due < until)
            until = bad_due;
        until -= now();
        struct timespec wait = {0, until <= 0 ? 0 : until > 0.01 ? 10000000 : until * 1e9};
        got = epoll_pwait2(poller, events, 256, &wait, NULL);
        for (index = 0; index < got; index++)
            if (events[index].data.u32 < (unsigned)good_count)
                good_event(events[index].data.u32);
        for (index = 0; index < got; index++)
            if (events[index].data.u32 >= (unsigned)good_count)
                bad_event(events[index].data.u32 - good_count);
    }
    for (index = 0; index < good_count; index++)
        if (goods[index].busy && at - goods[index].due > LATEST)
            failed(LATE, NULL, 0);
    got = sprintf(run.more, "\"bad\": {");
    for (index = 0; index < ENDS; index++)
        got += sprintf(run.more + got, "%s\"%s\": %.1f", index ? ", " : "", end_names[index], ends[index] / (at - begun));
    sprintf(run.more + got, "}, ");
    report();
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"good", 1, 0, 'g'}, {"request", 1, 0, 'r'}, {"length", 1, 0, 'l'}, {"rate", 1, 0, 'a'},
        {"connections", 1, 0, 'n'}, {"bad", 1, 0, 'b'}, {"bad-rate", 1, 0, 'B'}, {"flight", 1, 0, 'f'},
        {"warm-up", 1, 0, 'w'}, {"seconds", 1, 0, 't'}, {0, 0, 0, 0}};
    int option;
    struct rlimit files;
    run.seconds = 5;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'g': address_set(&good_address, optarg); break;
        case 'r': request = whole_file(optarg); break;
        case 'l': length = atol(optarg); break;
        case 'a': rate = atof(optarg); break;
        case 'n': good_count = atoi(optarg); break;
        case 'b': kinds_of(optarg); break;
        case 'B': bad_rate = atof(optarg); break;
        case 'f': bad_room = atoi(optarg); break;
        case 'w': run.warm_up = atof(optarg); break;
        case 't': run.seconds = atof(optarg); break;
        default: return 2;
        }
    if (!good_address.size || !request.size || rate <= 0 || (bad_rate > 0 && !kind_count)) {
        fprintf(stderr, "--good, --request and --rate are needed, and --bad with --bad-rate\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    drive();
    return 0;
}
