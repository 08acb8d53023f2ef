/* Waits for two mailboxes and for standard input at once; a line there, or its end, ends it: poll NAME NAME */
#include <errno.h>
#include <poll.h>
#include <shm_mailbox.h>
#include <stdio.h>

/* Prints what is new, and says 0, or a negative error number. */
static int print_new(const char *name, mbx_reader *reader)
{
    char line[4096];
    ssize_t length;
    /* Until there is nothing new: only that takes the event from the descriptor. */
    while ((length = mbx_reader_try_read(reader, line, sizeof line, NULL)) >= 0)
        printf("%s: %.*s\n", name, (int)length, line);
    fflush(stdout);
    return length == -EAGAIN ? 0 : (int)length;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s NAME NAME\n", argv[0]);
        return 2;
    }

    mbx_options options = MBX_OPTIONS_INIT;
    options.flags = MBX_WAIT_FOR_MAILBOX;
    mbx_reader *readers[2] = { NULL, NULL };
    struct pollfd polled[3] = { { 0, POLLIN, 0 }, { 0, POLLIN, 0 }, { 0, POLLIN, 0 } };
    int failed = 0;
    for (int i = 0; i < 2 && !failed; i++) {
        char error[256];
        if (mbx_reader_open(&readers[i], argv[i + 1], &options, error, sizeof error) != 0) {
            fprintf(stderr, "%s: %s\n", argv[0], error);
            failed = 1;
        } else if ((polled[i].fd = mbx_reader_fd(readers[i])) < 0) {
            fprintf(stderr, "%s: %s\n", argv[0], mbx_strerror(readers[i], polled[i].fd));
            failed = 1;
        }
    }

    while (!failed && polled[2].revents == 0) {
        if (poll(polled, 3, -1) < 0 && errno != EINTR) {
            perror("poll");
            failed = 1;
        }
        for (int i = 0; i < 2 && !failed; i++) {
            int result = polled[i].revents != 0 ? print_new(argv[i + 1], readers[i]) : 0;
            if (result < 0) {
                fprintf(stderr, "%s: %s\n", argv[0], mbx_strerror(readers[i], result));
                failed = 1;
            }
        }
    }

    mbx_reader_close(readers[0]);
    mbx_reader_close(readers[1]);
    return failed;
}
