"""The Dockerfile: clean under hadolint, and of the shape that the chart relies on. Run by `tests/image/run`."""

import os
import re
import subprocess
from pathlib import Path

from sentences import run_all, test

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"


def instructions():
    """(instruction, argument) in order, continuation lines joined, comments left out."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def stages():
    """Instructions by stage; what stands before the first FROM under None."""
    found, name = {None: []}, None
    for word, rest in instructions():
        if word == "FROM":
            name = re.search(r"\bAS (\S+)$", rest, re.IGNORECASE).group(1)
            found[name] = []
        found[name].append((word, rest))
    return found


def last(stage, word):
    return [rest for found, rest in stages()[stage] if found == word][-1]


@test
def hadolint_finds_nothing():
    done = subprocess.run([os.environ["HADOLINT"], str(DOCKERFILE)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@test
def every_exception_of_hadolint_is_argued_in_the_comment_above_it():
    lines = DOCKERFILE.read_text().splitlines()
    for above, line in zip(lines, lines[1:]):
        if "hadolint ignore" in line:
            assert re.match(r"# \w.*\w", above), line


@test
def the_runtime_stage_is_the_last_and_runs_as_a_numeric_user_that_is_not_root():
    assert list(stages()) == [None, "build", "runtime"]
    user, group = last("runtime", "USER").split(":")
    assert (int(user), int(group)) == (65532, 65532)


@test
def the_image_starts_the_binary_and_serves_by_default():
    assert last("runtime", "ENTRYPOINT") == '["/usr/local/bin/kube-tenant-proxy"]'
    assert last("runtime", "CMD") == '["serve"]'
    assert set(last("runtime", "EXPOSE").split()) == {"9001", "8081", "8080"}


@test
def the_runtime_stage_holds_the_binary_and_nothing_else():
    assert [rest for word, rest in stages()["runtime"] if word in ("COPY", "ADD", "RUN")] == [
        "--from=build /out/kube-tenant-proxy /usr/local/bin/kube-tenant-proxy"
    ]
    assert not [rest for word, rest in instructions() if word in ("ADD", "HEALTHCHECK", "VOLUME")]


@test
def the_binary_is_built_from_the_lock_file_and_without_the_demo():
    (build,) = [rest for word, rest in stages()["build"] if word == "RUN" and "cargo build" in rest]
    for flag in ("--locked", "--release", "--no-default-features"):
        assert flag in build, flag


@test
def bases_are_arguments_so_that_a_release_can_pin_them():
    defaults = dict(rest.split("=", 1) for word, rest in stages()[None] if word == "ARG")
    assert [rest.split()[-3] for name in ("build", "runtime") for word, rest in stages()[name] if word == "FROM"] == [
        "${BUILD_IMAGE}",
        "${RUNTIME_IMAGE}",
    ]
    for name in ("BUILD_IMAGE", "RUNTIME_IMAGE"):
        assert not defaults[name].endswith(":latest") and ":" in defaults[name], defaults[name]


@test
def the_compiler_is_the_pinned_one():
    toolchain = re.search(r'channel = "(\d+\.\d+)', (ROOT / "rust-toolchain.toml").read_text()).group(1)
    assert f"rust:{toolchain}-bookworm" in DOCKERFILE.read_text()


@test
def keys_history_and_builds_stay_out_of_the_context():
    ignored = set((ROOT / ".dockerignore").read_text().split())
    assert {".git", "target", "certs"} <= ignored


@test
def what_the_program_includes_is_in_the_context():
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def is_there(path):
        there = True
        for line in ignored:
            pattern = line.removeprefix("!")
            if path == pattern or path.startswith(f"{pattern}/"):
                there = line.startswith("!")
        return there

    included = {
        os.path.relpath((source.parent / name).resolve(), ROOT)
        for source in (ROOT / "src").rglob("*.rs")
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text())
    }
    assert any(path.startswith("charts/") for path in included), included
    for path in included:
        assert (ROOT / path).exists() and is_there(path), path


run_all()
