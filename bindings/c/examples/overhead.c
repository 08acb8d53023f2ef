/* The C side of overhead.rs: the calls that it times, in loops. */
#include <errno.h>
#include <shm_mailbox.h>

int open_writer(const char *path, size_t capacity, mbx_writer **writer)
{
    mbx_options options = MBX_OPTIONS_INIT;
    options.capacity = capacity;
    return mbx_writer_open(writer, path, &options, NULL, 0);
}

int open_reader(const char *path, mbx_reader **reader)
{
    return mbx_reader_open(reader, path, NULL, NULL, 0);
}

/* Each says how many calls did what they should. */

size_t publish(mbx_writer *writer, mbx_reader *reader, char *line, size_t size, size_t calls)
{
    (void)reader;
    size_t good = 0;
    for (size_t i = 0; i < calls; i++)
        good += mbx_writer_publish(writer, line, size) == 0;
    return good;
}

size_t look(mbx_writer *writer, mbx_reader *reader, char *line, size_t size, size_t calls)
{
    (void)writer;
    size_t good = 0;
    for (size_t i = 0; i < calls; i++)
        good += mbx_reader_try_read(reader, line, size, NULL) == -EAGAIN;
    return good;
}

size_t latest(mbx_writer *writer, mbx_reader *reader, char *line, size_t size, size_t calls)
{
    (void)writer;
    size_t good = 0;
    for (size_t i = 0; i < calls; i++)
        good += mbx_reader_latest(reader, line, size, NULL) == (ssize_t)size;
    return good;
}

size_t publish_and_read(mbx_writer *writer, mbx_reader *reader, char *line, size_t size, size_t calls)
{
    size_t good = 0;
    for (size_t i = 0; i < calls; i++) {
        mbx_writer_publish(writer, line, size);
        good += mbx_reader_read(reader, line, size, NULL, -1) == (ssize_t)size;
    }
    return good;
}
