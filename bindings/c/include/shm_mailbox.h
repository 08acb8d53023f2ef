/*
 * shm_mailbox.h: a mailbox is a named place in shared memory that holds one line, the newest.
 *
 * One writer publishes lines and never waits for anybody. Any number of readers, in any processes of the machine,
 * always get the newest one, whole; a line that nobody has read is replaced by the next. Readers block without using
 * the processor while there is nothing new, or poll a descriptor, or just look. Programs meet by a name in the file
 * system; either side may start first, be killed, and be started again. Linux, 64 bits.
 *
 *     mbx_writer *writer;
 *     char error[256];
 *     if (mbx_writer_open(&writer, "clock", NULL, error, sizeof error) != 0)
 *         errx(1, "%s", error);
 *     if (mbx_writer_publish(writer, "12:00", 5) != 0) ...
 *
 *     mbx_reader *reader;                              (in another program)
 *     if (mbx_reader_open(&reader, "clock", NULL, error, sizeof error) != 0)
 *         errx(1, "%s", error);
 *     char line[4096];
 *     ssize_t length;
 *     while ((length = mbx_reader_read(reader, line, sizeof line, NULL, -1)) >= 0)
 *         printf("%.*s\n", (int)length, line);
 *
 * Link with `pkg-config --cflags --libs shm_mailbox`. examples/ has whole programs.
 *
 * Errors: functions return 0 or a count, or, below zero, an error number of errno.h with its sign turned; `errno` itself
 * is not used. mbx_strerror has the text of the last error of a handle, with what was attempted, on which mailbox, and
 * why it failed. That there is nothing new (-EAGAIN), or that time ran out (-ETIMEDOUT), is ordinary. An error of the
 * system whose number has a meaning of its own here is -EIO instead. -ENOTRECOVERABLE, from any function, is a fault in
 * the library itself. A null pointer is -EINVAL, where the comment does not give it a meaning.
 *
 * Threads: a handle is for one thread at a time, any thread; different handles have nothing to do with each other.
 * There are no globals that a program can see, no callbacks, no signal handlers and no threads of the library's own.
 * Nothing here may be called from a signal handler.
 *
 * Fork: a child is not the writer, and has -ECHILD from publishing; it can close its copy of the handle, and does the
 * parent no harm by it. Readers go on in a child, apart from the parent's.
 *
 * Memory: where there is none for the few bytes of a handle or a text, the process ends, as every Rust program does.
 * Who may write the mailbox's file can truncate it, which ends its readers by SIGBUS (see `mode`).
 */


#ifndef SHM_MAILBOX_H
#define SHM_MAILBOX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** A mbx_options with nothing set. */
#define MBX_OPTIONS_INIT { sizeof(mbx_options), 0, 0, NULL, 0, 0, 0 }


/**
 * The version of the binary interface that this header describes: the number in the name `libshm_mailbox.so.1`. It
 * changes only if a program compiled for the former one would not work any more.
 */
#define MBX_ABI_VERSION 1

/**
 * Writer: lines carry the time at which they were published, so that readers can tell their age. Costs reading a clock
 * for every line, which takes longer than publishing.
 */
#define MBX_TIMESTAMPS 1

/**
 * Writer: wake readers who sleep with every line, asked or not. For readers that may not write the mailbox (see
 * `mode`), which otherwise look every 1 to 10 ms; costs a system call for every line.
 */
#define MBX_ALWAYS_WAKE 2

/**
 * Reader: pass over the line that is there when it is opened.
 */
#define MBX_SKIP_CURRENT 4

/**
 * Reader: open although there is no mailbox yet. The reader then finds nothing until there is one.
 */
#define MBX_WAIT_FOR_MAILBOX 8

/**
 * The field `owner` counts.
 */
#define MBX_OWNER 16

/**
 * Nobody has the mailbox for writing.
 */
#define MBX_WRITER_GONE 0

/**
 * A process has the mailbox for writing.
 */
#define MBX_WRITER_ALIVE 1

/**
 * It cannot be known: there is no mailbox, or this user may not look at its lock.
 */
#define MBX_WRITER_UNKNOWN 2

/**
 * A reader of a mailbox, one of any number.
 *
 * Gets the newest line, each at most once, in order; lines that were published in between are passed over and counted.
 * Goes on through restarts of the writer, growth, removal and re-creation of the mailbox.
 */
typedef struct mbx_reader mbx_reader;

