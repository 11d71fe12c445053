/* Addresses, and sockets that are to be connected to them. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SOURCES 50 /* addresses that connections come from: so many want more than the ports of one */

struct address {
    struct sockaddr_storage name;
    socklen_t size;
};

/* Read 127.0.0.1:PORT or /PATH; end the program where it is neither. */
static void address_set(struct address *address, const char *text)
{
    if (text[0] == '/') {
        struct sockaddr_un *un = (struct sockaddr_un *)&address->name;
        un->sun_family = AF_UNIX;
        if (strlen(text) >= sizeof un->sun_path) {
            fprintf(stderr, "%s: too long for a Unix socket\n", text);
            exit(2);
        }
        strcpy(un->sun_path, text);
        address->size = sizeof *un;
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&address->name;
        const char *colon = strrchr(text, ':');
        char host[64] = "";
        if (!colon || colon - text >= (ptrdiff_t)sizeof host) {
            fprintf(stderr, "%s: no address\n", text);
            exit(2);
        }
        memcpy(host, text, colon - text);
        in->sin_family = AF_INET;
        in->sin_port = htons(atoi(colon + 1));
        if (inet_pton(AF_INET, host, &in->sin_addr) != 1) {
            fprintf(stderr, "%s: no IPv4 address\n", host);
            exit(2);
        }
        address->size = sizeof *in;
    }
}

/* Return a socket; *spread* has each come from the next of some addresses of 127/8. */
static int address_socket(const struct address *address, int flags, int spread)
{
    static int number;
    int one = 1, fd = socket(address->name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) {
        perror("socket");
        exit(2);
    }
    if (address->name.ss_family == AF_INET) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (spread) {
            struct sockaddr_in from = {.sin_family = AF_INET};
            from.sin_addr.s_addr = htonl(0x7f000101 + number++ % SOURCES);
            setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
            if (bind(fd, (struct sockaddr *)&from, sizeof from)) {
                perror("bind");
                exit(2);
            }
        }
    }
    return fd;
}

#endif
