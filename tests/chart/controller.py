"""A real nginx, told what ingress-nginx would tell its own: made from the Ingress of a release, as the API server holds it.
Holds no test.

As ingress-nginx does it: annotations over the ConfigMap over built-in defaults; requests go to the pods, past the Service; the
backend's certificate is not looked at. Where TLS passes through, ingress-nginx looks for the name and copies bytes, without a
limit on how long nothing comes; nginx's `stream` does the same here."""

import base64
import os
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from bed import NAME, NAMESPACE, eventually
from release import free_port

PREFIX = "nginx.ingress.kubernetes.io/"
# Annotations that become a directive of the location, and what ingress-nginx takes where there is none.
LOCATION = {
    "proxy-body-size": ("client_max_body_size", "1m"),
    "proxy-buffering": ("proxy_buffering", "off"),
    "proxy-request-buffering": ("proxy_request_buffering", "on"),
    "proxy-connect-timeout": ("proxy_connect_timeout", "5"),
    "proxy-read-timeout": ("proxy_read_timeout", "60"),
    "proxy-send-timeout": ("proxy_send_timeout", "60"),
}
# What else it understands here. Another annotation fails the test: it would be left out in silence.
OTHERS = {"backend-protocol", "ssl-passthrough", "upstream-hash-by"}
# Keys of the ConfigMap, and their defaults.
CONFIGMAP = {"large-client-header-buffers": "4 8k"}


def modules():
    """The folder of nginx's loadable modules, or None where `stream` is built in."""
    told = subprocess.run([os.environ["NGINX_PROGRAM"], "-V"], capture_output=True, text=True, check=True).stderr
    if "--with-stream" in told.split():
        return None
    return Path(re.search(r"--modules-path=(\S+)", told).group(1))


class Controller:
    """A running nginx; ends with `stop`. `releases` are the pods behind the release's Service."""

    def __init__(self, bed, releases, configmap=None, annotations=None):
        self.bed, self.releases = bed, releases
        self.dir = Path(tempfile.mkdtemp(prefix="nginx.", dir=bed.dir))
        self.settings = CONFIGMAP | (configmap or {})
        assert set(self.settings) == set(CONFIGMAP), self.settings
        self.ingress = bed.object("ingress", NAME)
        given = self.ingress["metadata"].get("annotations", {}) | (annotations or {})
        self.annotations = {key.removeprefix(PREFIX): value for key, value in given.items() if key.startswith(PREFIX)}
        unknown = set(self.annotations) - set(LOCATION) - OTHERS
        assert not unknown, f"no test knows what ingress-nginx makes of {unknown}"
        self.port = free_port()
        self.config = self.made()
        path = self.dir / "nginx.conf"
        path.write_text(self.config)
        command = [os.environ["NGINX_PROGRAM"], "-p", str(self.dir), "-c", str(path), "-e", str(self.dir / "error.log")]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        eventually(self.is_listening)

    @property
    def url(self):
        return f"https://{self.hosts()[0]}:{self.port}"

    def is_listening(self):
        assert self.process.poll() is None, self.process.stderr.read() + self.log()
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self):
        path = self.dir / "error.log"
        return path.read_text() if path.exists() else ""

    def hosts(self):
        return [rule["host"] for rule in self.ingress["spec"]["rules"]]

    def made(self):
        """The whole configuration."""
        passed = self.annotations.get("ssl-passthrough") == "true"
        folder = modules()
        load = f"load_module {folder}/ngx_stream_module.so;" if passed and folder else ""
        return f"""{load}
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
pid {self.dir}/nginx.pid;
worker_processes 1;
events {{ worker_connections 512; }}
{self.stream() if passed else self.http()}
"""

    def backends(self):
        """Where the pods listen, found as a controller finds it: by the rule's Service, its port's name, and the pods' labels."""
        (paths,) = {repr(rule["http"]["paths"]): rule["http"]["paths"] for rule in self.ingress["spec"]["rules"]}.values()
        (path,) = paths
        assert (path["path"], path["pathType"]) == ("/", "Prefix"), "no test knows another path"
        wanted = path["backend"]["service"]
        service = self.bed.object("service", wanted["name"])["spec"]
        (port,) = [port for port in service["ports"] if port["name"] == wanted["port"]["name"]]
        workload = self.bed.object("deployment", NAME)["spec"]["template"]
        assert service["selector"].items() <= workload["metadata"]["labels"].items()
        (container,) = workload["spec"]["containers"]
        assert port["targetPort"] in [there["containerPort"] for there in container["ports"]]
        assert f"--listening-port={port['targetPort']}" in container["args"]
        return "\n".join(f"server 127.0.0.1:{release.port};" for release in self.releases)

    def stream(self):
        """TLS is passed to the backend that its first message names; for other names nobody is there."""
        names = "\n".join(f"{host} pods;" for host in self.hosts())
        return f"""stream {{
    upstream pods {{ {self.backends()} }}
    map $ssl_preread_server_name $backend {{ hostnames; {names} default nobody; }}
    upstream nobody {{ server 127.0.0.1:1; }}
    server {{
        listen 127.0.0.1:{self.port};
        ssl_preread on;
        proxy_timeout 24h;
        proxy_pass $backend;
    }}
}}"""

    def http(self):
        protocol = self.annotations.get("backend-protocol", "HTTP").lower()
        location = {directive: self.annotations.get(key, default) for key, (directive, default) in LOCATION.items()}
        directives = "\n".join(f"            {name} {value}{'s' if name.endswith('timeout') else ''};" for name, value in location.items())
        hash_by = self.annotations.get("upstream-hash-by")
        spread = f"hash {hash_by} consistent;" if hash_by else ""
        temporary = "\n".join(f"    {kind}_temp_path {self.dir}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return f"""http {{
    access_log off;
    large_client_header_buffers {self.settings["large-client-header-buffers"]};
{temporary}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream pods {{
        {self.backends()}
        {spread}
        keepalive 320;
        keepalive_timeout 60s;
        keepalive_requests 10000;
    }}
    server {{
        listen 127.0.0.1:{self.port} ssl http2 default_server;
        ssl_certificate {self.certificate("controller")[0]};
        ssl_certificate_key {self.certificate("controller")[1]};
        return 404;
    }}
    server {{
        listen 127.0.0.1:{self.port} ssl http2;
        server_name {" ".join(self.hosts())};
        ssl_certificate {self.secret()[0]};
        ssl_certificate_key {self.secret()[1]};
        location / {{
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Request-ID $request_id;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port 443;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Scheme $scheme;
            proxy_set_header X-Scheme $scheme;
            proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for;
            proxy_set_header Proxy "";
            proxy_http_version 1.1;
            proxy_buffer_size 4k;
            proxy_buffers 4 4k;
            proxy_next_upstream error timeout;
            proxy_next_upstream_tries 3;
            proxy_redirect off;
{directives}
            proxy_pass {protocol}://pods;
        }}
    }}
}}"""

    def certificate(self, name):
        """The controller's own, which nobody trusts: shown for names that no Ingress has."""
        return self.bed.certificate(name, "ingress.local")

    def secret(self):
        """Certificate and key of the Ingress, out of the Secret that it names for all of its hosts."""
        (entry,) = self.ingress["spec"]["tls"]
        assert set(entry["hosts"]) == set(self.hosts())
        data = self.bed.object("secret", entry["secretName"])["data"]
        files = [self.dir / "tls.crt", self.dir / "tls.key"]
        for file in files:
            file.write_bytes(base64.b64decode(data[file.name]))
        return files

    def stop(self):
        self.process.terminate()
        deadline = time.monotonic() + 30
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        self.process.kill()
