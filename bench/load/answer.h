/* Answers, checked as they come: an HTTP or a CGI head with its status, and the length of the body. */
#ifndef ANSWER_H
#define ANSWER_H

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_ROOM 8192

struct answer {
    char head[HEAD_ROOM];
    size_t head_size;
    int in_body, status, closes;
    long length; /* Content-Length, -1 without one */
    long body;   /* bytes that have come */
};

static void answer_reset(struct answer *a)
{
    a->head_size = 0;
    a->in_body = a->closes = a->status = 0;
    a->length = -1;
    a->body = 0;
}

/* Return the value of a field in the head, or NULL. */
static const char *answer_field(const struct answer *a, const char *name)
{
    size_t size = strlen(name);
    const char *line = a->head;
    while (line && *line) {
        if (!strncasecmp(line, name, size) && line[size] == ':') {
            line += size + 1;
            return line + strspn(line, " \t");
        }
        line = strchr(line, '\n');
        if (line)
            line++;
    }
    return NULL;
}

/* Take bytes; return 0, or -1 where the head is none. */
static int answer_take(struct answer *a, const char *data, size_t size)
{
    const char *end, *field;
    size_t piece, before = a->head_size;
    if (a->in_body) {
        a->body += size;
        return 0;
    }
    piece = size < HEAD_ROOM - 1 - before ? size : HEAD_ROOM - 1 - before;
    memcpy(a->head + before, data, piece);
    a->head_size += piece;
    a->head[a->head_size] = 0;
    end = strstr(a->head, "\r\n\r\n");
    if (!end)
        return a->head_size == HEAD_ROOM - 1 ? -1 : 0;
    a->in_body = 1;
    a->head_size = end - a->head + 4;
    a->body = size - (a->head_size - before);
    a->head[a->head_size - 2] = 0;
    if (!strncmp(a->head, "HTTP/1.", 7))
        a->status = atoi(a->head + 9);
    else
        a->status = (field = answer_field(a, "Status")) ? atoi(field) : 200;
    if ((field = answer_field(a, "Content-Length")))
        a->length = atol(field);
    field = answer_field(a, "Connection");
    a->closes = (field && !strncasecmp(field, "close", 5)) || (!strncmp(a->head, "HTTP/1.0", 8) && !field);
    return 0;
}

#endif