/**
 * The one writer of a mailbox.
 *
 * Never waits for readers: a line that nobody has read is replaced by the next. Holds the mailbox until it is closed
 * or its process ends, however it ends; the last line stays, and the next writer goes on with the next number.
 */
typedef struct mbx_writer mbx_writer;

/**
 * What a mailbox is made and opened with, for writers and readers alike; what does not concern one is ignored.
 *
 * Begin with `mbx_options options = MBX_OPTIONS_INIT;` and set what should differ. Zero, in every field but `size`,
 * means the default. Later versions may add fields at the end; `size` tells the library which ones the program knows,
 * so that programs need not be compiled anew.
 */
typedef struct {
    /**
     * `sizeof (mbx_options)`.
     */
    size_t size;
    /**
     * `MBX_TIMESTAMPS` and others, joined by `|`.
     */
    uint32_t flags;
    /**
     * With `MBX_OWNER` in `flags`: a user, by number, who may own the mailbox besides ourselves and root. Where
     * neither `dir` nor the environment variable `MAILBOX_DIR` names a directory, also chooses that user's.
     */
    uint32_t owner;
    /**
     * The directory for names without `/`. NULL: the one that `MAILBOX_DIR` names, or else the user's own,
     * `/dev/shm/mailbox-<uid>`, which is made if it is missing; others must exist.
     */
    const char *dir;
    /**
     * Writer: most bytes in a line. A smaller mailbox is made larger, a larger one stays as it is. 0: as it is; 4096
     * for a new one.
     */
    size_t capacity;
    /**
     * Writer: permissions of the mailbox, 0600, 0640, 0644, 0660 or 0664 (octal). Who may write it is trusted; who may
     * only read it can neither change it nor delay the writer. One that differs from an existing mailbox's is an
     * error. 0: as it is; 0600 for a new one.
     */
    uint32_t mode;
    /**
     * Writer: copies of the line that a new mailbox has room for: 1, 2, 4 or 8. With 1, a reader may starve and a
     * writer killed in the middle of a line leaves none. 0: 4.
     */
    uint32_t banks;
} mbx_options;



#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the `MBX_ABI_VERSION` of the library that the program runs with, for those who load it by `dlopen`.
 *
 * Threads: any. Never blocks.
 */
uint32_t mbx_abi_version(void);

/**
 * Opens mailbox `name` for writing, and makes it if it is not there.
 *
 * A `name` with a `/` is a path; else it is a name in the directory of the options. `options` may be NULL: all
 * defaults. On success `*writer` is the new handle, which belongs to the caller until `mbx_writer_close`; else it is
 * NULL, and `error`, if it is not NULL, has the text of what went wrong, cut to `error_size` bytes with the NUL (256
 * are usually enough). Everything that is pointed to may be freed or changed afterwards.
 *
 * Returns 0, or
 *  - `-EBUSY`: another writer has the mailbox.
 *  - `-EINVAL`: a null pointer, a name that no mailbox can have, or options that contradict themselves or the mailbox
 *    that is there.
 *  - `-E2BIG`: the options ask for something that this version of the library does not know.
 *  - `-ENOENT`: there is no directory for it.
 *  - `-EACCES` and others of the system: no rights, no room (`-ENOSPC`), no descriptors (`-EMFILE`) ...
 *  - `-EBADMSG`, `-EPROTONOSUPPORT`, `-EUCLEAN`: what bears the name is not a mailbox, or not one of a layout that this
 *    version knows, or it is damaged.
 *  - `-EPERM`: the file or its directory is under the control of somebody who is not to be trusted.
 *
 * Threads: any. Reads the environment: no other thread may change that meanwhile. Blocks for 50 ms at most, if another
 * writer has the mailbox.
 */
int mbx_writer_open(mbx_writer **writer,
                    const char *name,
                    const mbx_options *options,
                    char *error,
                    size_t error_size);

/**
 * Publishes `length` bytes at `line`: from now on every read that begins finds this line or a newer one.
 *
 * Any bytes will do, and none: a line of length 0 is a line like others (`line` may then be NULL). The bytes belong to
 * the caller, who may change them as soon as this has returned.
 *
 * Returns 0, or
 *  - `-EMSGSIZE`: the line is longer than the capacity; see `mbx_writer_grow`.
 *  - `-ESTALE`: the mailbox was removed or taken over under this writer. Final: close it.
 *  - `-ECHILD`: this process was forked from the writer's and is not the writer.
 *  - `-EINVAL`: a null pointer.
 *  - others of the system, if files that strangers had removed could not be put back; that is tried again.
 *
 * Nothing was published, and the last line stays, if it fails.
 *
 * Threads: one at a time for each handle. Never blocks: it waits for nobody, and makes no system call while no reader
 * waits, but three with every 1024th line, to see whether the files still have their names. Only if strangers have
 * removed them does it put them back, and may wait 50 ms for that.
 */
