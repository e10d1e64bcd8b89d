"""The few answers of an API server that Helm asks for in a dry run: discovery, and the objects that are there already."""

import contextlib
import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Kinds that the chart renders or looks up with the settings of the tests.
KINDS = {
    "v1": ("Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "DaemonSet"),
    "cert-manager.io/v1": ("Certificate", "Issuer"),
    "rbac.authorization.k8s.io/v1": ("ClusterRole", "ClusterRoleBinding"),
}
CLUSTER_SCOPED = ("ClusterRole", "ClusterRoleBinding")


def root(version):
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def plural(kind):
    return kind.lower() + "s"


def discovery():
    """What lies where, in the form before aggregated discovery, which every client still reads."""
    groups = []
    paths = {"/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}}
    paths["/api"] = {"kind": "APIVersions", "versions": ["v1"]}
    for version, kinds in KINDS.items():
        resources = [
            {"name": plural(k), "singularName": "", "namespaced": k not in CLUSTER_SCOPED, "kind": k, "verbs": ["get", "list"]}
            for k in kinds
        ]
        paths[root(version)] = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
        if "/" in version:
            entry = {"groupVersion": version, "version": version.split("/")[1]}
            groups.append({"name": version.split("/")[0], "versions": [entry], "preferredVersion": entry})
    paths["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return paths


def path_of(document):
    metadata = document["metadata"]
    return f"{root(document['apiVersion'])}/namespaces/{metadata['namespace']}/{plural(document['kind'])}/{metadata['name']}"


@contextlib.contextmanager
def cluster(*objects):
    """A kubeconfig for a server that holds these objects and nothing else."""
    answers = discovery() | {path_of(document): document for document in objects}
    missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two writes: without this each answer waits for an acknowledgement.
        disable_nagle_algorithm = True

        def do_GET(self):
            path = self.path.split("?")[0]
            body = json.dumps(answers.get(path, missing)).encode()
            self.send_response(200 if path in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "stub", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": ""}}],
            "current-context": "stub",
        }
        kubeconfig = Path(directory) / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        try:
            yield str(kubeconfig)
        finally:
            server.shutdown()
            server.server_close()
