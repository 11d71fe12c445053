/* A handler of Mongrel2's that does nothing: what Mongrel2 itself can serve, to compare handlers with.
 *
 * null PULL_ENDPOINT PUB_ENDPOINT: answers each request with the same page, and keeps the connection.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

static const char page[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello world\n";

int main(int argc, char **argv)
{
    void *context = zmq_ctx_new(), *pull = zmq_socket(context, ZMQ_PULL), *pub = zmq_socket(context, ZMQ_PUB);
    zmq_msg_t message;
    char answer[256];
    if (argc != 3 || zmq_connect(pub, argv[2]) || zmq_connect(pull, argv[1])) {
        fprintf(stderr, "null PULL_ENDPOINT PUB_ENDPOINT: %s\n", zmq_strerror(zmq_errno()));
        return 2;
    }
    zmq_msg_init(&message);
    while (zmq_msg_recv(&message, pull, 0) >= 0 || errno == EINTR) {
        const char *data = zmq_msg_data(&message), *limit = data + zmq_msg_size(&message);
        const char *id = memchr(data, ' ', limit - data), *path, *end;
        int size;
        if (!id || !(path = memchr(id + 1, ' ', limit - id - 1)) || !(end = memchr(path + 1, ' ', limit - path - 1)))
            continue;
        if (path[1] == '@') /* a notice */
            continue;
        size = snprintf(answer, sizeof answer, "%.*s %d:%.*s, %s", (int)(id - data), data, (int)(path - id - 1),
                        (int)(path - id - 1), id + 1, page);
        if (size < (int)sizeof answer)
            zmq_send(pub, answer, size, 0);
    }
    return 0;
}
