/* Publishes the time, ten times a second, until it is ended: writer NAME */
#define _POSIX_C_SOURCE 200809L
#include <shm_mailbox.h>
#include <stdio.h>
#include <time.h>

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s NAME\n", argv[0]);
        return 2;
    }

    mbx_options options = MBX_OPTIONS_INIT;
    options.flags = MBX_TIMESTAMPS; /* so that readers can tell how old a line is */
    mbx_writer *writer;
    char error[256];
    if (mbx_writer_open(&writer, argv[1], &options, error, sizeof error) != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error);
        return 1;
    }

    for (;;) {
        char line[64];
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        size_t length = strftime(line, sizeof line, "%H:%M:%S", localtime(&now.tv_sec));
        length += (size_t)snprintf(line + length, sizeof line - length, ".%03ld", now.tv_nsec / 1000000);

        int result = mbx_writer_publish(writer, line, length);
        if (result != 0) {
            fprintf(stderr, "%s: %s\n", argv[0], mbx_strerror(writer, result));
            mbx_writer_close(writer);
            return 1;
        }
        nanosleep(&(struct timespec){ .tv_nsec = 100 * 1000 * 1000 }, NULL);
    }
}
