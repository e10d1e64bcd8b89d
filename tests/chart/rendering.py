"""What the chart renders: the cases, both Helms, golden files. Holds no test; the test files beside it import it."""

import copy
import difflib
import os
import stat
import subprocess
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/kube-tenant-proxy"
HERE = ROOT / "tests/chart"
GOLDEN = HERE / "golden"
HELMS = {"Helm 3": os.environ["HELM3"], "Helm 4": os.environ["HELM4"]}
UPDATE = os.environ.get("UPDATE") == "1"
GROUP_ID = "2f1d9a4e-6d0b-4c58-9d3f-7a1e5b8c0d12"

# What Helm is run as: `helm upgrade --install NAME CHART …` is turned into the command of the test.
WRAPPER = """#!/usr/bin/env bash
set -euo pipefail
[ "$1 $2" = "upgrade --install" ] || { echo "not a command of the walkthrough: helm $*" >&2; exit 2; }
shift 2
case $STEP in
template) exec "$HELM" template "$@" ;;
notes) exec "$HELM" install "$@" --dry-run=client ;;
lint) shift; exec "$HELM" lint --strict "$@" ;;
esac
"""


def run(command, **env):
    # No kubeconfig: a test of rendering must not find anybody's cluster.
    environment = {**os.environ, "KUBECONFIG": os.devnull, **env}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def output(command, **env):
    done = run(command, **env)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


class Case:
    """One way to install the chart: a command of the walkthrough, or a file of example values."""

    def __init__(self, name, script=None, values=None):
        self.name, self.script, self.values = name, script, values

    def helm(self, step, helm):
        if self.script:
            with tempfile.TemporaryDirectory() as directory:
                program = Path(directory) / "helm"
                program.write_text(WRAPPER)
                program.chmod(program.stat().st_mode | stat.S_IXUSR)
                return output(
                    ["bash", "-euo", "pipefail", str(self.script)],
                    PATH=f"{directory}:{os.environ['PATH']}",
                    HELM=helm,
                    STEP=step,
                    CAPSULE_ADMIN_GROUP_ID=GROUP_ID,
                )
        arguments = {
            "template": ["template", "capsule-proxy", str(CHART), "-n", "capsule-system"],
            "notes": ["install", "capsule-proxy", str(CHART), "-n", "capsule-system", "--dry-run=client"],
            "lint": ["lint", "--strict", str(CHART)],
        }[step]
        return output([helm, *arguments, "-f", str(self.values)])


CASES = [
    Case("walkthrough-self-signed", script=HERE / "walkthrough/self-signed.sh"),
    Case("walkthrough-own-certificate", script=HERE / "walkthrough/own-certificate.sh"),
] + [Case(path.name.removesuffix("-values.yaml"), values=path) for path in sorted((CHART / "ci").glob("*-values.yaml"))]

rendered = {}


def objects(case, helm="Helm 4"):
    """The rendered objects of a case, parsed; rendered once per Helm."""
    key = (case.name, helm)
    if key not in rendered:
        rendered[key] = parse(case.helm("template", HELMS[helm]))
    return copy.deepcopy(rendered[key])


def parse(text):
    return [document for document in yaml.safe_load_all(text) if document]


def template(*arguments, helm="Helm 4", release="capsule-proxy"):
    return parse(output([HELMS[helm], "template", release, str(CHART), "-n", "capsule-system", *arguments]))


def notes(*settings):
    """What an operator reads after an install with these settings."""
    install = [HELMS["Helm 4"], "install", "capsule-proxy", str(CHART), "-n", "capsule-system", "--dry-run=client"]
    return output([*install, *settings]).split("\nNOTES:\n", 1)[1]


def expect_refusal(settings, message):
    """Neither Helm renders these settings, and both say why in words that hold `message`."""
    for name, helm in HELMS.items():
        done = run([helm, "template", "capsule-proxy", str(CHART), *settings])
        assert done.returncode != 0, f"{name} accepts {settings}"
        assert message in done.stderr, f"{name}, {settings}: {message!r} is not in\n{done.stderr}"


def one(documents, kind, name=None):
    found = [d for d in documents if d["kind"] == kind and (name is None or d["metadata"]["name"] == name)]
    assert len(found) == 1, f"{len(found)} objects {kind} {name or ''}"
    return found[0]


def normalised(documents):
    """What is compared and kept: sorted, without what differs from run to run or from release to release."""
    for document in documents:
        if document["kind"] == "Secret":
            document["data"] = {key: "<generated>" for key in document["data"]}
        strip_versions(document)
    documents.sort(key=lambda d: (d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]))
    return "---\n".join(yaml.safe_dump(d, sort_keys=True, width=1000) for d in documents)


def strip_versions(node):
    if isinstance(node, list):
        for item in node:
            strip_versions(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("helm.sh/chart", "app.kubernetes.io/version"):
                node[key] = "<version>"
            elif key.startswith("checksum/"):
                node[key] = "<checksum>"
            else:
                strip_versions(value)


def compare_with_golden(path, text):
    if UPDATE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return
    assert path.exists(), f"{path.relative_to(ROOT)} is missing: make chart UPDATE=1"
    if path.read_text() != text:
        diff = difflib.unified_diff(path.read_text().splitlines(), text.splitlines(), "golden", "rendered", lineterm="")
        raise AssertionError("\n".join([f"{path.relative_to(ROOT)} differs (make chart UPDATE=1 writes it anew):", *diff]))


def pod(documents):
    (workload,) = [d for d in documents if d["kind"] in ("Deployment", "DaemonSet")]
    return workload["spec"]["template"]["spec"]


def arguments(documents):
    return pod(documents)["containers"][0]["args"]
