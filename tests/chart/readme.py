"""The README's commands, each as it stands there, against a real API server. Run by `tests/chart/cluster`.

A command that these tests do not know how to run fails them: what is fenced as `sh` runs with nothing on PATH but the programs
below, what is fenced as `console` is played and its output compared."""

import base64
import json
import os
import re
import shutil
from pathlib import Path

from bed import NAME, NAMESPACE, ROOT, Bed, eventually
from release import Release
from sentences import run_all, test

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
# Where the README's examples lead, but for the test.
DIRECT, PROXY = "https://api.example.com:6443", "https://proxy.example.com:9001"
# What scripts may use besides the programs that are tested.
TOOLS = ("base64",)

bed = Bed()
ran = []


def of(language):
    return [text for found, text in BLOCKS if found == language]


def programs(helm):
    """A folder with everything that a command of the README may call. Each notes that it ran."""
    folder = bed.dir / Path(helm).parent.name / "bin"
    folder.mkdir(parents=True)
    make = f'exec "{shutil.which("make")}" -C "{ROOT}" --dry-run "$@"'
    # The demo itself, without the minutes of an optimised build.
    make = f'if [ "$1" = demo ]; then DEMO_ONCE=1 PATH="{os.environ["PATH"]}" exec "{ROOT}/tests/tools/demo" "{os.environ["PROGRAM"]}"; fi; {make}'
    bodies = {
        "helm": f'exec "{helm}" "$@"',
        "kubectl": f'exec "{os.environ["KUBECTL"]}" "$@"',
        "kube-tenant-proxy": f'exec "{os.environ["PROGRAM"]}" "$@"',
        "make": make,
        **{tool: f'exec "{shutil.which(tool)}" "$@"' for tool in TOOLS},
    }
    for name, body in bodies.items():
        program = folder / name
        program.write_text(f'#!/bin/bash\necho "{name}" >> "{folder.parent}/ran"\n{body}\n')
        program.chmod(0o755)
    return folder


def desk(helm):
    """A working folder as the README assumes it: a checkout, a certificate, a kubeconfig of `az`, a configuration file."""
    folder = bed.dir / Path(helm).parent.name / "desk"
    folder.mkdir(parents=True)
    (folder / "charts").symlink_to(ROOT / "charts")
    certificate, key = bed.certificate("tls", "proxy.example.com")
    shutil.copy(certificate, folder / "tls.crt")
    shutil.copy(key, folder / "tls.key")
    (folder / "proxy.yaml").write_text(of("yaml")[0])
    cluster = {"name": "aks", "cluster": {"server": DIRECT}}
    context = {"name": "aks", "context": {"cluster": "aks", "user": "alice"}}
    user = {"name": "alice", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "kubelogin"}}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "aks", "clusters": [cluster], "contexts": [context], "users": [user]}
    (folder / "aks.kubeconfig").write_text(json.dumps(config))
    return folder


def play(transcript):
    """Runs what follows each `$`, as alice, who owns three namespaces; and compares what is printed, but for ages."""
    proxy = Release(bed).ready()
    try:
        people = bed.facts["capsule"]["group"]
        bed.directory("/control/persona", {"name": "readme-alice", "kind": "member", "upn": "alice@example.com", "groups": [people]})
        token = bed.directory("/control/mint", {"persona": "readme-alice"})["token"]
        ca = bed.dir / "readme-ca.crt"
        ca.write_bytes(base64.b64decode(bed.object("secret", NAME)["data"]["ca"]))
        places = {
            DIRECT: [f"--server={bed.facts['server']}", f"--certificate-authority={bed.facts['caFile']}"],
            PROXY: [f"--server={proxy.url}", f"--certificate-authority={ca}", "--tls-server-name=proxy.example.com"],
        }
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", transcript, re.MULTILINE):
            program, server, place, *arguments = command.split("#")[0].split()
            assert (program, server) == ("kubectl", "--server"), f"no test knows how to run: {command}"

            def is_as_written():
                done = bed.run([os.environ["KUBECTL"], "--kubeconfig", os.devnull, f"--token={token}", *places[place], *arguments])
                words = [[re.sub(r"^\d+[smhd].*", "AGE", word) for word in line.split()] for line in (done.stdout + done.stderr).splitlines()]
                wanted = [[re.sub(r"^\d+[smhd].*", "AGE", word) for word in line.split()] for line in expected.splitlines() if line]
                return words == wanted

            eventually(is_as_written)
            ran.append(program)
    finally:
        proxy.stop()


def oil():
    """What the README's example is about."""
    owner = {"kind": "User", "name": "alice@example.com"}
    objects = [{"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant", "metadata": {"name": "oil"}, "spec": {"owners": [owner]}}]
    for name in ("dev", "prod", "test"):
        metadata = {"name": f"oil-{name}", "labels": {"capsule.clastix.io/tenant": "oil"}}
        objects.append({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    for item in objects:
        path = bed.dir / "oil.json"
        path.write_text(json.dumps(item))

        def is_there():
            # The operator's webhook learns of a Tenant a moment later.
            return bed.run([os.environ["KUBECTL"], "apply", "-f", str(path)]).returncode == 0

        eventually(is_there)


def run_all_of_it(helm):
    folder, path = desk(helm), programs(helm)
    for script in of("sh"):
        done = bed.run(["/bin/bash", "-euo", "pipefail", "-c", script], cwd=folder, PATH=str(path))
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        if "--create-namespace" in script:
            for transcript in of("console"):
                play(transcript)
    ran.extend((path.parent / "ran").read_text().split())
    assert "https://proxy.example.com:443" in (folder / "mine.kubeconfig").read_text()
    bed.output([helm, "uninstall", NAME, "-n", NAMESPACE])
    bed.kubectl("delete", "secret", NAME, "-n", NAMESPACE)


@test
def every_fenced_block_is_of_a_kind_that_a_test_knows():
    # `yaml` is a configuration file, which `tests/tidy.rs` has the program read; `text` is a drawing.
    assert {language for language, _ in BLOCKS} == {"console", "sh", "text", "yaml"}
    assert README.count("```") == 2 * len(BLOCKS)


@test
def every_command_runs_with_helm_4():
    # The test bed's own; on a cluster that has the operator alone there are none.
    bed.kubectl("delete", "crd", "proxysettings.capsule.clastix.io", "globalproxysettings.capsule.clastix.io")
    oil()
    run_all_of_it(os.environ["HELM4"])


@test
def every_command_runs_with_helm_3():
    run_all_of_it(os.environ["HELM3"])


@test
def none_was_left_out():
    in_readme = "\n".join(of("sh") + of("console"))
    for program, least in (("helm", 7), ("kubectl", 7), ("kube-tenant-proxy", 5), ("make", 2)):
        words = len(re.findall(rf"(?:^|\$ |\| ){program} ", in_readme, re.MULTILINE))
        assert least <= words and 2 * words == ran.count(program), (program, words, ran.count(program))


try:
    run_all()
finally:
    bed.close()
