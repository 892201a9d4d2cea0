/* A link between two network namespaces, in user space, for kernels without netem: for each direction a rate with a queue that
 * drops at its tail, a delay with jitter that never reorders, and random loss.
 *
 *   link NAMESPACE NAMESPACE DEVICE MBIT DELAY_US JITTER_US LOSS_PERCENT QUEUE_KIB
 *
 * Without loss, segments that the kernel would cut for a network card cross whole, and count as what they would be cut into:
 * a packet for each 1,500 bytes at 1 Gbit/s would measure this program.
 *
 * Says "ready" once there is a TUN device of that name in both; addresses are the caller's. Ends with SIGTERM. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 8192, LONGEST = 70000, ETHERNET = 38, HEADERS = 40 };

struct packet { uint64_t due; int len; unsigned char *bytes; };
struct direction { struct packet queue[SLOTS]; unsigned head, tail; uint64_t line_free, last_due; };

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static double chance(void) {
    static uint64_t state = 0x9e3779b97f4a7c15ull;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (state >> 11) / 9007199254740992.0;
}

static int or_end(int value, const char *what) {
    if (value < 0) { perror(what); exit(1); }
    return value;
}

static int tun(const char *namespace, const char *device, int whole) {
    char path[256];
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int there = or_end(open(path, O_RDONLY), path);
    or_end(setns(there, CLONE_NEWNET), path);
    close(there);
    int fd = or_end(open("/dev/net/tun", O_RDWR | O_NONBLOCK), "tun");
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | (whole ? IFF_VNET_HDR : 0)};
    strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    or_end(ioctl(fd, TUNSETIFF, &request), "TUNSETIFF");
    if (whole) or_end(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6), "TUNSETOFFLOAD");
    return fd;
}

/* Bytes that a packet takes on the line. */
static double on_line(const unsigned char *bytes, int len, int whole) {
    if (!whole) return len + ETHERNET;
    const struct virtio_net_hdr *header = (const void *)bytes;
    int ip = len - (int)sizeof *header, segments = header->gso_size ? (ip - HEADERS + header->gso_size - 1) / header->gso_size : 1;
    if (segments < 1) segments = 1;
    return ip + segments * ETHERNET + (segments - 1) * HEADERS;
}

int main(int count, char **args) {
    if (count != 9) return fprintf(stderr, "usage: see the source\n"), 2;
    double bytes_each_ns = atof(args[4]) * 1e6 / 8e9, loss = atof(args[7]) / 100;
    int whole = loss == 0, fds[2] = {tun(args[1], args[3], whole), tun(args[2], args[3], whole)};
    uint64_t delay = atoll(args[5]) * 1000, jitter = atoll(args[6]) * 1000, queue = atoll(args[8]) * 1024;
    static struct direction directions[2];
    static unsigned char bytes[LONGEST];
    prctl(PR_SET_TIMERSLACK, 1);
    puts("ready");
    fflush(stdout);
    for (;;) {
        uint64_t t = now(), next = t + 1000000000;
        for (int i = 0; i < 2; i++) {
            struct direction *d = &directions[i];
            for (; d->head != d->tail && d->queue[d->head].due <= t; d->head = (d->head + 1) % SLOTS) {
                struct packet *p = &d->queue[d->head];
                if (write(fds[!i], p->bytes, p->len) < 0 && errno == EAGAIN) {
                    p->due = t + 20000;
                    break;
                }
                free(p->bytes);
            }
            if (d->head != d->tail && d->queue[d->head].due < next) next = d->queue[d->head].due;
        }
        struct pollfd polled[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
        t = now();
        uint64_t wait = next > t ? next - t : 0;
        struct timespec patience = {wait / 1000000000, wait % 1000000000};
        if (ppoll(polled, 2, &patience, NULL) <= 0) continue;
        for (int i = 0; i < 2; i++) {
            struct direction *d = &directions[i];
            for (int k = 0; k < 64 && polled[i].revents & POLLIN; k++) {
                int len = read(fds[i], bytes, sizeof bytes);
                if (len <= 0) break;
                t = now();
                uint64_t begin = d->line_free > t ? d->line_free : t;
                int full = (begin - t) * bytes_each_ns > queue || (d->tail + 1) % SLOTS == d->head;
                if (full || (loss > 0 && chance() < loss)) continue;
                d->line_free = begin + on_line(bytes, len, whole) / bytes_each_ns;
                uint64_t due = d->line_free + delay + (uint64_t)(2.0 * jitter * chance()) - jitter;
                struct packet *p = &d->queue[d->tail];
                d->last_due = p->due = due > d->last_due ? due : d->last_due;
                p->len = len, p->bytes = memcpy(malloc(len), bytes, len);
                d->tail = (d->tail + 1) % SLOTS;
            }
        }
    }
}