int mbx_writer_publish(mbx_writer *writer,
                       const void *line,
                       size_t length);

/**
 * Makes the capacity at least `capacity` bytes, if it is less (and then at least doubles it, up to 64 MiB). Readers go
 * on without loss.
 *
 * Returns 0, or `-EINVAL` (more than any mailbox has, or a null pointer), `-ENOSPC`, `-EACCES` (owner and mode could
 * not be kept), `-ESTALE`, `-ECHILD`, or another error of the system: the mailbox is as it was.
 *
 * Threads: one at a time for each handle. Makes a file, and may take milliseconds for a large one.
 */
int mbx_writer_grow(mbx_writer *writer,
                    size_t capacity);

/**
 * Looks whether the files still have their names, and puts back what strangers have removed: for a writer that is idle
 * for long, as publishing looks by itself. Returns 0, or an error as `mbx_writer_publish` does.
 *
 * Threads: one at a time for each handle. May block for 50 ms, if there is something to put back.
 */
int mbx_writer_check(mbx_writer *writer);

/**
 * Returns the number of the newest line: 1 for the first of a mailbox, one more for each, also from writer to writer.
 * 0: there is none, or `writer` is NULL.
 *
 * Threads: one at a time for each handle. Never blocks.
 */
uint64_t mbx_writer_number(const mbx_writer *writer);

/**
 * Returns the most bytes that a line can have; 0 if `writer` is NULL.
 *
 * Threads: one at a time for each handle. Never blocks.
 */
size_t mbx_writer_capacity(const mbx_writer *writer);

/**
 * Closes the writer: another may open the mailbox now. The last line stays. NULL is none, and nothing happens.
 *
 * Ownership: the handle is no more, and neither are texts of `mbx_strerror` about it. Threads: one at a time for each
 * handle; nobody may be in a call with it. Does not block.
 */
void mbx_writer_close(mbx_writer *writer);

/**
 * Opens mailbox `name` for reading. See `mbx_writer_open` for the arguments.
 *
 * Returns 0, or
 *  - `-ENOENT`: there is no such mailbox; with `MBX_WAIT_FOR_MAILBOX` in the options, only if there is no directory.
 *  - `-EINVAL`, `-E2BIG`, `-EACCES`, `-EBADMSG`, `-EPROTONOSUPPORT`, `-EUCLEAN`, `-EPERM` and others of the system: as
 *    `mbx_writer_open`.
 *
 * Threads: any. Reads the environment: no other thread may change that meanwhile. Never blocks.
 */
int mbx_reader_open(mbx_reader **reader,
                    const char *name,
                    const mbx_options *options,
                    char *error,
                    size_t error_size);

/**
 * Reads the newest line that this reader has not returned before into the `size` bytes at `buffer`.
 *
 * Returns the bytes of the line, 0 for an empty one, or
 *  - `-EAGAIN`: nothing new.
 *  - `-EMSGSIZE`: the line has more than `size` bytes. It is not lost: the next read gives it, or a newer one, if the
 *    buffer is large enough by then. A capacity's worth is always enough.
 *  - `-EUCLEAN`: the mailbox is damaged.
 *  - `-EINVAL`: a null pointer (`buffer` may be one if `size` is 0).
 *  - what `mbx_reader_open` can say, if another file is under the name by now.
 *
 * If `length` is not NULL, the bytes of the line are put there, on success and with `-EMSGSIZE`. What is in the buffer
 * beyond the line, or after an error, is nothing to rely on; nothing is ended with a NUL. That the writer has gone is
 * no error, and neither is that the mailbox was removed: there is nothing new until there is a new one.
 *
 * Consumes the event of `mbx_reader_fd` if it returns `-EAGAIN`.
 *
 * Ownership: the buffer is the caller's. Threads: one at a time for each handle. Never blocks.
 */
ssize_t mbx_reader_try_read(mbx_reader *reader,
                            void *buffer,
                            size_t size,
                            size_t *length);

