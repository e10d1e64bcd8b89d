"""The Ingress of a release behind a real nginx, as ingress-nginx sets it up: TLS that ends in it and begins anew, and TLS that
passes through. Run by `tests/chart/cluster`."""

import base64
import json
import os
import re
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
import uuid

from bed import NAME, NAMESPACE, ROOT, Bed, eventually
from controller import Controller
from release import Release
from sentences import run_all, test

HELM = os.environ["HELM4"]
EXAMPLES = ROOT / "charts/kube-tenant-proxy/ci"
# The one name that needs no name server.
HOST = "localhost"
CERTIFICATE = "proxy-example-com"
# What values.yaml tells the controller's admin.
CONFIGMAP = {"large-client-header-buffers": "4 32k"}
DEV, LATER = "dev-demo", "dev-later"

bed = Bed()
running, controllers = [], []


def install(example):
    """The release with one of the chart's example values; their names of hosts are replaced by the one that leads here."""
    names = [f'ingress.hosts=[{{"host": "{HOST}"}}]', f'ingress.tls=[{{"hosts": ["{HOST}"], "secretName": "{CERTIFICATE}"}}]']
    settings = [word for name in names for word in ("--set-json", name)]
    bed.output(
        [*(HELM, "upgrade", "--install", NAME, "charts/kube-tenant-proxy", "-n", NAMESPACE), "-f", str(EXAMPLES / example), *settings]
    )


def releases(count=1):
    """That many replicas of the release, which tests share."""
    while len(running) < count:
        running.append(Release(bed).ready())
    return running[:count]


def controller(*arguments, **settings):
    controllers.append(Controller(bed, *arguments, **settings))
    return controllers[-1]


class Person:
    """Somebody with a token and kubectl, who goes through a controller."""

    def __init__(self, token):
        self.token = token

    def command(self, way, ca, *arguments):
        server = [f"--server={way.url}", f"--certificate-authority={ca}", f"--token={self.token}"]
        return [os.environ["KUBECTL"], "--kubeconfig", os.devnull, "--cache-dir", str(way.dir / "cache"), *server, *arguments]

    def kubectl(self, way, ca, *arguments, **environment):
        return bed.run(self.command(way, ca, *arguments), **environment)

    def printed(self, way, ca, *arguments, **environment):
        done = self.kubectl(way, ca, *arguments, **environment)
        assert done.returncode == 0, f"{arguments}: {done.stderr}\n{way.log()}"
        return done.stdout

    def starts(self, way, ca, *arguments):
        return Lines(self.command(way, ca, *arguments))


