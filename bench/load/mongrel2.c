/* Load on a handler of Mongrel2's: its PUSH and SUB sockets, and some clients with one request in flight each.
 *
 * mongrel2 --push ENDPOINT --sub ENDPOINT --uuid UUID --request FILE --flight N [--status N] --length BYTES
 *          [--warm-up S] [--seconds S] [--requests N]
 *
 * FILE has what follows "UUID ID " in a message: path, headers and body. A client keeps its number until
 * the handler closes its connection, by an empty message, and then comes back with a new one. A handler
 * that closes every connection is found out by the first request; then each client waits for that, as
 * Mongrel2's real clients do. Prints as streams.c does.
 */
#include <errno.h>
#include <getopt.h>
#include <zmq.h>

#include "answer.h"
#include "measure.h"

#define CLIENTS 4096
#define PATIENCE 300 /* milliseconds for the close of a connection, and for the first answer of all */

struct client {
    long number;
    int whole; /* its answer is, and the connection's end is waited for */
    double began;
    struct answer answer;
};

static struct client clients[CLIENTS];
static int flight = 16, status = 200, closes;
static long length, next_round;
static const char *uuid = "";
static size_t uuid_size;
static char *rest;
static size_t rest_size;
static void *push, *sub;

/* Give a client a connection of its own: the number tells the client, too. */
static void connect_client(struct client *c)
{
    c->number = next_round++ * CLIENTS + (c - clients);
}

static void request(struct client *c, double at)
{
    zmq_msg_t message;
    char head[96];
    int size;
    run.sent++;
    size = snprintf(head, sizeof head, "%.64s %ld ", uuid, c->number);
    answer_reset(&c->answer);
    c->whole = 0;
    c->began = at;
    if (zmq_msg_init_size(&message, size + rest_size))
        die("zmq_msg_init_size");
    memcpy(zmq_msg_data(&message), head, size);
    memcpy((char *)zmq_msg_data(&message) + size, rest, rest_size);
    while (zmq_msg_send(&message, push, 0) < 0)
        if (errno != EINTR)
            die("zmq_msg_send");
}

/* Return the client that a message is for, and its payload; NULL where it is of no client of now. */
static struct client *addressee(const char *data, size_t size, const char **payload, size_t *payload_size)
{
    char *end;
    long ids, number;
    struct client *c;
    const char *at = data + uuid_size + 1, *limit = data + size;
    if (size < uuid_size + 6 || memcmp(data, uuid, uuid_size) || data[uuid_size] != ' ') {
        failed(FORM, data, size < 80 ? size : 80);
        return NULL;
    }
    ids = strtol(at, &end, 10);
    if (*end != ':' || end + 1 + ids + 2 > limit || memcmp(end + 1 + ids, ", ", 2)) {
        failed(FORM, data, size < 80 ? size : 80);
        return NULL;
    }
    if (end[1] == 'X')
        return NULL; /* an order to Mongrel2, not an answer */
    number = strtol(end + 1, NULL, 10);
    *payload = end + 1 + ids + 2;
    *payload_size = limit - *payload;
    c = &clients[number % CLIENTS];
    return c->number == number ? c : NULL;
}

/* Take one message; return the client whose request has ended, or NULL. */
static struct client *take(const char *data, size_t size, double at)
{
    const char *payload;
    size_t payload_size;
    struct client *c = addressee(data, size, &payload, &payload_size);
    if (!c)
        return NULL;
    if (!payload_size) {
        if (!c->whole)
            failed(CUT, c->answer.head, c->answer.head_size);
        connect_client(c);
        return c;
    }
    if (c->whole || answer_take(&c->answer, payload, payload_size)) {
        failed(FORM, payload, payload_size < 80 ? payload_size : 80);
        return NULL;
    }
    if (!c->answer.in_body || c->answer.body < length)
        return NULL;
    if (c->answer.status != status)
        failed(STATUS, c->answer.head, c->answer.head_size);
    else if (c->answer.body != length || c->answer.length != length)
        failed(LENGTH, c->answer.head, c->answer.head_size);
    else
        answered(c->began, at);
    c->whole = 1;
    return closes ? NULL : c;
}

static int wait_for_message(long milliseconds)
{
    zmq_pollitem_t item = {.socket = sub, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, milliseconds) > 0;
}