/**
 * As `mbx_reader_try_read`, but waits for a line for at most `timeout_ns` nanoseconds, or, if that is -1, for ever.
 *
 * Returns as `mbx_reader_try_read`, but for `-EAGAIN`:
 *  - `-ETIMEDOUT`: nothing new came in time. With a `timeout_ns` of 0 this looks once, and does not wait.
 *  - `-EINVAL`: also for a `timeout_ns` below -1.
 *
 * Blocks: spins for some microseconds if lines have been arriving that fast, then sleeps without using the processor.
 * A signal does not end it, unless it ends the process: a program that has to react to signals waits by `poll` on
 * `mbx_reader_fd`, or for a short time again and again. A buffer that is too small ends it at once.
 *
 * Threads: one at a time for each handle.
 */
ssize_t mbx_reader_read(mbx_reader *reader,
                        void *buffer,
                        size_t size,
                        size_t *length,
                        int64_t timeout_ns);

/**
 * As `mbx_reader_try_read`, but gives the newest line whether this reader has returned it before or not; it counts as
 * returned. `-EAGAIN`: there is none at all.
 *
 * Threads: one at a time for each handle. Never blocks.
 */
ssize_t mbx_reader_latest(mbx_reader *reader,
                          void *buffer,
                          size_t size,
                          size_t *length);

/**
 * Returns a descriptor that becomes readable when there may be something new, for `poll`, `select`, `epoll` and event
 * loops.
 *
 * When it is ready, call `mbx_reader_try_read` until that returns `-EAGAIN`: only that consumes the event. It is ready
 * when made. It may be ready with nothing new, at least ten times a second, and is also when the writer ends. It exists
 * before the mailbox does, and every call returns the same one, whatever happens to the mailbox.
 *
 * Returns the descriptor, 0 or more, or `-EMFILE` or another error of the system, or `-EINVAL` for a null pointer.
 *
 * Ownership: the descriptor is the reader's, and closed with it; never read from it or close it. Threads: one at a
 * time for each handle; any may poll it. Never blocks.
 */
int mbx_reader_fd(mbx_reader *reader);

/**
 * Returns the number of the line that this reader returned last: 1 for the first of a mailbox, one more for each. 0:
 * none yet, or `reader` is NULL.
 *
 * Threads: one at a time for each handle. Never blocks.
 */
uint64_t mbx_reader_number(const mbx_reader *reader);

/**
 * Returns how many lines were passed over between the line that this reader returned last and the one before it; 0 if
 * it was the first, or `reader` is NULL.
 *
 * Threads: one at a time for each handle. Never blocks.
 */
uint64_t mbx_reader_missed(const mbx_reader *reader);

/**
 * Returns how long before it was read the line was published that this reader returned last, in nanoseconds; or
 * `-ENODATA` if it carries no time (see `MBX_TIMESTAMPS`) or there is none yet, or `-EINVAL` for a null pointer.
 *
 * Threads: one at a time for each handle. Never blocks.
 */
int64_t mbx_reader_age(const mbx_reader *reader);

/**
 * Returns whether the mailbox has a writer at this moment: `MBX_WRITER_GONE`, `MBX_WRITER_ALIVE` or
 * `MBX_WRITER_UNKNOWN`, or `-EINVAL` for a null pointer.
 *
 * Threads: one at a time for each handle. Takes some system calls, and never blocks.
 */
int mbx_reader_writer_state(const mbx_reader *reader);

/**
 * Closes the reader, and its descriptor. NULL is none, and nothing happens.
 *
 * Ownership: the handle is no more, and neither are texts of `mbx_strerror` about it. Threads: one at a time for each
 * handle; nobody may be in a call with it, such as a `mbx_reader_read` that waits. Does not block.
 */
void mbx_reader_close(mbx_reader *reader);

/**
 * Returns the text of an error: what was attempted, on which mailbox, and why it failed.
 *
 * `handle` is the writer or reader whose call returned `error`, or null. If `error` is not the last one of that handle
 * (the ordinary `-EAGAIN` and `-ETIMEDOUT` leave no trace there), or there is no handle, the text says in general what
 * `error` means here. Never returns null. `error` may be given with its sign or without.
 *
 * Ownership: the text belongs to the handle, until its next call or its end; without a handle it is constant, and lasts
 * for ever. Threads: the handle's. Never blocks.
 */
const char *mbx_strerror(const void *handle,
                         int error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SHM_MAILBOX_H */
