#!/bin/sh
# Builds the C library and installs it:
#
#     sh bindings/c/install.sh [--prefix DIR] [--libdir DIR] [--from DIR]
#
#   --prefix DIR   where to: DIR/include, DIR/lib, DIR/lib/pkgconfig (/usr/local)
#   --libdir DIR   for the libraries, in place of PREFIX/lib
#   --from DIR     takes libshm_mailbox_c.so and .a from there and builds nothing
#
# DESTDIR, in the environment, stands before every path, for those who make packages.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local libdir='' from=''

fail() {
    printf 'install.sh: %s\n' "$1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,/^set/s/^#\{1,\} \{0,1\}//p' "$0"; exit ;;
        --prefix | --libdir | --from) [ $# -ge 2 ] || fail "$1 needs a directory" ;;
        *) fail "unknown argument $1; --help lists what there is" ;;
    esac
    case $1 in
        --prefix) prefix=$2 ;;
        --libdir) libdir=$2 ;;
        --from) from=$2 ;;
    esac
    shift 2
done
# What is written into the .pc file must hold from everywhere.
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
: "${libdir:=$prefix/lib}"
case $libdir in /*) ;; *) libdir=$PWD/$libdir ;; esac

if [ -z "$from" ]; then
    # Where cargo puts what it builds depends on its settings; so it is asked.
    built=$(cd "$here" && cargo build --release --lib --locked --message-format=json-render-diagnostics)
    from=$(printf '%s\n' "$built" | sed -n 's|.*"\(/[^"]*\)/libshm_mailbox_c\.so".*|\1|p' | tail -n 1)
fi
for file in libshm_mailbox_c.so libshm_mailbox_c.a; do
    [ -f "$from/$file" ] || fail "there is no $file in '$from'"
done

value() { sed -n "s/^$1 *\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$2"; }
abi=$(value '#define MBX_ABI_VERSION' "$here/include/shm_mailbox.h")
version=$(value 'version =' "$here/Cargo.toml")

to=${DESTDIR:-}
mkdir -p "$to$prefix/include" "$to$libdir/pkgconfig"
install -m 644 "$here/include/shm_mailbox.h" "$to$prefix/include/"
install -m 755 "$from/libshm_mailbox_c.so" "$to$libdir/libshm_mailbox.so.$abi"
install -m 644 "$from/libshm_mailbox_c.a" "$to$libdir/libshm_mailbox.a"
ln -sf "libshm_mailbox.so.$abi" "$to$libdir/libshm_mailbox.so"
sed -e "s|@prefix@|$prefix|; s|@libdir@|$libdir|; s|@includedir@|$prefix/include|; s|@version@|$version|" \
    "$here/shm_mailbox.pc.in" >"$to$libdir/pkgconfig/shm_mailbox.pc"
# Symbols for debuggers are most of it, and no program needs them.
if command -v strip >/dev/null; then
    strip --strip-debug "$to$libdir/libshm_mailbox.so.$abi" "$to$libdir/libshm_mailbox.a"
fi
printf '%s\n' "$to$prefix/include/shm_mailbox.h" "$to$libdir/libshm_mailbox.so" "$to$libdir/libshm_mailbox.so.$abi" \
    "$to$libdir/libshm_mailbox.a" "$to$libdir/pkgconfig/shm_mailbox.pc"
