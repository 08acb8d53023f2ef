/* Reads what writer.c writes and checks every line, in one of three ways: reader NAME read|try_read|latest LINES.
 * Ends after so many lines, or at one of generation 2^64 - 1. Says how many lines it has checked. */
#include <unistd.h>

#include "check.h"

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    end_with_parent();
    uint64_t lines = strtoull(argv[3], NULL, 10);
    mbx_reader *reader;
    char error[256];
    if (mbx_reader_open(&reader, argv[1], NULL, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    puts("reading");
    fflush(stdout);

    uint64_t checked = 0, held = 0, missed = 0, first = 0, generation = 0;
    while (checked < lines && generation != UINT64_MAX) {
        unsigned char line[2000];
        size_t length = SIZE_MAX;
        ssize_t result;
        if (strcmp(argv[2], "read") == 0)
            result = mbx_reader_read(reader, line, sizeof line, &length, 50 * 1000 * 1000);
        else if (strcmp(argv[2], "try_read") == 0)
            result = mbx_reader_try_read(reader, line, sizeof line, &length);
        else
            result = mbx_reader_latest(reader, line, sizeof line, &length);
        if (result == -EAGAIN || result == -ETIMEDOUT)
            continue;
        if (result < 0)
            fprintf(stderr, "%s\n", mbx_strerror(reader, (int)result));
        CHECK(result >= 8 && length == (size_t)result);

        uint64_t number = mbx_reader_number(reader);
        if (number == held && strcmp(argv[2], "latest") == 0)
            continue;
        CHECK(number > held);
        if (checked == 0)
            first = number;
        else
            EQUAL(number, held + 1 + mbx_reader_missed(reader));
        missed += mbx_reader_missed(reader);
        held = number;

        uint64_t writer;
        memcpy(&writer, line, 8);
        CHECK(writer >= generation); /* else a line of a writer that had been replaced */
        generation = writer;
        if (generation != UINT64_MAX)
            EQUAL(length, 8 + mix(number) % (sizeof line - 8));
        CHECK(is_line(line + 8, length - 8, number, generation)); /* else a torn read */
        checked++;
    }
    EQUAL(first + missed + checked - 1, held);
    mbx_reader_close(reader);
    printf("%llu\n", (unsigned long long)checked);
    return 0;
}