/* Read what has come; return how many messages. `go_on` tells whether clients go on with another request. */
static int read_all(int go_on)
{
    zmq_msg_t message;
    int count = 0;
    zmq_msg_init(&message);
    while (count < 1000 && zmq_msg_recv(&message, sub, ZMQ_DONTWAIT) >= 0) {
        double at = now();
        struct client *c = take(zmq_msg_data(&message), zmq_msg_size(&message), at);
        count++;
        if (c && go_on && issue())
            request(c, at);
    }
    zmq_msg_close(&message);
    return count;
}

/* Wait until somebody takes requests; a handler may wait for our subscription, which only using `sub` sends. */
static void attract(void)
{
    double deadline = now() + 30;
    zmq_pollitem_t items[2] = {{.socket = push, .events = ZMQ_POLLOUT}, {.socket = sub, .events = ZMQ_POLLIN}};
    do {
        if (now() > deadline) {
            fprintf(stderr, "nobody takes requests\n");
            exit(2);
        }
        zmq_poll(items, 2, 20);
    } while (!(items[0].revents & ZMQ_POLLOUT));
}

/* Ask until the first answer comes, as answers are lost until the handler's PUB knows us; learn if it closes. */
static void meet(void)
{
    struct client *c = clients;
    double deadline = now() + 30;
    long number = 0;
    while (!c->whole) {
        connect_client(c);
        number = c->number;
        request(c, now());
        while (!c->whole && wait_for_message(PATIENCE))
            read_all(0);
        if (now() > deadline) {
            fprintf(stderr, "nobody answers\n");
            exit(2);
        }
    }
    deadline = now() + PATIENCE * 1e-3;
    while (c->number == number && now() < deadline)
        if (wait_for_message(20))
            read_all(0);
    closes = c->number != number;
}

static void read_request(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) || (long)(rest_size = ftell(file)) < 0)
        die(path);
    rewind(file);
    rest = malloc(rest_size + 1);
    if (!rest || fread(rest, 1, rest_size, file) != rest_size)
        die(path);
    fclose(file);
}

static void *bound(void *context, int kind, const char *endpoint)
{
    int none = 0;
    void *made = zmq_socket(context, kind);
    zmq_setsockopt(made, ZMQ_LINGER, &none, sizeof none);
    if (kind == ZMQ_SUB)
        zmq_setsockopt(made, ZMQ_SUBSCRIBE, "", 0);
    if (zmq_bind(made, endpoint)) {
        fprintf(stderr, "%s: %s\n", endpoint, zmq_strerror(zmq_errno()));
        exit(2);
    }
    return made;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"push", 1, 0, 'p'}, {"sub", 1, 0, 'b'}, {"uuid", 1, 0, 'u'}, {"request", 1, 0, 'r'},
        {"flight", 1, 0, 'f'}, {"status", 1, 0, 's'}, {"length", 1, 0, 'l'}, {"warm-up", 1, 0, 'w'},
        {"seconds", 1, 0, 't'}, {"requests", 1, 0, 'q'}, {0, 0, 0, 0}};
    const char *push_at = NULL, *sub_at = NULL;
    void *context;
    double at;
    int option, index;
    run.seconds = 5;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'p': push_at = optarg; break;
        case 'b': sub_at = optarg; break;
        case 'u': uuid = optarg; uuid_size = strlen(uuid); break;
        case 'r': read_request(optarg); break;
        case 'f': flight = atoi(optarg); break;
        case 's': status = atoi(optarg); break;
        case 'l': length = atol(optarg); break;
        case 'w': run.warm_up = atof(optarg); break;
        case 't': run.seconds = atof(optarg); break;
        case 'q': run.wanted = atol(optarg); break;
        default: return 2;
        }
    if (!push_at || !sub_at || !rest || !uuid_size || uuid_size > 64 || flight < 1 || flight > CLIENTS) {
        fprintf(stderr, "--push, --sub, --uuid, --request are needed, and --flight of 1 to %d\n", CLIENTS);
        return 2;
    }
    context = zmq_ctx_new();
    sub = bound(context, ZMQ_SUB, sub_at);
    push = bound(context, ZMQ_PUSH, push_at);
    attract();
    meet();
    begin();
    for (index = 0; index < flight; index++) {
        connect_client(&clients[index]);
        if (issue())
            request(&clients[index], now());
    }
    while (!over(at = now()))
        if (!read_all(1))
            wait_for_message(20);
    for (index = 0; index < flight; index++)
        if (!clients[index].whole && at - clients[index].began > LATEST)
            failed(LATE, NULL, 0);
    report();
    zmq_close(push);
    zmq_close(sub);
    zmq_ctx_term(context);
    return 0;
}
