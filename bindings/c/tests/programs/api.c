/* Everything in one process (and its forked children): api, with an empty directory as MAILBOX_DIR.
 *
 * Each error number of the header is brought about as it would happen. */
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static char error[256];

static mbx_writer *write_to(const char *name)
{
    mbx_writer *writer = NULL;
    if (mbx_writer_open(&writer, name, NULL, error, sizeof error) != 0)
        fprintf(stderr, "%s\n", error);
    CHECK(writer != NULL);
    EQUAL(strlen(error), 0);
    return writer;
}

static mbx_reader *read_from(const char *name, uint32_t flags)
{
    mbx_options options = MBX_OPTIONS_INIT;
    options.flags = flags;
    mbx_reader *reader = NULL;
    if (mbx_reader_open(&reader, name, &options, error, sizeof error) != 0)
        fprintf(stderr, "%s\n", error);
    CHECK(reader != NULL);
    return reader;
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* The path of a file in the directory. */
static const char *in_dir(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", getenv("MAILBOX_DIR"), name);
    return path;
}

static void put(const char *name, off_t at, const void *bytes, size_t length)
{
    int file = open(in_dir(name), O_WRONLY);
    CHECK(file >= 0);
    EQUAL(pwrite(file, bytes, length, at), (ssize_t)length);
    close(file);
}

static uint64_t get(const char *name, off_t at, size_t length)
{
    uint64_t value = 0;
    int file = open(in_dir(name), O_RDONLY);
    CHECK(file >= 0);
    EQUAL(pread(file, &value, length, at), (ssize_t)length);
    close(file);
    return value;
}

static void lines_come_and_are_counted(void)
{
    mbx_writer *writer = write_to("lines");
    mbx_reader *reader = read_from("lines", 0);
    char line[100];
    size_t length = 77;

    EQUAL(mbx_writer_number(writer), 0);
    EQUAL(mbx_writer_capacity(writer), 4096);
    EQUAL(mbx_reader_number(reader), 0);
    EQUAL(mbx_reader_missed(reader), 0);
    EQUAL(mbx_reader_age(reader), -ENODATA);
    EQUAL(mbx_reader_try_read(reader, line, sizeof line, &length), -EAGAIN);
    EQUAL(mbx_reader_latest(reader, line, sizeof line, &length), -EAGAIN);
    EQUAL(length, 77); /* untouched */
    EQUAL(mbx_reader_writer_state(reader), MBX_WRITER_ALIVE);

    EQUAL(mbx_writer_publish(writer, "12:00", 5), 0);
    EQUAL(mbx_writer_number(writer), 1);
    EQUAL(mbx_reader_try_read(reader, line, sizeof line, &length), 5);
    EQUAL(length, 5);
    EQUAL(memcmp(line, "12:00", 5), 0);
    EQUAL(mbx_reader_number(reader), 1);
    EQUAL(mbx_reader_try_read(reader, line, sizeof line, NULL), -EAGAIN);
    EQUAL(mbx_reader_latest(reader, line, sizeof line, NULL), 5);
    EQUAL(mbx_reader_number(reader), 1);

    for (int i = 0; i < 3; i++)
        EQUAL(mbx_writer_publish(writer, &i, sizeof i), 0);
    EQUAL(mbx_reader_read(reader, line, sizeof line, NULL, -1), sizeof(int));
    EQUAL(line[0], 2);
    EQUAL(mbx_reader_number(reader), 4);
    EQUAL(mbx_reader_missed(reader), 2);

    /* An empty line is a line. */
    EQUAL(mbx_writer_publish(writer, NULL, 0), 0);
    length = 77;
    EQUAL(mbx_reader_read(reader, NULL, 0, &length, 0), 0);
    EQUAL(length, 0);
    EQUAL(mbx_reader_number(reader), 5);
    EQUAL(mbx_reader_missed(reader), 0);

    EQUAL(mbx_writer_check(writer), 0);
    mbx_writer_close(writer);
    EQUAL(mbx_reader_writer_state(reader), MBX_WRITER_GONE);

    /* The next writer goes on with the next number, and the reader with it. */
    writer = write_to("lines");
    EQUAL(mbx_writer_number(writer), 5);
    EQUAL(mbx_writer_publish(writer, "again", 5), 0);
    EQUAL(mbx_reader_read(reader, line, sizeof line, NULL, -1), 5);
    EQUAL(mbx_reader_number(reader), 6);
    mbx_reader *late = read_from("lines", MBX_SKIP_CURRENT);
    EQUAL(mbx_reader_try_read(late, line, sizeof line, NULL), -EAGAIN);
    EQUAL(mbx_reader_latest(late, line, sizeof line, NULL), 5);
    mbx_reader_close(late);
    mbx_writer_close(writer);
    mbx_reader_close(reader);
}

static void too_small_a_buffer_loses_no_line(void)
{
    mbx_writer *writer = write_to("small");
    mbx_reader *reader = read_from("small", 0);
    char line[10] = "..........";
    EQUAL(mbx_writer_publish(writer, "0123456789", 10), 0);
    for (size_t size = 0; size < 10; size++) {
        size_t length = 0;
        EQUAL(mbx_reader_try_read(reader, line, size, &length), -EMSGSIZE);
        EQUAL(length, 10);
        EQUAL(mbx_reader_read(reader, line, size, NULL, -1), -EMSGSIZE);
        EQUAL(mbx_reader_latest(reader, line, size, &length), -EMSGSIZE);
        CHECK(strstr(mbx_strerror(reader, -EMSGSIZE), "has 10 bytes") != NULL);
        CHECK(strstr(mbx_strerror(reader, EMSGSIZE), "small") != NULL);
        EQUAL(mbx_reader_number(reader), 0);
    }
    EQUAL(memcmp(line, "..........", 10), 0);
    EQUAL(mbx_reader_try_read(reader, line, sizeof line, NULL), 10);
    EQUAL(memcmp(line, "0123456789", 10), 0);
    EQUAL(mbx_reader_number(reader), 1);

    /* The writer's side of it. */
    char *long_line = calloc(1, 10000);
    EQUAL(mbx_writer_publish(writer, long_line, 10000), -EMSGSIZE);
    CHECK(strstr(mbx_strerror(writer, -EMSGSIZE), "10000 bytes") != NULL);
    EQUAL(mbx_writer_publish(writer, long_line, SIZE_MAX), -EMSGSIZE);
    EQUAL(mbx_writer_number(writer), 1);
    EQUAL(mbx_writer_grow(writer, 10000), 0);
    CHECK(mbx_writer_capacity(writer) >= 10000);
    EQUAL(mbx_writer_publish(writer, long_line, 10000), 0);
    EQUAL(mbx_reader_try_read(reader, long_line, 10000, NULL), 10000);
    EQUAL(mbx_writer_grow(writer, SIZE_MAX), -EINVAL);
    EQUAL(mbx_writer_grow(writer, (size_t)1 << 40), -ENOSPC);
    EQUAL(mbx_writer_publish(writer, "still", 5), 0);
    free(long_line);
    mbx_writer_close(writer);
    mbx_reader_close(reader);
}

static void time_runs_out(void)
{
    mbx_writer *writer = write_to("time");
    mbx_reader *reader = read_from("time", 0);
    char line[10];
    int64_t started = now();
    EQUAL(mbx_reader_read(reader, line, sizeof line, NULL, 0), -ETIMEDOUT);
    EQUAL(mbx_reader_read(reader, line, sizeof line, NULL, 30 * 1000 * 1000), -ETIMEDOUT);
    CHECK(now() - started >= 30 * 1000 * 1000);
    EQUAL(mbx_reader_read(reader, line, sizeof line, NULL, -2), -EINVAL);
    EQUAL(mbx_reader_read(reader, line, sizeof line, NULL, INT64_MIN), -EINVAL);
    CHECK(strcmp(mbx_strerror(reader, -ETIMEDOUT), "nothing new came in time") == 0);

    /* One that comes in time, from another process. */
    pid_t child = fork();
    if (child == 0) {
        mbx_reader *ready = read_from("time", 0);
        EQUAL(mbx_reader_read(ready, line, sizeof line, NULL, INT64_MAX), 4);
        mbx_reader_close(ready);
        mbx_reader_close(reader);
        mbx_writer_close(writer);
        _exit(0);
    }
    usleep(20 * 1000);
    EQUAL(mbx_writer_publish(writer, "line", 4), 0);
    int status;
    EQUAL(waitpid(child, &status, 0), child);
    EQUAL(status, 0);
    mbx_writer_close(writer);

    mbx_options options = MBX_OPTIONS_INIT;
    options.flags = MBX_TIMESTAMPS;
    EQUAL(mbx_writer_open(&writer, "time", &options, NULL, 0), 0);
    EQUAL(mbx_writer_publish(writer, "line", 4), 0);
    usleep(1000);
    EQUAL(mbx_reader_read(reader, line, sizeof line, NULL, -1), 4);
    CHECK(mbx_reader_age(reader) >= 1000 * 1000);
    mbx_writer_close(writer);
    mbx_reader_close(reader);
}

static void one_poll_waits_for_two(void)
{
    /* Descriptors before there are mailboxes. */
    mbx_reader *readers[2] = { read_from("left", MBX_WAIT_FOR_MAILBOX), read_from("right", MBX_WAIT_FOR_MAILBOX) };
    struct pollfd polled[2] = { { mbx_reader_fd(readers[0]), POLLIN, 0 }, { mbx_reader_fd(readers[1]), POLLIN, 0 } };
    CHECK(polled[0].fd >= 0 && polled[1].fd >= 0);
    EQUAL(mbx_reader_writer_state(readers[0]), MBX_WRITER_UNKNOWN);
    int go[2];
    EQUAL(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        mbx_writer *writers[2] = { write_to("left"), write_to("right") };
        for (char i = 0; i < 20; i++) {
            EQUAL(mbx_writer_publish(writers[i % 2], &i, 1), 0);
            char byte;
            EQUAL(read(go[0], &byte, 1), 1); /* not the next before it was seen */
        }
        for (int i = 0; i < 2; i++) {
            mbx_writer_close(writers[i]);
            mbx_reader_close(readers[i]);
        }
        _exit(0);
    }
    for (char expected = 0; expected < 20;) {
        CHECK(poll(polled, 2, 60 * 1000) > 0);
        for (int i = 0; i < 2; i++) {
            if (polled[i].revents == 0)
                continue;
            char line[10];
            ssize_t length;
            while ((length = mbx_reader_try_read(readers[i], line, sizeof line, NULL)) >= 0) {
                EQUAL(length, 1);
                EQUAL(line[0], expected);
                EQUAL(i, expected % 2);
                expected++;
                EQUAL(write(go[1], "", 1), 1);
            }
            EQUAL(length, -EAGAIN);
            EQUAL(mbx_reader_fd(readers[i]), polled[i].fd);
        }
    }
    int status;
    EQUAL(waitpid(child, &status, 0), child);
    EQUAL(status, 0);

    /* Nothing new: what is left are the ends of time slices, ten a second. */
    int quiet = 0;
    for (int i = 0; i < 1000 && !quiet; i++) {
        char line[10];
        EQUAL(mbx_reader_try_read(readers[0], line, sizeof line, NULL), -EAGAIN);
        quiet = poll(polled, 1, 0) == 0;
    }
    CHECK(quiet);
    mbx_reader_close(readers[0]);
    mbx_reader_close(readers[1]);
    close(go[0]);
    close(go[1]);
}

static void a_forked_child_is_not_the_writer(void)
{
    mbx_writer *writer = write_to("fork");
    mbx_reader *reader = read_from("fork", 0);
    EQUAL(mbx_writer_publish(writer, "parent", 6), 0);
    pid_t child = fork();
    if (child == 0) {
        char line[10];
        EQUAL(mbx_writer_publish(writer, "child", 5), -ECHILD);
        CHECK(strstr(mbx_strerror(writer, -ECHILD), "forked") != NULL);
        EQUAL(mbx_writer_grow(writer, 100000), -ECHILD);
        EQUAL(mbx_writer_check(writer), -ECHILD);
        mbx_writer_close(writer);
        mbx_writer *own;
        EQUAL(mbx_writer_open(&own, "fork", NULL, NULL, 0), -EBUSY);
        EQUAL(mbx_reader_read(reader, line, sizeof line, NULL, -1), 6);
        mbx_reader_close(reader);
        _exit(0);
    }
    int status;
    EQUAL(waitpid(child, &status, 0), child);
    EQUAL(status, 0);
    EQUAL(mbx_writer_publish(writer, "parent again", 12), 0);
    EQUAL(mbx_writer_number(writer), 2);
    mbx_writer_close(writer);
    mbx_reader_close(reader);
}

static void every_error_has_its_number_and_text(void)
{
    mbx_writer *writer = write_to("errors"), *second = writer;
    mbx_reader *reader = NULL;
    char line[100];

    EQUAL(mbx_writer_open(&second, "errors", NULL, error, sizeof error), -EBUSY);
    CHECK(second == NULL && strstr(error, "errors") != NULL && strstr(error, "another") != NULL);
    EQUAL(mbx_reader_open(&reader, "nobody", NULL, error, sizeof error), -ENOENT);
    CHECK(reader == NULL && strstr(error, "there is no such mailbox") != NULL);
    EQUAL(mbx_writer_open(&second, "/no/such/directory/x", NULL, error, sizeof error), -ENOENT);
    EQUAL(mbx_reader_open(&reader, "x.lock", NULL, error, sizeof error), -EINVAL);
    CHECK(strstr(error, "belong to the files") != NULL);
    EQUAL(mbx_writer_open(&second, "", NULL, NULL, 0), -EINVAL);

    /* Texts of every length end within their buffers. */
    for (size_t size = 1; size < sizeof error; size++) {
        memset(error, '.', sizeof error);
        EQUAL(mbx_reader_open(&reader, "nobody", NULL, error, size), -ENOENT);
        CHECK(memchr(error, 0, size) != NULL && error[size] == '.');
    }

    /* Removed: what `mailbox rm --force` does. */
    EQUAL(mbx_writer_publish(writer, "line", 4), 0);
    uint32_t one = 1;
    put("errors", 256, &one, sizeof one);
    EQUAL(unlink(in_dir("errors")), 0);
    for (int i = 0; i < 3; i++)
        EQUAL(mbx_writer_publish(writer, "line", 4), -ESTALE);
    CHECK(strstr(mbx_strerror(writer, -ESTALE), "removed") != NULL);
    mbx_writer_close(writer);

    /* Damaged: the first bank's message is of another number. */
    writer = write_to("damaged");
    reader = read_from("damaged", 0);
    EQUAL(mbx_writer_publish(writer, "line", 4), 0);
    uint64_t wrong = 200;
    put("damaged", (off_t)(2 * get("damaged", 12, 4) + get("damaged", 40, 8)), &wrong, sizeof wrong);
    EQUAL(mbx_reader_try_read(reader, line, sizeof line, NULL), -EUCLEAN);
    EQUAL(mbx_reader_latest(reader, line, sizeof line, NULL), -EUCLEAN);
    EQUAL(mbx_reader_read(reader, line, sizeof line, NULL, -1), -EUCLEAN);
    CHECK(strstr(mbx_strerror(reader, -EUCLEAN), "damaged") != NULL);
    mbx_reader_close(reader);
    mbx_writer_close(writer);
    EQUAL(mbx_writer_open(&writer, "damaged", NULL, error, sizeof error), -EUCLEAN);

    /* Not a mailbox, one of another layout, one that anybody may write. */
    mbx_writer_close(write_to("strange"));
    uint32_t version = 99;
    put("strange", 8, &version, sizeof version);
    EQUAL(mbx_reader_open(&reader, "strange", NULL, NULL, 0), -EPROTONOSUPPORT);
    put("strange", 0, "what?", 5);
    EQUAL(mbx_reader_open(&reader, "strange", NULL, NULL, 0), -EBADMSG);
    mbx_writer_close(write_to("open"));
    EQUAL(chmod(in_dir("open"), 0666), 0);
    EQUAL(mbx_reader_open(&reader, "open", NULL, error, sizeof error), -EPERM);

    /* No rights: for root, in a child that gives up its own. */
    mbx_writer_close(write_to("secret"));
    EQUAL(chmod(in_dir("secret"), 0), 0);
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0)
            EQUAL(setuid(65534), 0);
        EQUAL(mbx_reader_open(&reader, "secret", NULL, error, sizeof error), -EACCES);
        _exit(0);
    }
    int status;
    EQUAL(waitpid(child, &status, 0), child);
    EQUAL(status, 0);

    /* No descriptors left. */
    reader = read_from("lines", 0);
    struct rlimit limit, none;
    EQUAL(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    EQUAL(setrlimit(RLIMIT_NOFILE, &none), 0);
    EQUAL(mbx_reader_fd(reader), -EMFILE);
    CHECK(strstr(mbx_strerror(reader, -EMFILE), "descriptor") != NULL);
    EQUAL(mbx_writer_open(&writer, "more", NULL, error, sizeof error), -EMFILE);
    EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK(mbx_reader_fd(reader) >= 0);

    /* Texts without detail. */
    CHECK(strcmp(mbx_strerror(reader, -EAGAIN), "nothing new") == 0);
    CHECK(strcmp(mbx_strerror(NULL, -EBUSY), "another writer has the mailbox") == 0);
    CHECK(strcmp(mbx_strerror(NULL, 0), "no error") == 0);
    CHECK(strcmp(mbx_strerror(NULL, -EXDEV), strerror(EXDEV)) == 0);
    CHECK(mbx_strerror(NULL, INT32_MIN) != NULL && mbx_strerror(reader, 123456) != NULL);
    mbx_reader_close(reader);
}

