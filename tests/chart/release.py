"""The proxy as a release has it: the program with the arguments, environment, files and identity of the installed Deployment,
as a kubelet would start it. Holds no test.

Three things differ from a pod, since there is none: volumes lie in folders of the test, ports are free ones, and the API
server is found by a kubeconfig that holds the ServiceAccount's token and nothing else."""

import base64
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

from bed import NAME, NAMESPACE, eventually


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Release:
    """A running proxy; ends with `stop`."""

    def __init__(self, bed, name=NAME):
        self.bed, self.name = bed, name
        self.dir = Path(tempfile.mkdtemp(prefix="release.", dir=bed.dir))
        self.pod = bed.object("deployment", name)["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]
        self.mounts = {mount["mountPath"]: self.dir / mount["name"] for mount in self.container.get("volumeMounts", [])}
        self.sync()
        self.port, self.probe, self.metrics = free_port(), free_port(), free_port()
        self.log = []
        self.process = subprocess.Popen(
            [os.environ["PROGRAM"], *self.arguments()], env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        threading.Thread(target=self.read_on, daemon=True).start()
        eventually(self.is_alive)

    def read_on(self):
        for line in self.process.stderr:
            self.log.append(line)

    def sync(self):
        """Brings Secrets and ConfigMaps into their folders, as a kubelet does: all files of one change at once."""
        for volume in self.pod.get("volumes", []):
            kind, name = ("secret", volume["secret"]["secretName"]) if "secret" in volume else ("configmap", volume["configMap"]["name"])
            source = self.bed.kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json", "--ignore-not-found")
            data = json.loads(source).get("data", {}) if source else {}
            decode = base64.b64decode if kind == "secret" else str.encode
            folder = self.dir / volume["name"]
            folder.mkdir(exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix="..", dir=folder))
            for key, content in data.items():
                (fresh / key).write_bytes(decode(content))
                if not (folder / key).is_symlink():
                    (folder / key).symlink_to(f"..data/{key}")
            (folder / "..new").symlink_to(fresh.name)
            (folder / "..new").rename(folder / "..data")

    def kubeconfig(self):
        token = self.dir / "token"
        token.write_text(self.bed.kubectl("create", "token", self.pod["serviceAccountName"], "-n", NAMESPACE).strip())
        cluster = {"server": self.bed.facts["server"], "certificate-authority": self.bed.facts["caFile"]}
        path = self.dir / "kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "pod",
                    "clusters": [{"name": "pod", "cluster": cluster}],
                    "users": [{"name": "pod", "user": {"tokenFile": str(token)}}],
                    "contexts": [{"name": "pod", "context": {"cluster": "pod", "user": "pod"}}],
                }
            )
        )
        return str(path)

    def arguments(self):
        """Those of the container, and how the API server is found."""
        ports = {"--listening-port": str(self.port), "--probe-addr": f"127.0.0.1:{self.probe}", "--metrics-addr": f"127.0.0.1:{self.metrics}"}
        there = []
        for argument in self.container["args"]:
            flag, equals, value = argument.partition("=")
            value = ports.pop(flag, value)
            for path, folder in self.mounts.items():
                value = re.sub(f"^{re.escape(path)}/", f"{folder}/", value)
            there.append(f"{flag}{equals}{value}")
        assert not ports, f"the container is not told {ports}"
        return [*there, "--kubeconfig", self.kubeconfig()]

    def environment(self):
        fields = {"metadata.namespace": NAMESPACE}
        return {
            entry["name"]: entry["value"] if "value" in entry else fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            for entry in self.container["env"]
        }

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"

    def ask(self, port, path):
        """Status and text of a plain GET, of probes and metrics; None while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()
        except OSError:
            assert self.process.poll() is None, "".join(self.log)
            return None

    def is_alive(self):
        return (self.ask(self.probe, "/healthz/") or (0,))[0] == 200

    def is_ready(self):
        return (self.ask(self.probe, "/readyz/") or (0,))[0] == 200

    def ready(self):
        eventually(self.is_ready)
        return self

    def get(self, path, token=None):
        """Status, parsed answer and the certificate that was shown, on a connection of its own; whoever it is of is trusted."""
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            shown = connection.sock.getpeercert(binary_form=True)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), shown
        finally:
            connection.close()

    def stop(self):
        """Ends it as a kubelet does; it must end by itself, and cleanly."""
        self.process.terminate()
        assert self.process.wait(60) == 0, "".join(self.log)
