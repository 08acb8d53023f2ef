/* Loads the library, uses it, unloads it, and forks: loaded LIBRARY NAME. A fork must still be possible. */
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* A pointer to a function out of one to void, which C has no cast for. */
static void find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);
    CHECK(found != NULL);
    memcpy(function, &found, sizeof found);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    end_with_parent();
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(library != NULL);
    uint32_t (*abi_version)(void);
    int (*open)(mbx_writer **, const char *, const mbx_options *, char *, size_t);
    void (*close)(mbx_writer *);
    find(library, "mbx_abi_version", &abi_version);
    find(library, "mbx_writer_open", &open);
    find(library, "mbx_writer_close", &close);
    EQUAL(abi_version(), MBX_ABI_VERSION);
    mbx_writer *writer;
    EQUAL(open(&writer, argv[2], NULL, NULL, 0), 0);
    close(writer);
    EQUAL(dlclose(library), 0);

    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int status;
    EQUAL(waitpid(child, &status, 0), child);
    EQUAL(status, 0);
    return 0;
}
