# shellcheck shell=bash
# What the scripts here share: steps, a cache, installing what is missing, and saying what cannot be checked. Sourced,
# not run.

# What was fetched stays here from run to run.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/unshare-conformance/ci
mkdir -p "$cache"
skipped=()

# step TITLE: begins a step, and says how long the one before took.
step_began=
step() {
    step_ends
    printf '\n== %s\n' "$*"
    step_began=$SECONDS
}
step_ends() {
    [ -z "$step_began" ] || printf '   (%s s)\n' $((SECONDS - step_began))
    step_began=
}

# not_run REASON: what was announced last is left out on this machine.
not_run() { echo "not run: $1"; }
# not_here REASON: the same, for want of root or of Debian's packages. CI=true promises both.
not_here() {
    not_run "$1"
    if [ "${CI-}" = true ]; then
        echo "$0: CI=true promises root and Debian's packages" >&2
        exit 1
    fi
}
# skip NAME REASON: what is not checked here; `end` names it again.
skip() {
    not_run "$1: $2"
    skipped+=("$1")
}

# command_or_package COMMAND PACKAGE: the command is there, or is installed now.
command_or_package() {
    command -v "$1" >/dev/null || package "$2"
    command -v "$1" >/dev/null
}

# package NAME…: installs Debian packages where that can be done.
package() {
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        return 1
    fi
    if [ -z "${apt_updated-}" ]; then
        apt-get update -qq || true
        apt_updated=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

# unpacked PACKAGE: the directory that holds the files of a Debian package, which is not installed.
unpacked() {
    local directory=$cache/$1
    if [ ! -d "$directory" ]; then
        command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
        local work
        work=$(mktemp -d "$cache/unpacking.XXXXXX")
        if (cd "$work" && apt-get download -qq "$1" >/dev/null 2>&1 && dpkg-deb -x ./*.deb files); then
            mv "$work/files" "$directory"
        fi
        rm -rf "$work"
    fi
    [ -d "$directory" ] && echo "$directory"
}

# kernel_tree: a kernel source tree, or as much of one as has the testing tools: LINUX_TREE if that is set, else
# taken from Debian's newest linux-source, of which nothing else is kept.
kernel_tree() {
    local tree=${LINUX_TREE-$cache/linux} newest work
    if [ ! -e "$tree/tools/testing/kunit/kunit.py" ] && [ -z "${LINUX_TREE-}" ]; then
        newest=$(apt-cache pkgnames linux-source- 2>/dev/null | sort -V | tail -n 1)
        [ -n "$newest" ] || return 1
        work=$(mktemp -d "$cache/unpacking.XXXXXX")
        (cd "$work" && apt-get download -qq "$newest" >/dev/null 2>&1 && mkdir linux &&
            dpkg-deb --fsys-tarfile ./*.deb | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
            tar -xJ -C linux --strip-components=1 --wildcards '*/tools/testing/kunit/*.py' \
                '*/tools/testing/selftests/run_kselftest.sh' '*/tools/testing/selftests/kselftest/*') || true
        if [ -e "$work/linux/tools/testing/kunit/kunit.py" ]; then
            rm -rf "$tree"
            mv "$work/linux" "$tree"
        fi
        rm -rf "$work"
    fi
    [ -e "$tree/tools/testing/kunit/kunit.py" ] && echo "$tree"
}

# kernel_tools: what building and booting a kernel requires is there, or is installed now.
kernel_tools() {
    local needed
    for needed in make:make gcc:gcc flex:flex bison:bison bc:bc xz:xz-utils dpkg-deb:dpkg perl:perl \
        qemu-system-x86_64:qemu-system-x86; do
        command_or_package "${needed%:*}" "${needed#*:}" || {
            echo "$0: install ${needed#*:}" >&2
            exit 1
        }
    done
    [ -e /usr/include/libelf.h ] || package libelf-dev || { echo "$0: install libelf-dev" >&2; exit 1; }
}

# candidate PACKAGE: the version that apt would install; nothing if it knows none.
candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/ *Candidate: //p'; }

# linux_source PACKAGE DIRECTORY: makes the directory, with a kernel's source tree from Debian's linux-source-VERSION.
linux_source() {
    local work
    work=$(mktemp -d)
    chmod 755 "$work"
    (cd "$work" && apt-get download -qq "$1" && dpkg-deb -x "$1"_*.deb unpacked)
    mkdir "$2"
    tar -xf "$work/unpacked/usr/src/$1.tar.xz" -C "$2" --strip-components=1
    rm -r "$work"
}

# build_kernel PROGRAM TREE ADDITIONS DIRECTORY: builds a kernel with these additions; the log is shown if that fails. The
# objects have a cache of their own: what is built in a tree that is gone tomorrow need not be kept.
build_kernel() {
    local work
    work=$(mktemp -d)
    if ! XDG_CACHE_HOME=$work/cache "$1" kernels build "$2" --with "$3" -o "$4" 2>"$work/log"; then
        tail -n 20 "$work/log" >&2
        rm -r "$work"
        exit 1
    fi
    rm -r "$work"
}

# allocations_fail PROGRAM KERNEL: runs the cases that require a kernel whose allocations fail on request.
allocations_fail() {
    local report
    report=$(mktemp)
    "$1" --kernel "$2" allocations. walks.no_memory --format pretty --output "tap=$report"
    # A kernel that was built for this and cannot do it would prove nothing, and say so in skips only.
    if grep 'SKIP.*cannot be made to fail' "$report"; then
        exit 1
    fi
    rm "$report"
}

# python_with PACKAGE…: a Python that has these packages of PyPI, in an environment of its own.
python_with() {
    local python=$cache/venv/bin/python
    if [ ! -x "$python" ]; then
        python3 -m venv "$cache/venv" 2>/dev/null || { package python3-venv && python3 -m venv "$cache/venv"; } || return 1
    fi
    "$python" -m pip install -q --disable-pip-version-check "$@" >&2 || return 1
    echo "$python"
}

# target_directory: where cargo builds.
target_directory() { cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'; }

# built PROFILE…: the newest program for this machine that was built with one of these profiles (release, debug).
built() {
    local target profile own
    own=$(rustc --version --verbose | sed -n 's/^host: //p')
    target=$(target_directory)
    # shellcheck disable=SC2012 # the names are ours
    for profile; do ls "$target/$own/$profile/unshare-conformance"; done 2>/dev/null | xargs -r ls -t | head -n 1
}

# The program under test: the one given, else the newest that was built.
program_or_built() {
    if [ -n "${1-}" ]; then
        realpath "$1"
    else
        built release debug
    fi
}

# Ends a script: how long its last step took, and what was not checked.
end() {
    step_ends
    if [ "${#skipped[@]}" -gt 0 ]; then
        printf '\n%s not checked: %s\n' "${#skipped[@]}" "$(IFS=,; echo "${skipped[*]}")"
    fi
}