class Lines:
    """A command that goes on, and what it has printed until now."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        threading.Thread(target=self.read_on, daemon=True).start()

    def read_on(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def wait_for(self, line):
        def is_printed():
            assert self.process.poll() is None, self.lines
            return line in self.lines

        eventually(is_printed)

    def has_ended(self):
        return self.process.poll() is not None

    def end(self):
        self.process.kill()
        self.process.wait(30)


def owner(groups=()):
    """The owner of Tenant dev; with a token that names further groups."""
    persona = {"persona": "capsule-user-dev"}
    if groups:
        facts = bed.facts["capsule"]
        persona["claims"] = {"groups": [facts["devGroup"], facts["group"], *groups]}
    return Person(bed.directory("/control/mint", persona)["token"])


def ca_of_the_release():
    path = bed.dir / "ca.crt"
    path.write_bytes(base64.b64decode(bed.object("secret", NAME)["data"]["ca"]))
    return path


@test
def a_release_behind_an_ingress_is_installed_with_a_tenant_and_a_pod():
    bed.kubectl("create", "namespace", NAMESPACE)
    # The test bed's own; on a cluster that has the operator alone there are none.
    bed.kubectl("delete", "crd", "proxysettings.capsule.clastix.io", "globalproxysettings.capsule.clastix.io")
    certificate, key = bed.certificate("edge", HOST)
    bed.kubectl("create", "secret", "tls", CERTIFICATE, "-n", NAMESPACE, f"--cert={certificate}", f"--key={key}")
    install("ingress-values.yaml")
    dev = {"name": bed.facts["capsule"]["devGroup"], "kind": "Group"}
    path = bed.dir / "object.json"
    tenant = {"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant", "metadata": {"name": "dev"}, "spec": {"owners": [dev]}}
    path.write_text(json.dumps(tenant))
    bed.kubectl("apply", "-f", str(path))
    way = controller(releases(), configmap=CONFIGMAP)

    def is_made():
        # The operator and the proxy learn of a Tenant a moment later.
        return owner().kubectl(way, certificate, "create", "namespace", DEV).returncode == 0

    eventually(is_made)
    container = {"name": "web", "image": "example.com/web:1"}
    spec = {"nodeName": bed.facts["node"], "automountServiceAccountToken": False, "containers": [container]}
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": DEV}, "spec": spec}))

    def is_created():
        # The namespace's service account comes a moment later.
        return bed.run([os.environ["KUBECTL"], "apply", "-f", str(path)]).returncode == 0

    eventually(is_created)

    def is_running():
        return owner().kubectl(way, certificate, "-n", DEV, "get", "pod", "web", "-o", "jsonpath={.status.phase}").stdout == "Running"

    eventually(is_running)


def open_watches():
    """How many the first replica has open, by plan."""
    lines = running[0].ask(running[0].metrics, "/metrics")[1].splitlines()
    found = [re.match(r'kube_tenant_proxy_watches_open\{plan="(.+)"\} (\d+)', line) for line in lines]
    return {match.group(1): int(match.group(2)) for match in found if match and match.group(2) != "0"}


def day(way, ca, new):
    """What a tenant owner does all day, through a controller; `new` is a namespace that he makes meanwhile."""
    dev = owner()
    assert f"namespace/{DEV}" in dev.printed(way, ca, "get", "ns", "-o", "name").split()
    assert "namespace/kube-system" not in dev.printed(way, ca, "get", "ns", "-o", "name")
    assert dev.printed(way, ca, "get", "pods", "-A", "-o", "name") == "pod/web\n"
    refused = dev.kubectl(way, ca, "-n", "kube-system", "get", "secrets")
    assert refused.returncode != 0 and "Error from server (Forbidden): secrets is forbidden" in refused.stderr, refused
    unknown = Person("none-of-ours").kubectl(way, ca, "get", "ns")
    assert "You must be logged in to the server" in unknown.stderr, unknown

    eventually(lambda: open_watches() == {})
    # Each change is shown when it happens, in a table and to a program, and not when a buffer is full.
    watches = [dev.starts(way, ca, "get", kind, "-w", "-o", "name", *where) for kind, where in (("ns", []), ("configmaps", ["-A"]))]
    # What changed between the list and the watch of `get -w` would end the watch.
    eventually(lambda: open_watches() == {"narrow-watch": 1, "fan-out-watch": 1})
    browser = WebSocketWatch(way, ca, dev.token)
    assert browser.until(DEV) == "ADDED"
    bed.kubectl("label", "namespace", DEV, f"seen-by={new}", "--overwrite")
    assert browser.until(DEV) == "MODIFIED"
    browser.close()
    dev.printed(way, ca, "create", "namespace", new)
    watches[0].wait_for(f"namespace/{new}")
    assert f"namespace/{DEV}" in watches[0].lines

    def is_permitted():
        return dev.kubectl(way, ca, "-n", new, "auth", "can-i", "create", "configmaps").returncode == 0

    eventually(is_permitted)
    # More than the controller lets in by itself.
    content = base64.b64encode(os.urandom(900_000)).decode()
    large = bed.dir / "large.json"
    large.write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "binaryData": {"large": content}}))
    assert large.stat().st_size > 1024 * 1024
    dev.printed(way, ca, "-n", new, "create", "-f", str(large))
    watches[1].wait_for("configmap/large")
    for watch in watches:
        watch.end()

    logs = dev.starts(way, ca, "-n", DEV, "logs", "-f", "web")
    eventually(lambda: logs.lines)
    logs.end()
    for websockets in ("true", "false"):
        kind = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets}
        execute = ["-n", DEV, "exec", "web", "--"]
        assert dev.printed(way, ca, *execute, "echo", "out", **kind) == "out\n"
        assert dev.kubectl(way, ca, *execute, "exit", "7", **kind).returncode == 7
        sent = "ktp " * 100_000
        command = dev.command(way, ca, "-n", DEV, "exec", "-i", "web", "--", "cat")
        done = subprocess.run(command, input=sent, env={**os.environ, **kind}, capture_output=True, text=True, timeout=120)
        assert done.stdout == sent, (len(done.stdout), done.stderr)

    # As many groups as Entra ID puts into a token.
    many = owner([str(uuid.uuid4()) for _ in range(198)])
    assert len(many.token) > 8 * 1024
    assert f"namespace/{new}" in many.printed(way, ca, "get", "ns", "-o", "name").split()


class WebSocketWatch:
    """A watch of the namespaces as a browser opens it, over a connection of its own."""

    def __init__(self, way, ca, token):
        context = ssl.create_default_context(cafile=str(ca))
        self.socket = context.wrap_socket(socket.create_connection(("127.0.0.1", way.port), 60), server_hostname=HOST)
        head = [
            "GET /api/v1/namespaces?watch=1 HTTP/1.1",
            *(f"Host: {HOST}:{way.port}", "Upgrade: websocket", "Connection: Upgrade", f"Origin: https://{HOST}"),
            *("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", f"Authorization: Bearer {token}"),
        ]
        self.socket.sendall("\r\n".join([*head, "", ""]).encode())
        self.stream = self.socket.makefile("rb")
        status = self.stream.readline()
        assert b" 101 " in status, status
        while self.stream.readline().strip():
            pass

    def message(self):
        """The next one; those of a server are not masked, and an event is one frame."""
        _, length = self.stream.read(2)
        if length >= 126:
            length = int.from_bytes(self.stream.read(2 if length == 126 else 8), "big")
        return json.loads(self.stream.read(length))

    def until(self, name):
        """What the next event that tells of the namespace calls itself."""
        while (event := self.message())["object"]["metadata"].get("name") != name:
            assert event["type"] != "ERROR", event
        return event["type"]

    def close(self):
        self.stream.close()
        self.socket.close()


@test
def what_the_example_says_is_what_nginx_is_told():
    way = controllers[0]
    for line in (
        *("proxy_buffering off;", "proxy_request_buffering off;", "client_max_body_size 0;"),
        *("proxy_read_timeout 3600s;", "proxy_send_timeout 3600s;", "hash $http_authorization consistent;"),
        *("proxy_pass https://pods;", "large_client_header_buffers 4 32k;"),
    ):
        assert line in way.config, f"{line} is not in\n{way.config}"
    assert len(way.annotations) == 7, way.annotations


@test
def a_day_where_tls_ends_in_the_controller_and_begins_anew():
    day(controllers[0], bed.dir / "edge.crt", LATER)


@test
def without_room_for_long_headers_the_controller_refuses_long_tokens():
    way = controller(releases())
    many, few = owner([str(uuid.uuid4()) for _ in range(198)]), owner()
    assert f"namespace/{DEV}" in few.printed(way, bed.dir / "edge.crt", "get", "ns", "-o", "name")
    context = ssl.create_default_context(cafile=str(bed.dir / "edge.crt"))
    request = urllib.request.Request(f"{way.url}/api/v1/namespaces", headers={"Authorization": f"Bearer {many.token}"})
    try:
        urllib.request.urlopen(request, timeout=60, context=context)
        raise AssertionError("a token of that length passed: the setting is not needed any more")
    except urllib.error.HTTPError as refused:
        assert refused.code == 400 and b"Too Large" in refused.read()


@test
def a_silent_watch_lasts_as_long_as_the_annotation_says():
    ca, dev = bed.dir / "edge.crt", owner()
    short = controller(releases(), annotations={"nginx.ingress.kubernetes.io/proxy-read-timeout": "1"})
    lasting, ending = [dev.starts(way, ca, "get", "ns", "-w", "-o", "name") for way in (controllers[0], short)]
    lasting.wait_for(f"namespace/{DEV}")
    eventually(ending.has_ended)
    assert f"namespace/{DEV}" in ending.lines and not lasting.has_ended(), (ending.lines, lasting.lines)
    lasting.end()


@test
def of_several_replicas_one_serves_all_requests_of_a_token():
    ca = bed.dir / "edge.crt"
    both = releases(2)

    def served(way, dev):
        """How many of twelve requests came to each replica."""

        def counts():
            told = [proxy.ask(proxy.metrics, "/metrics")[1] for proxy in both]
            lines = [[line for line in text.splitlines() if line.startswith("kube_tenant_proxy_requests_total{")] for text in told]
            return [sum(float(line.rsplit(" ", 1)[1]) for line in found) for found in lines]

        before = counts()
        context = ssl.create_default_context(cafile=str(ca))
        request = urllib.request.Request(f"{way.url}/api/v1/namespaces", headers={"Authorization": f"Bearer {dev.token}"})
        for _ in range(12):
            with urllib.request.urlopen(request, timeout=60, context=context) as answer:
                assert answer.status == 200
        return sorted(after - then for then, after in zip(before, counts()))

    hashed, spread = controller(both), controller(both, annotations={"nginx.ingress.kubernetes.io/upstream-hash-by": ""})
    for _ in range(3):
        assert served(hashed, owner()) == [0, 12]
    assert min(served(spread, owner())) > 0, "the annotation is not needed any more"


@test
def a_day_where_tls_passes_through_to_the_proxys_own_certificate():
    install("ingress-passthrough-values.yaml")
    way = controller(releases())
    assert "ssl_preread on;" in way.config and "http {" not in way.config
    ca = ca_of_the_release()
    assert "x509" in owner().kubectl(way, bed.dir / "edge.crt", "get", "ns").stderr, "whose certificate was that?"
    day(way, ca, "dev-passed")
    other = owner().kubectl(way, ca, "get", "ns", "--tls-server-name=other.example.com")
    assert other.returncode != 0, "a name that no Ingress has leads to the proxy"


try:
    run_all()
finally:
    for way in controllers:
        way.stop()
    for proxy in running:
        proxy.process.kill()
    bed.close()
