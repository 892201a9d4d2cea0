/* pair take PORT FILE / pair give PORT FILE HEADER: the least that a kernel can do for one file in the classic dialect over
 * loopback, without a check, a name or a clean-up. The reference for `--work classic`.
 *   give  connects, says HEADER alone, pauses as the dialect asks, sendfile to the end, waits for the peer's end
 *   take  accepts one connection, takes the header from one read, splice through a pipe into FILE */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIPE = 1 << 20, STEP = 1 << 30, PAUSE_US = 100 * 1000 };

static long sure(long result, const char *what) {
    if (result < 0) perror(what), exit(1);
    return result;
}

static void take(int listener, const char *path) {
    char header[4096];
    int ends[2], socket = sure(accept(listener, NULL, NULL), "accept");
    int file = sure(open(path, O_WRONLY | O_CREAT | O_EXCL, 0644), path);
    sure(pipe(ends), "pipe");
    sure(fcntl(ends[1], F_SETPIPE_SZ, PIPE), "F_SETPIPE_SZ");
    sure(read(socket, header, sizeof header), "read");
    for (long came; (came = sure(splice(socket, NULL, ends[1], NULL, PIPE, SPLICE_F_MOVE), "splice in"));)
        while (came) came -= sure(splice(ends[0], NULL, file, NULL, came, SPLICE_F_MOVE), "splice out");
}

static void give(int socket, const char *path, const char *header) {
    struct stat about;
    int file = sure(open(path, O_RDONLY), path);
    sure(fstat(file, &about), "fstat");
    sure(write(socket, header, strlen(header)), "write");
    usleep(PAUSE_US);
    for (off_t left = about.st_size; left;) left -= sure(sendfile(socket, file, NULL, left < STEP ? left : STEP), "sendfile");
    sure(shutdown(socket, SHUT_WR), "shutdown");
    sure(read(socket, &about, 1), "read");
}

int main(int count, char **words) {
    if (count < 4) return 2;
    int giving = count > 4, on = 1, fd = sure(socket(AF_INET, SOCK_STREAM, 0), "socket");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (giving) {
        sure(connect(fd, (void *)&at, sizeof at), "connect");
        give(fd, words[3], words[4]);
    } else {
        sure(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
        sure(bind(fd, (void *)&at, sizeof at), "bind");
        sure(listen(fd, 1), "listen");
        take(fd, words[3]);
    }
}
