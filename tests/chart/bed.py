"""A real API server for the chart's tests: the test bed as a child process, with Helm and kubectl as its administrator. Holds
no test; the test files beside it import it."""

import contextlib
import json
import os
import select
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WALKTHROUGH = ROOT / "tests/chart/walkthrough"
NAMESPACE, NAME = "capsule-system", "capsule-proxy"


def eventually(attempt, seconds=60):
    """What `attempt` returns, once that is something: for what must come, and not for how long it takes."""
    deadline = time.monotonic() + seconds
    while True:
        found = attempt()
        if found:
            return found
        assert time.monotonic() < deadline, f"{attempt.__name__}: not within {seconds} s"
        time.sleep(0.1)


class Bed:
    """A running test bed; ends with the process that started it."""

    def __init__(self, *arguments):
        self.dir = Path(tempfile.mkdtemp(prefix="kube-tenant-proxy-chart."))
        command = [os.environ["TESTBED"], "up", "--dir", str(self.dir / "bed"), "--audit=Metadata", "--exit-with-stdin", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        told, deadline = "", time.monotonic() + 120
        while "ready:" not in told:
            waiting, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            line = self.process.stdout.readline() if waiting else ""
            if not line:
                self.close()
                raise SystemExit(f"the test bed did not start:\n{told}")
            told += line
        self.facts = json.loads((self.dir / "bed/testbed.json").read_text())

    def close(self):
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def run(self, command, cwd=ROOT, **env):
        environment = {**os.environ, "KUBECONFIG": self.facts["adminKubeconfig"], "HELM_CACHE_HOME": str(self.dir / "helm"), **env}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=180)

    def output(self, command, **env):
        done = self.run(command, **env)
        assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
        return done.stdout

    def kubectl(self, *arguments):
        return self.output([os.environ["KUBECTL"], *arguments])

    def object(self, kind, name):
        return json.loads(self.kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json"))

    def walkthrough(self, script, helm, *more):
        """Runs a command of the walkthrough as it stands, with `helm` on PATH; `more` is appended to it."""
        with tempfile.TemporaryDirectory() as directory:
            program = Path(directory) / "helm"
            program.write_text(f'#!/usr/bin/env bash\nexec "{helm}" "$@" {" ".join(more)}\n')
            program.chmod(0o755)
            return self.output(
                ["bash", "-euo", "pipefail", str(WALKTHROUGH / script)],
                PATH=f"{directory}:{os.environ['PATH']}",
                CAPSULE_ADMIN_GROUP_ID=self.facts["capsule"]["adminGroup"],
            )

    def directory(self, path, order):
        """Tells the stand-in for Entra ID something."""
        context = ssl.create_default_context(cafile=self.facts["entra"]["caFile"])
        request = urllib.request.Request(
            self.facts["entra"]["url"].rstrip("/") + path, json.dumps(order).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return json.loads(answer.read())

    def certificate(self, name, subject):
        """A self-signed pair of files, as an admin brings one: certificate and key."""
        files = self.dir / f"{name}.crt", self.dir / f"{name}.key"
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "1"]
        names = ["-subj", f"/CN={subject}", "-addext", f"subjectAltName=DNS:{subject}"]
        self.output([*request, *names, "-keyout", str(files[1]), "-out", str(files[0])])
        return files
