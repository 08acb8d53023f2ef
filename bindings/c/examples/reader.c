/* Prints each new line of a mailbox, however long, as it comes; may be started first: reader NAME [SECONDS]
 *
 * With SECONDS it ends when nothing new has come for so long. */
#include <errno.h>
#include <shm_mailbox.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 3) {
        fprintf(stderr, "usage: %s NAME [SECONDS]\n", argv[0]);
        return 2;
    }
    int64_t timeout = argc == 3 ? (int64_t)(strtod(argv[2], NULL) * 1e9) : -1;

    mbx_options options = MBX_OPTIONS_INIT;
    options.flags = MBX_WAIT_FOR_MAILBOX;
    mbx_reader *reader;
    char error[256];
    if (mbx_reader_open(&reader, argv[1], &options, error, sizeof error) != 0) {
        fprintf(stderr, "%s: %s\n", argv[0], error);
        return 1;
    }

    size_t size = 64;
    char *line = malloc(size);
    ssize_t result = 0;
    while (line != NULL) {
        size_t length;
        result = mbx_reader_read(reader, line, size, &length, timeout);
        if (result == -EMSGSIZE) { /* the line is still there: make room for it */
            char *larger = realloc(line, length);
            if (larger == NULL)
                break;
            line = larger;
            size = length;
            continue;
        }
        if (result < 0)
            break;
        printf("%.*s", (int)length, line);
        if (mbx_reader_missed(reader) > 0)
            printf("  (%llu missed)", (unsigned long long)mbx_reader_missed(reader));
        putchar('\n');
        if (fflush(stdout) != 0)
            break;
    }

    int failed = 0;
    if (result < 0 && result != -ETIMEDOUT) {
        fprintf(stderr, "%s: %s\n", argv[0], mbx_strerror(reader, (int)result));
        failed = 1;
    }
    free(line);
    mbx_reader_close(reader);
    return failed;
}