static void options_are_checked_and_serve(void)
{
    mbx_writer *writer;
    mbx_reader *reader;
    mbx_options options = MBX_OPTIONS_INIT;
    EQUAL(mbx_writer_open(&writer, "defaults", &options, error, sizeof error), 0);
    EQUAL(mbx_writer_capacity(writer), 4096);
    mbx_writer_close(writer);

    options.capacity = 100;
    options.mode = 0644;
    options.banks = 8;
    options.flags = MBX_ALWAYS_WAKE | MBX_OWNER;
    options.owner = geteuid();
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", in_dir("sub"));
    EQUAL(mkdir(dir, 0700), 0);
    options.dir = dir;
    EQUAL(mbx_writer_open(&writer, "box", &options, error, sizeof error), 0);
    EQUAL(mbx_writer_capacity(writer), 100);
    EQUAL(get("sub/box", 48, 4), 8);
    struct stat stat_;
    EQUAL(stat(in_dir("sub/box"), &stat_), 0);
    EQUAL(stat_.st_mode & 0777, 0644);
    EQUAL(mbx_reader_open(&reader, "box", &options, error, sizeof error), 0);
    mbx_reader_close(reader);
    mbx_writer_close(writer);

    mbx_options bad = options;
    bad.mode = 0777;
    EQUAL(mbx_writer_open(&writer, "box", &bad, error, sizeof error), -EINVAL);
    CHECK(strstr(error, "0777") != NULL);
    bad = options;
    bad.banks = 3;
    EQUAL(mbx_writer_open(&writer, "box", &bad, NULL, 0), -EINVAL);
    bad = options;
    bad.mode = 0600; /* the mailbox has another */
    EQUAL(mbx_writer_open(&writer, "box", &bad, NULL, 0), -EINVAL);
    bad = options;
    bad.flags = 1u << 31;
    EQUAL(mbx_reader_open(&reader, "box", &bad, error, sizeof error), -EINVAL);
    CHECK(strstr(error, "0x80000000") != NULL);
    size_t sizes[] = { 0, sizeof bad - 1, SIZE_MAX };
    for (int i = 0; i < 3; i++) {
        bad = options;
        bad.size = sizes[i];
        EQUAL(mbx_reader_open(&reader, "box", &bad, error, sizeof error), -EINVAL);
        CHECK(strstr(error, "MBX_OPTIONS_INIT") != NULL);
    }

    /* Those of a later version: fine while they ask for nothing that is not known. */
    struct {
        mbx_options known;
        uint64_t later;
    } later = { options, 0 };
    later.known.size = sizeof later;
    EQUAL(mbx_reader_open(&reader, "box", &later.known, NULL, 0), 0);
    mbx_reader_close(reader);
    later.later = 1;
    EQUAL(mbx_reader_open(&reader, "box", &later.known, error, sizeof error), -E2BIG);
}

