"""The walkthrough through the proxy that its Helm command installs: logging in, tenants, both certificates, their renewal.
Run by `tests/chart/cluster`."""

import base64
import json
import os
import re
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import yaml

from bed import NAME, NAMESPACE, Bed, eventually
from release import Release
from sentences import run_all, test

HELM = os.environ["HELM4"]
PUBLIC = "capsule-proxy.francecentral.cloudapp.azure.com"
DOMAIN = "example.onmicrosoft.com"
NAMESPACES = "/api/v1/namespaces"

bed = Bed()
running = []


def release():
    """The one release of these tests, started by the first that needs it."""
    if not running:
        bed.kubectl("create", "namespace", NAMESPACE)
        # The test bed's own; on a cluster that has the operator alone there are none.
        bed.kubectl("delete", "crd", "proxysettings.capsule.clastix.io", "globalproxysettings.capsule.clastix.io")
        bed.walkthrough("self-signed.sh", HELM)
        running.append(Release(bed).ready())
    return running[0]


def token(person):
    return bed.directory("/control/mint", {"persona": person})["token"]


class User:
    """Somebody with a kubeconfig as `az aks get-credentials` writes it, and the one that leads to the proxy."""

    def __init__(self, person):
        self.person = person
        self.home = bed.dir / person
        self.home.mkdir()
        # The test bed's kubelogin is the real one, led to the directory's stand-in.
        path = f"{Path(bed.facts['kubelogin']).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "HOME": str(self.home)}
        # As everybody does who was not the last to log in on this machine.
        bed.output(["kubelogin", "remove-cache-dir"], **self.environment)
        entra = bed.facts["entra"]
        login = ["--environment", "AzurePublicCloud", "--server-id", entra["audience"], "--client-id", "80faf920-1908-4b52-b5ef-a8e7bedfc67a"]
        directory = ["--tenant-id", entra["tenantId"], "--login", "devicecode"]
        exec = {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "kubelogin",
            "args": ["get-token", *login, *directory],
            "interactiveMode": "IfAvailable",
        }
        authority = base64.b64encode(Path(bed.facts["caFile"]).read_bytes()).decode()
        user, cluster = "clusterUser_aw-capsule_aw-capsule", "aw-capsule"
        self.direct = self.home / "direct"
        self.direct.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": cluster,
                    "clusters": [{"name": cluster, "cluster": {"server": bed.facts["server"], "certificate-authority-data": authority}}],
                    "users": [{"name": user, "user": {"exec": exec}}],
                    "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
                }
            )
        )
        self.through = self.home / "through"
        ca = self.home / "ca.crt"
        ca.write_bytes(base64.b64decode(bed.object("secret", NAME)["data"]["ca"]))
        told = bed.output(
            [
                *(os.environ["PROGRAM"], "kubeconfig", "--from", str(self.direct), "--output", str(self.through)),
                *("--server", release().url, "--certificate-authority", str(ca)),
            ]
        )
        assert told == "", told

    def kubectl(self, kubeconfig, *arguments):
        """Runs it; whoever is asked to log in does so."""
        command = [os.environ["KUBECTL"], "--kubeconfig", str(kubeconfig), "--cache-dir", f"{kubeconfig}.cache"]
        # The name that the certificate is good for; the test has no name server.
        named = kubeconfig == self.direct or any("--tls-server-name" in argument for argument in arguments)
        name = [] if named else [f"--tls-server-name={PUBLIC}"]
        process = subprocess.Popen(
            [*command, *name, *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        said = ""
        for line in process.stderr:
            said += line
            if code := re.search(r"the code (\S+)", line):
                bed.directory("/control/approve", {"user_code": code.group(1), "persona": self.person})
        out = process.stdout.read()
        return process.wait(60), out, said

    def names(self, *arguments):
        code, out, said = self.kubectl(self.through, *arguments, "-o", "name")
        assert code == 0, said
        return [line.removeprefix("namespace/") for line in out.split()]


@test
def the_first_checks_of_the_walkthrough():
    proxy = release()
    secret = bed.object("secret", NAME)
    assert (secret["type"], len(secret["data"])) == ("Opaque", 3)
    status, body, _ = proxy.get("/")
    assert status == 401, body
    assert {**body, "message": ""} == {
        **{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"},
        **{"message": "", "reason": "Unauthorized", "code": 401},
    }
    # Its certificate is good for the name that the command names, by the CA in the Secret.
    trust = ssl.create_default_context(cadata=base64.b64decode(secret["data"]["ca"]).decode())
    assert any("is asked about each token in use" in line for line in proxy.log), "what it costs without entra.tenantId"
    with trust.wrap_socket(socket.create_connection(("127.0.0.1", proxy.port)), server_hostname=PUBLIC):
        pass


@test
def a_tenant_owners_day_from_the_kubeconfig_of_az_to_his_namespaces():
    groups = bed.facts["capsule"]
    for tenant, group in (("dev", groups["devGroup"]), ("staging", groups["stagingGroup"])):
        path = bed.dir / "tenant.json"
        tenant = {"metadata": {"name": tenant}, "spec": {"owners": [{"name": group, "kind": "Group"}]}}
        path.write_text(json.dumps({"apiVersion": "capsule.clastix.io/v1beta1", "kind": "Tenant", **tenant}))
        bed.kubectl("apply", "-f", str(path))
    dev = User("capsule-user-dev")
    code, _, said = dev.kubectl(dev.direct, "get", "ns")
    assert code != 0 and "at the cluster scope" in said, said

    def none_yet():
        return dev.kubectl(dev.through, "get", "ns")[2].startswith("No resources found")

    eventually(none_yet)
    refused = [dev.kubectl(way, "get", "po") for way in (dev.direct, dev.through)]
    assert refused[0] == refused[1] and refused[0][0] != 0, refused
    refused = [dev.kubectl(way, "create", "ns", "demo") for way in (dev.direct, dev.through)]
    assert refused[0] == refused[1] and "denied the request" in refused[0][2], refused
    code, out, said = dev.kubectl(dev.through, "create", "ns", "dev-demo")
    assert (code, out) == (0, "namespace/dev-demo created\n"), said
    assert dev.names("get", "ns") == ["dev-demo"], "not in the next list"
    assert dev.names("get", "ns", "dev-demo") == ["dev-demo"]
    assert dev.names("get", "tenants.capsule.clastix.io") == ["tenant.capsule.clastix.io/dev"]
    who = [json.loads(dev.kubectl(way, "auth", "whoami", "-o", "json")[1])["status"]["userInfo"] for way in (dev.direct, dev.through)]
    assert who[0] == who[1] and who[0]["username"] == f"capsule-user-dev@{DOMAIN}", who

    staging = User("capsule-user-staging")
    assert staging.names("get", "ns") == []
    admin = User("capsule-admin")
    assert {"dev-demo", "kube-system", NAMESPACE} <= set(admin.names("get", "ns"))


@test
def a_name_that_the_certificate_lacks_is_refused():
    user = User("mixed-case")
    code, _, said = user.kubectl(user.through, "get", "ns", "--tls-server-name=other.example.com")
    assert code != 0 and "certificate is valid for" in said, said


@test
def prometheus_finds_what_the_monitor_points_at():
    proxy = release()
    status, text = proxy.ask(proxy.metrics, "/metrics")
    assert status == 200 and 'kube_tenant_proxy_requests_total{plan="narrow-list",code="200"}' in text, text
    for word in ("capsule-user", "dev-demo", DOMAIN):
        assert word not in text, word


class Load:
    """Requests, each on a connection of its own, until `end`; every answer must be right. The certificates shown are kept."""

    def __init__(self, proxy):
        self.proxy, self.token, self.going, self.wrong, self.shown = proxy, token("capsule-user-dev"), True, [], []
        self.threads = [threading.Thread(target=self.ask) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def ask(self):
        while self.going:
            try:
                status, body, shown = self.proxy.get(NAMESPACES, self.token)
                names = [item["metadata"]["name"] for item in body.get("items", [])]
                if (status, names) != (200, ["dev-demo"]):
                    self.wrong.append(body)
                self.shown.append(shown)
            except OSError as error:
                self.wrong.append(error)

    def end(self):
        self.going = False
        for thread in self.threads:
            thread.join()
        assert not self.wrong, self.wrong[:3]
        return self.shown


def der(certificate):
    return ssl.PEM_cert_to_DER_cert(Path(certificate).read_text())


@test
def an_own_certificate_takes_the_place_of_the_made_one_while_requests_go_on():
    proxy = release()
    load = Load(proxy)
    eventually(lambda: load.shown or load.wrong)
    bed.kubectl("delete", "secret", NAME, "-n", NAMESPACE)
    proxy.sync()  # A kubelet that looks now finds nothing: the pod keeps what it has read.
    first, key = bed.certificate("first", "capsule-proxy.caas.fr")
    bed.kubectl("create", "secret", "tls", NAME, "-n", NAMESPACE, f"--cert={first}", f"--key={key}")
    bed.walkthrough("own-certificate.sh", HELM)
    proxy.sync()
    eventually(lambda: load.wrong or der(first) in load.shown[-4:])

    # Renewed by replacing the Secret, as the walkthrough does.
    second, key = bed.certificate("second", "capsule-proxy.caas.fr")
    made = [os.environ["KUBECTL"], "create", "secret", "tls", NAME, "-n", NAMESPACE, f"--cert={second}", f"--key={key}"]
    renewed = bed.dir / "renewed.yaml"
    renewed.write_text(bed.output([*made, "--dry-run=client", "-o", "yaml"]))
    bed.kubectl("apply", "-f", str(renewed))
    proxy.sync()
    eventually(lambda: load.wrong or der(second) in load.shown[-4:])
    shown = load.end()
    assert len(set(shown)) == 3 and shown[-1] == der(second), "made, first, second, and no other"


@test
def the_test_of_the_release_proves_it_and_only_it():
    proxy = release()
    pods = [text for text in re.split(r"^---$", bed.output([HELM, "get", "hooks", NAME, "-n", NAMESPACE]), flags=re.MULTILINE) if "kind: Pod" in text]
    (pod,) = [yaml.safe_load(text) for text in pods]
    (container,) = pod["spec"]["containers"]
    assert container["args"][1] == f"--url=https://{NAME}.{NAMESPACE}.svc:443"

    def probe(certificate, *more):
        # Where the Service leads, and where the Secret lies.
        places = {container["args"][1]: f"--url={proxy.url}", container["args"][2]: f"--certificate={certificate}"}
        return bed.run([os.environ["PROGRAM"], *(places.get(argument, argument) for argument in container["args"]), *more])

    (folder,) = proxy.mounts.values()
    done = probe(folder / "tls.crt")
    assert (done.returncode, done.stdout) == (0, f"{proxy.url} is ready\n".replace(f":{proxy.port} ", f":{proxy.port}/ ")), done
    other, _ = bed.certificate("foreign", "capsule-proxy.caas.fr")
    done = probe(other, "--timeout=0")
    assert done.returncode == 1 and "it shows another certificate" in done.stderr, done


@test
def a_pair_that_does_not_fit_changes_nothing_and_is_named():
    proxy = release()
    before = proxy.get(NAMESPACES, token("capsule-user-dev"))[2]
    (certificate, _), (_, key) = bed.certificate("one", "a.example.com"), bed.certificate("other", "b.example.com")
    secret = bed.object("secret", NAME)
    secret["data"] = {
        "tls.crt": base64.b64encode(certificate.read_bytes()).decode(),
        "tls.key": base64.b64encode(key.read_bytes()).decode(),
    }
    path = bed.dir / "secret.json"
    path.write_text(json.dumps(secret))
    bed.kubectl("replace", "-f", str(path))
    proxy.sync()

    def is_refused():
        return 'reload_failing{what="certificate"} 1' in proxy.ask(proxy.metrics, "/metrics")[1]

    eventually(is_refused)
    assert any("certificate and key cannot be used together" in line for line in proxy.log), proxy.log[-5:]
    assert proxy.get(NAMESPACES, token("capsule-user-dev"))[2] == before
    status, text = proxy.ask(proxy.probe, "/readyz/")
    assert status == 200 and "serving certificate: certificate and key cannot be used together" in text, text


@test
def a_release_without_its_secret_waits_and_says_which():
    bed.kubectl("delete", "secret", NAME, "-n", NAMESPACE)
    waiting = Release(bed)
    try:
        command = [os.environ["PROGRAM"], "probe", "--url", waiting.url, "--certificate", str(bed.dir / "foreign.crt"), "--timeout=0"]
        refused = bed.run(command)
        assert refused.returncode == 1 and f"{waiting.url}/ is not ready: " in refused.stderr, refused

        def only_the_certificate_is_missing():
            status, text = waiting.ask(waiting.probe, "/readyz/")
            missing = [line for line in text.splitlines() if line.startswith("- ")]
            return (status, missing) == (503, ["- serving certificate"]) and text

        said = eventually(only_the_certificate_is_missing)
        command = f"kubectl -n {NAMESPACE} create secret tls {NAME} --cert=tls.crt --key=tls.key"
        assert command in said, said
        eventually(lambda: any(command in line for line in waiting.log))
        certificate, key = bed.certificate("late", "capsule-proxy.caas.fr")
        bed.kubectl("create", "secret", "tls", NAME, "-n", NAMESPACE, f"--cert={certificate}", f"--key={key}")
        waiting.sync()
        waiting.ready()
        assert waiting.get("/")[2] == der(certificate)
    finally:
        waiting.stop()


@test
def the_release_ends_cleanly():
    release().stop()


try:
    run_all()
finally:
    for proxy in running:
        proxy.process.kill()
    bed.close()
