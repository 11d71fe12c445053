/* Load on a stream socket: HTTP, uwsgi, SCGI and FastCGI, from one thread with epoll(7).
 *
 * streams --connect 127.0.0.1:PORT|/PATH --request FILE --protocol http|cgi|fastcgi [--keep]
 *         [--spin] [--connections N] [--idle N] [--status N] --length BYTES
 *         [--warm-up S] [--seconds S] [--requests N]
 *
 * FILE has the bytes of one request. Each of N connections sends it, waits for the whole answer, checks its
 * status and the length of its body, and sends it again: on the same connection with --keep, else on a new
 * one. "cgi" (uwsgi, SCGI) ends with its Content-Length, as for nginx, or with the connection. --idle opens so
 * many connections first, on which one request has been answered, and prints "idle N"; with --connections 0
 * they are held until stdin ends, and those that are still open then are counted.
 *
 * --spin is for a core that nobody else wants: the load never sleeps, since to wake it costs the server, by
 * as much as the machine makes of it, and for the slower server more often. "spun" in the report has the
 * seconds in which it found nothing to do.
 *
 * Prints "measuring" when the warm-up is over and a line of JSON at the end (see measure.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "answer.h"
#include "measure.h"

enum protocol { HTTP, CGI, FASTCGI };
enum outcome { GOES_ON, DONE, WRONG };

struct connection {
    int fd, connected, over; /* over: no request is left for it */
    size_t sent;
    double began;      /* when this request was first tried */
    long used;         /* answers that came on this connection */
    size_t received;   /* bytes of this answer */
    struct answer answer;
    unsigned char record[8]; /* FastCGI: the head of the current record */
    size_t record_size, content, padding;
};

static struct address address;
static const char *request;
static size_t request_size;
static enum protocol protocol;
static int keep, spin, status = 200, poller;
static long length;

static void request_set(const char *path)
{
    struct stat found;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &found))
        die(path);
    request_size = found.st_size;
    request = mmap(NULL, request_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (request == MAP_FAILED)
        die(path);
    close(fd);
}

static void renew(struct connection *c)
{
    run.sent++;
    c->sent = c->received = c->record_size = c->content = c->padding = 0;
    answer_reset(&c->answer);
}

static void end(struct connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

/* Connect, and send if that can be done at once; a full queue of a Unix socket is tried again. */
static void start(struct connection *c)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    c->used = 0;
    c->fd = address_socket(&address, SOCK_NONBLOCK, !keep);
    c->connected = !connect(c->fd, (struct sockaddr *)&address.name, address.size);
    if (!c->connected && errno != EINPROGRESS) {
        if (errno != EAGAIN)
            failed(REFUSED, NULL, 0);
        end(c);
        return;
    }
    renew(c);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event))
        die("epoll_ctl");
}

/* Judge a whole answer. */
static enum outcome judge(struct connection *c)
{
    struct answer *a = &c->answer;
    if (a->status != status) {
        failed(STATUS, a->head, a->head_size);
        return WRONG;
    }
    if (a->body != length || (a->length >= 0 && a->length != length)) {
        failed(LENGTH, a->head, a->head_size);
        return WRONG;
    }
    return DONE;
}

static enum outcome take_fastcgi(struct connection *c, const char *data, size_t size)
{
    while (size) {
        size_t piece;
        if (c->record_size < 8) {
            c->record[c->record_size++] = *data++;
            size--;
            if (c->record_size < 8)
                continue;
            c->content = c->record[4] << 8 | c->record[5];
            c->padding = c->record[6];
            if (c->record[0] != 1) {
                failed(FORM, (char *)c->record, 8);
                return WRONG;
            }
        }
        piece = size < c->content ? size : c->content;
        if (c->record[1] == 6 && piece && answer_take(&c->answer, data, piece)) {
            failed(FORM, data, piece);
            return WRONG;
        }
        data += piece, size -= piece, c->content -= piece;
        piece = size < c->padding && !c->content ? size : c->content ? 0 : c->padding;
        data += piece, size -= piece, c->padding -= piece;
        if (!c->content && !c->padding) {
            c->record_size = 0;
            if (c->record[1] == 3)
                return judge(c);
        }
    }
    return GOES_ON;
}

static enum outcome take(struct connection *c, const char *data, size_t size)
{
    c->received += size;
    if (protocol == FASTCGI)
        return take_fastcgi(c, data, size);
    if (answer_take(&c->answer, data, size)) {
        failed(FORM, data, size);
        return WRONG;
    }
    if (!c->answer.in_body)
        return GOES_ON;
    if (c->answer.length < 0 && protocol == HTTP) {
        failed(FORM, c->answer.head, c->answer.head_size);
        return WRONG;
    }
    return c->answer.length >= 0 && c->answer.body >= c->answer.length ? judge(c) : GOES_ON;
}

/* The server has ended the connection. */
static enum outcome take_end(struct connection *c)
{
    if (protocol == CGI && c->answer.in_body)
        return judge(c);
    failed(CUT, c->answer.head, c->answer.head_size);
    return WRONG;
}

