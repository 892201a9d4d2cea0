/* meter REPORT COMMAND...: runs a command and writes what it cost, with all its children, into REPORT:
 *   start end (seconds, monotonic clock)  user system (CPU seconds)  peak (KiB of the largest process)  exit code
 * It is in C because the peak of a process counts from before its exec: a large parent would be measured instead. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;

static void pass_on(int number) { kill(child, number); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec / 1e6; }

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    double start = now();
    child = fork();
    if (child < 0) return 2;
    if (child == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    struct sigaction passing = {.sa_handler = pass_on};
    sigaction(SIGINT, &passing, NULL);
    sigaction(SIGTERM, &passing, NULL);

    int status;
    struct rusage cost;
    while (wait4(child, &status, 0, &cost) < 0)
        if (errno != EINTR) return 2;
    double end = now();

    FILE *report = fopen(argv[1], "w");
    if (!report) return 2;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    fprintf(report, "%.6f %.6f %.6f %.6f %ld %d\n", start, end, seconds(cost.ru_utime), seconds(cost.ru_stime), cost.ru_maxrss, code);
    return fclose(report) ? 2 : code;
}