static void null_pointers_are_errors(void)
{
    mbx_writer *writer = write_to("null");
    mbx_reader *reader = read_from("null", 0);
    EQUAL(mbx_writer_publish(writer, "x", 1), 0);
    char line[10];
    size_t length;
    EQUAL(mbx_writer_open(NULL, "null", NULL, error, sizeof error), -EINVAL);
    CHECK(strlen(error) > 0);
    EQUAL(mbx_writer_open(NULL, NULL, NULL, NULL, 100), -EINVAL);
    EQUAL(mbx_writer_open(NULL, NULL, NULL, error, 0), -EINVAL);
    mbx_writer *other;
    EQUAL(mbx_writer_open(&other, NULL, NULL, NULL, 0), -EINVAL);
    CHECK(other == NULL);
    EQUAL(mbx_writer_publish(NULL, "x", 1), -EINVAL);
    EQUAL(mbx_writer_publish(writer, NULL, 1), -EINVAL);
    CHECK(strstr(mbx_strerror(writer, -EINVAL), "null pointer") != NULL);
    EQUAL(mbx_writer_number(writer), 1);
    EQUAL(mbx_writer_grow(NULL, 1), -EINVAL);
    EQUAL(mbx_writer_check(NULL), -EINVAL);
    EQUAL(mbx_writer_number(NULL), 0);
    EQUAL(mbx_writer_capacity(NULL), 0);
    mbx_writer_close(NULL);
    mbx_reader *another;
    EQUAL(mbx_reader_open(NULL, "null", NULL, NULL, 0), -EINVAL);
    EQUAL(mbx_reader_open(&another, NULL, NULL, NULL, 0), -EINVAL);
    EQUAL(mbx_reader_try_read(NULL, line, sizeof line, &length), -EINVAL);
    EQUAL(mbx_reader_try_read(reader, NULL, 10, &length), -EINVAL);
    EQUAL(mbx_reader_read(NULL, line, sizeof line, &length, -1), -EINVAL);
    EQUAL(mbx_reader_read(reader, NULL, 10, NULL, -1), -EINVAL);
    EQUAL(mbx_reader_latest(NULL, line, sizeof line, &length), -EINVAL);
    EQUAL(mbx_reader_latest(reader, NULL, 10, &length), -EINVAL);
    EQUAL(mbx_reader_fd(NULL), -EINVAL);
    EQUAL(mbx_reader_number(NULL), 0);
    EQUAL(mbx_reader_missed(NULL), 0);
    EQUAL(mbx_reader_age(NULL), -EINVAL);
    EQUAL(mbx_reader_writer_state(NULL), -EINVAL);
    mbx_reader_close(NULL);
    EQUAL(mbx_reader_try_read(reader, line, sizeof line, NULL), 1);
    mbx_writer_close(writer);
    mbx_reader_close(reader);
}

int main(void)
{
    end_with_parent();
    EQUAL(mbx_abi_version(), MBX_ABI_VERSION);
    lines_come_and_are_counted();
    too_small_a_buffer_loses_no_line();
    time_runs_out();
    one_poll_waits_for_two();
    a_forked_child_is_not_the_writer();
    every_error_has_its_number_and_text();
    options_are_checked_and_serve();
    null_pointers_are_errors();
    puts("all is as the header says");
    return 0;
}