/* Go on with a connection as far as it goes; send the next request where an answer is whole. */
static void go_on(struct connection *c)
{
    static char buffer[1 << 18];
    enum outcome outcome = GOES_ON;
    ssize_t got;
again:
    while (c->sent < request_size) {
        got = send(c->fd, request + c->sent, request_size - c->sent, MSG_NOSIGNAL);
        if (got < 0)
            break; /* full, or ended: what has been answered all the same is read */
        c->sent += got;
    }
    for (;;) {
        got = recv(c->fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            if (c->used && !c->received) { /* it had been ended while the request was on its way */
                run.reopened++;
                end(c);
                start(c);
                return;
            }
            outcome = take_end(c);
            break;
        }
        outcome = take(c, buffer, got);
        if (outcome != GOES_ON)
            break;
    }
    if (outcome == DONE) {
        double at = now();
        answered(c->began, at);
        c->began = at;
        c->used++;
        if (!issue()) {
            c->over = 1;
            end(c);
            return;
        }
        if (keep && !(protocol == HTTP && c->answer.closes)) {
            renew(c);
            goto again;
        }
    } else {
        c->began = now();
        c->over = !issue();
    }
    end(c);
    if (!c->over)
        start(c);
}

static void drive(int count)
{
    struct connection *all = calloc(count, sizeof *all);
    struct epoll_event events[256];
    double at, before = 0;
    int index, got, idly = 0; /* asked in vain, without a sleep */
    if (!all)
        die("calloc");
    begin();
    for (index = 0; index < count; index++) {
        all[index].fd = -1;
        all[index].began = now();
        all[index].over = !issue();
        if (!all[index].over)
            start(&all[index]);
    }
    while (!over(at = now())) {
        int waiting = 0;
        if (idly && run.measuring)
            run.spun += at - before;
        before = at;
        for (index = 0; index < count; index++)
            if (all[index].fd < 0 && !all[index].over) {
                start(&all[index]);
                waiting |= all[index].fd < 0;
            }
        got = epoll_wait(poller, events, 256, waiting ? 1 : spin ? 0 : 20);
        idly = spin && !waiting && !got;
        for (index = 0; index < got; index++) {
            struct connection *c = events[index].data.ptr;
            if (!c->connected) {
                int error = 0;
                socklen_t size = sizeof error;
                getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
                if (error) {
                    failed(REFUSED, NULL, 0);
                    end(c);
                    continue;
                }
                if (!(events[index].events & EPOLLOUT))
                    continue;
                c->connected = 1;
            }
            go_on(c);
        }
    }
    for (index = 0; index < count; index++)
        if (!all[index].over && at - all[index].began > LATEST)
            failed(LATE, NULL, 0);
    report();
}

/* Open connections that have been used once; return their descriptors. */
static int *open_idle(int count)
{
    static char buffer[1 << 16];
    struct connection c;
    int index, *all = calloc(count, sizeof *all);
    if (!all)
        die("calloc");
    for (index = 0; index < count; index++) {
        enum outcome outcome = GOES_ON;
        renew(&c);
        all[index] = address_socket(&address, 0, !keep);
        if (connect(all[index], (struct sockaddr *)&address.name, address.size))
            die("connect");
        if (send(all[index], request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size)
            die("send");
        while (outcome == GOES_ON) {
            ssize_t got = recv(all[index], buffer, sizeof buffer, 0);
            if (got <= 0)
                die("recv on an idle connection");
            outcome = take(&c, buffer, got);
        }
        if (outcome != DONE) {
            fprintf(stderr, "a wrong answer: %.*s\n", (int)c.answer.head_size, c.answer.head);
            exit(2);
        }
    }
    printf("idle %d\n", count);
    fflush(stdout);
    return all;
}

static void hold(const int *idle, int count)
{
    char byte;
    int index, open = 0;
    while (read(0, &byte, 1) > 0)
        ;
    for (index = 0; index < count; index++)
        open += recv(idle[index], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
    printf("{\"idle\": %d, \"open\": %d}\n", count, open);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"connect", 1, 0, 'c'}, {"request", 1, 0, 'r'}, {"protocol", 1, 0, 'p'}, {"keep", 0, 0, 'k'},
        {"spin", 0, 0, 'b'}, {"connections", 1, 0, 'n'}, {"idle", 1, 0, 'i'},
        {"status", 1, 0, 's'}, {"length", 1, 0, 'l'},
        {"warm-up", 1, 0, 'w'}, {"seconds", 1, 0, 't'}, {"requests", 1, 0, 'q'}, {0, 0, 0, 0}};
    int option, connections = 32, idle = 0, *held = NULL;
    struct rlimit files;
    run.seconds = 5;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'c': address_set(&address, optarg); break;
        case 'r': request_set(optarg); break;
        case 'p':
            protocol = !strcmp(optarg, "http") ? HTTP : !strcmp(optarg, "fastcgi") ? FASTCGI : CGI;
            break;
        case 'k': keep = 1; break;
        case 'b': spin = 1; break;
        case 'n': connections = atoi(optarg); break;
        case 'i': idle = atoi(optarg); break;
        case 's': status = atoi(optarg); break;
        case 'l': length = atol(optarg); break;
        case 'w': run.warm_up = atof(optarg); break;
        case 't': run.seconds = atof(optarg); break;
        case 'q': run.wanted = atol(optarg); break;
        default: return 2;
        }
    if (!address.size || !request) {
        fprintf(stderr, "--connect and --request are needed\n");
        return 2;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (idle)
        held = open_idle(idle);
    if (connections)
        drive(connections);
    else
        hold(held, idle);
    return 0;
}
