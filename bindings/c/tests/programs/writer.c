/* Publishes as fast as it can until it is killed: writer NAME GENERATION. Says the number of its first line.
 *
 * A line is its generation, and bytes that check themselves, of a length that the number decides. */
#include <unistd.h>

#include "check.h"

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    end_with_parent();
    uint64_t generation = strtoull(argv[2], NULL, 10);
    mbx_writer *writer;
    char error[256];
    if (mbx_writer_open(&writer, argv[1], NULL, error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }
    printf("%llu\n", (unsigned long long)mbx_writer_number(writer) + 1);
    fflush(stdout);
    for (;;) {
        unsigned char line[2000];
        uint64_t number = mbx_writer_number(writer) + 1;
        size_t length = 8 + mix(number) % (sizeof line - 8);
        memcpy(line, &generation, 8);
        fill(line + 8, length - 8, number, generation);
        EQUAL(mbx_writer_publish(writer, line, length), 0);
        EQUAL(mbx_writer_number(writer), number);
    }
}
