"""The image's last stage, really built and run, without a container engine: by buildah, from nothing but the program. Run by
`tests/image/run`, where buildah is at hand.

Not covered: the stage that compiles (its cargo command runs here), the base image, and arm64."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from sentences import run_all, test

ROOT = Path(__file__).resolve().parents[2]
# As the Dockerfile has it, but for the platform: minutes, when nothing is built yet.
BUILD = re.search(r"\b(cargo build .*) --target ", (ROOT / "Dockerfile").read_text()).group(1).split()
# Of the program alone; 20.2 MB when this was written. What makes it larger by half is to be looked at.
MOST = 30_000_000
REVISION = "0123456789abcdef0123456789abcdef01234567"
NAME = "kube-tenant-proxy"
USER = "65532:65532"

work = Path(tempfile.mkdtemp(prefix="kube-tenant-proxy-image."))
built = {}


def output(command, **env):
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


def buildah(*arguments):
    return output(["buildah", "--root", f"{work}/store", "--runroot", f"{work}/run", "--storage-driver", "vfs", *arguments])


def image():
    """The image's root and configuration, built once: as the Dockerfile's last stage has it, on an empty base."""
    if not built:
        assert "--release" in BUILD, BUILD
        output([*BUILD, "--quiet"], KTP_REVISION=REVISION)
        (work / "build/out").mkdir(parents=True)
        shutil.copy(ROOT / "target/release" / NAME, work / "build/out")
        arguments = {"RUNTIME_IMAGE": "scratch", "VERSION": "1.2.3", "REVISION": REVISION}
        given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        stage = ["--isolation", "chroot", "--pull-never", "--build-context", f"build={work}/build", "--target", "runtime"]
        buildah("bud", *stage, *given, "--tag", NAME, ".")
        container = buildah("from", NAME).strip()
        built["root"] = Path(buildah("mount", container).strip())
        built["config"] = json.loads(buildah("inspect", "--type", "image", NAME))["OCIv1"]["config"]
    return built["root"], built["config"]


def run(*arguments):
    """Runs it in its root, as its user, on what it links to; nothing else is there."""
    root = work / "there"
    if not root.exists():
        shutil.copytree(image()[0], root)
        # `name => path (address)`, or `path (address)`; without the kernel's own.
        libraries = {word for line in output(["ldd", str(work / "build/out" / NAME)]).splitlines() for word in line.split() if word.startswith("/")}
        for library in libraries:
            place = root / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
    command = [shutil.which("chroot"), f"--userspec={USER}", str(root), *image()[1]["Entrypoint"], *arguments]
    return subprocess.run(command, env={}, capture_output=True, text=True, timeout=60)


@test
def the_image_holds_the_program_and_nothing_else():
    root, _ = image()
    files = [str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()]
    assert files == [f"usr/local/bin/{NAME}"], files
    size = (root / files[0]).stat().st_size
    print(f"size: {size / 1e6:.1f} MB besides its base")
    assert size < MOST, f"{size} bytes, and {MOST} are to be enough"


@test
def its_configuration_is_what_the_chart_relies_on():
    _, config = image()
    assert config["User"] == USER
    assert config["Entrypoint"] == [f"/usr/local/bin/{NAME}"] and config["Cmd"] == ["serve"]
    assert set(config["ExposedPorts"]) == {"9001/tcp", "8081/tcp", "8080/tcp"}
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert (labels["version"], labels["revision"], labels["licenses"]) == ("1.2.3", REVISION, "Apache-2.0")


@test
def it_runs_as_nobody_without_the_demo_and_knows_its_commit():
    done = run("version", "-o", "json")
    assert done.returncode == 0, done.stderr
    version = json.loads(done.stdout)
    assert (version["features"], version["gitCommit"]) == ([], REVISION)
    assert run("demo").returncode == 2
    done = run(*image()[1]["Cmd"])
    assert done.returncode == 1 and "not in a pod" in done.stderr, done


try:
    run_all()
finally:
    if built:
        subprocess.run(["buildah", "--root", f"{work}/store", "--runroot", f"{work}/run", "--storage-driver", "vfs", "rm", "--all"], capture_output=True)
    shutil.rmtree(work, ignore_errors=True)
