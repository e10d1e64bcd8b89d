"""The chart under both Helms: lint, golden files, strict schemas, refusals, least power. Run by `tests/chart/run`."""

import base64
import copy
import difflib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml
from sentences import run_all, test

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/kube-tenant-proxy"
HERE = ROOT / "tests/chart"
GOLDEN = HERE / "golden"
HELMS = {"Helm 3": os.environ["HELM3"], "Helm 4": os.environ["HELM4"]}
# The oldest Kubernetes that the chart admits, and the newest that the schemas know.
KUBERNETES = ("1.30", "1.37")
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


@test
def every_case_passes_lint_strict_under_both_helms():
    for case in CASES:
        for helm in HELMS.values():
            case.helm("lint", helm)


@test
def both_helms_render_the_same():
    for case in CASES:
        assert normalised(objects(case, "Helm 3")) == normalised(objects(case, "Helm 4")), case.name


@test
def every_case_renders_its_golden_file():
    for case in CASES:
        compare_with_golden(GOLDEN / f"{case.name}.yaml", normalised(objects(case)))
    kept = {path.name for path in GOLDEN.glob("*.yaml")}
    assert kept == {f"{case.name}.yaml" for case in CASES}, f"golden files without a case, or the reverse: {kept}"


@test
def every_case_has_the_notes_of_its_golden_file():
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    for case in CASES:
        notes = case.helm("notes", HELMS["Helm 4"]).split("\nNOTES:\n", 1)[1].replace(version, "<version>")
        compare_with_golden(GOLDEN / f"{case.name}.notes.txt", notes)


@test
def every_object_fits_the_strict_schemas_of_the_oldest_and_newest_kubernetes():
    for version in KUBERNETES:
        for case in CASES:
            for document in objects(case):
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except Exception as error:
                    name = f"{document['kind']}/{document['metadata']['name']}"
                    raise AssertionError(f"{case.name}, {name}, Kubernetes {version}: {error}") from error
        for path in sorted((CHART / "crds").glob("*.yaml")):
            kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


@test
def mistakes_are_refused_with_the_key_in_the_message():
    wrong = [
        (["--set", "options.ignoredUserGroup[0]=a"], "ignoredUserGroup"),
        (["--set", "optoins.listeningPort=1"], "optoins"),
        (["--set", "service.typ=LoadBalancer"], "typ"),
        (["--set", "replicaCount=two"], "replicaCount"),
        (["--set", "service.nodePort=abc"], "nodePort"),
        (["--set", "service.type=Loadbalancer"], "type"),
        (["--set", "options.logLevel=loud"], "logLevel"),
        (["--set", "options.enableSSL=perhaps"], "enableSSL"),
        (["--set", "options.authPreferredTypes=Bearer"], "authPreferredTypes"),
        (["--set", "entra.tenantId=contoso"], "tenantId"),
        (["--set", "ingress.enable=true"], "enable"),
        (["--set", "upstream.impersonate.enabled=yes please"], "enabled"),
    ]
    impossible = [
        (["--set", "entra.cloud=AzureUSGovernmentCloud"], "Set entra.tenantId"),
        (
            ["--set", f"config.authentication.entra.tenantId={GROUP_ID}"],
            "is not a setting. Set entra.tenantId",
        ),
        (["--set", "config.authentication.jwt[0].upstream=impersonate"], "Set upstream.impersonate.enabled=true"),
        (["--set", "upstream.impersonate.extraKeys[0]=kube-tenant-proxy.io/user"], "Take it off the list"),
    ]
    for name, helm in HELMS.items():
        for arguments, expected in wrong + impossible:
            done = run([helm, "template", "capsule-proxy", str(CHART), *arguments])
            assert done.returncode != 0, f"{name} accepts {arguments}"
            assert expected in done.stderr, f"{name}, {arguments}: {expected!r} is not in\n{done.stderr}"


def rules(documents, name):
    return one(documents, "ClusterRole", name)["rules"]


def grants(rule_list):
    """Rules as a set of (verb, group, resource, name or *): one line per right, whatever way it is written."""
    return {
        (verb, group, resource, name)
        for rule in rule_list
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ["*"])
    }


IMPERSONATE_READER = {
    ("impersonate", "", "users", "kube-tenant-proxy:reader"),
    ("impersonate", "", "groups", "kube-tenant-proxy:readers"),
    ("impersonate", "authentication.k8s.io", "userextras/kube-tenant-proxy.io/user", "*"),
}
REVIEW_TOKENS = {("create", "authentication.k8s.io", "tokenreviews", "*")}
READER = {
    (verb, group, resource, "*")
    for verb in ("get", "list", "watch")
    for group, resource in [
        ("", "namespaces"),
        ("capsule.clastix.io", "tenants"),
        ("capsule.clastix.io", "capsuleconfigurations"),
        ("capsule.clastix.io", "proxysettings"),
        ("capsule.clastix.io", "globalproxysettings"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "apiservices"),
    ]
}
OFFERED = {
    (verb, group, resource, "*")
    for verb in ("get", "list", "watch")
    for group, resource in [
        ("", "nodes"),
        ("", "persistentvolumes"),
        ("metrics.k8s.io", "nodes"),
        ("storage.k8s.io", "storageclasses"),
        ("networking.k8s.io", "ingressclasses"),
        ("scheduling.k8s.io", "priorityclasses"),
        ("node.k8s.io", "runtimeclasses"),
    ]
}
OWN, READS = "capsule-proxy:capsule-proxy", "kube-tenant-proxy:reader:capsule-proxy"


@test
def the_proxy_may_become_its_reader_and_review_tokens_and_nothing_else():
    for case in CASES:
        if case.name != "impersonate":
            assert grants(rules(objects(case), OWN)) == IMPERSONATE_READER | REVIEW_TOKENS, case.name


@test
def the_reader_may_read_exactly_what_is_narrowed_and_what_it_is_narrowed_by():
    for case in CASES:
        assert grants(rules(objects(case), READS)) == READER | OFFERED, case.name


@test
def no_case_grants_a_star_or_a_secret_or_binds_anything_else():
    for case in CASES:
        documents = objects(case)
        kinds = [d["kind"] for d in documents if d["apiVersion"].startswith("rbac.")]
        assert sorted(kinds) == ["ClusterRole"] * 2 + ["ClusterRoleBinding"] * 2, case.name
        for role in (OWN, READS):
            for rule in rules(documents, role):
                assert set(rule) <= {"apiGroups", "resources", "resourceNames", "verbs"}, rule
                assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], rule
                assert not any(word in r for r in rule["resources"] for word in ("secret", "pods", "token/")), rule
        account = one(documents, "ServiceAccount")["metadata"]
        subjects = one(documents, "ClusterRoleBinding", OWN)["subjects"]
        assert subjects == [{"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}]
        group = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "kube-tenant-proxy:readers"}
        assert one(documents, "ClusterRoleBinding", READS)["subjects"] == [group]
        for name in (OWN, READS):
            assert one(documents, "ClusterRoleBinding", name)["roleRef"]["name"] == name


@test
def impersonating_others_is_a_switch_and_can_be_limited_by_name():
    (case,) = [case for case in CASES if case.name == "impersonate"]
    expected = IMPERSONATE_READER | {
        ("impersonate", "", "users", "*"),
        ("impersonate", "", "groups", "example:tenants"),
        ("impersonate", "", "groups", "example:owners"),
        ("impersonate", "authentication.k8s.io", "uids", "*"),
        ("impersonate", "authentication.k8s.io", "userextras/example.com/department", "*"),
    }
    assert grants(rules(objects(case), OWN)) == expected
    wide = template("--set", "upstream.impersonate.enabled=true", "--set", "upstream.impersonate.serviceAccounts=true")
    expected = IMPERSONATE_READER | REVIEW_TOKENS
    expected |= {("impersonate", "", resource, "*") for resource in ("users", "groups", "serviceaccounts")}
    assert grants(rules(wide, OWN)) == expected


@test
def what_is_switched_off_is_not_asked_for():
    quiet = template("--set", "options.roleBindingReflector=false", "--set", "config.authentication.tokenReview.enabled=false")
    assert grants(rules(quiet, OWN)) == IMPERSONATE_READER
    assert grants(rules(quiet, READS)) == {grant for grant in READER | OFFERED if grant[2] != "rolebindings"}
    assert "--enable-reflector=false" in arguments(quiet)
    none = template("--set", "rbac.enabled=false")
    assert not [d for d in none if d["apiVersion"].startswith("rbac.")]


@test
def kinds_that_rules_show_are_named_one_by_one():
    assert grants(rules(template("--set", "rbac.reader.proxySettings=false"), READS)) == READER
    kind = "rbac.reader.clusterResources[0]"
    more = template("--set", f"{kind}.apiGroups={{gateway.networking.k8s.io}}", "--set", f"{kind}.resources={{gatewayclasses}}")
    added = {(verb, "gateway.networking.k8s.io", "gatewayclasses", "*") for verb in ("get", "list", "watch")}
    assert grants(rules(more, READS)) == READER | OFFERED | added
    for group, resource in [("*", "gatewayclasses"), ("gateway.networking.k8s.io", "*"), ("", "secrets"), ("", "pods/log")]:
        wrong = ["--set-json", f'{kind}={{"apiGroups": ["{group}"], "resources": ["{resource}"]}}']
        done = run([HELMS["Helm 4"], "template", "capsule-proxy", str(CHART), *wrong])
        assert done.returncode != 0 and "clusterResources" in done.stderr, (group, resource, done.stderr)


def pod(documents):
    (workload,) = [d for d in documents if d["kind"] in ("Deployment", "DaemonSet")]
    return workload["spec"]["template"]["spec"]


def arguments(documents):
    return pod(documents)["containers"][0]["args"]


@test
def every_pod_meets_the_restricted_standard():
    for case in CASES:
        spec = pod(objects(case))
        (container,) = spec["containers"]
        assert container["name"] == "capsule-proxy"
        context = container["securityContext"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, case.name
        assert context["capabilities"] == {"drop": ["ALL"]} and context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False and context["runAsNonRoot"] is True
        assert context["runAsUser"] == (1002 if case.name == "incumbent" else 65532)
        assert not spec.get("hostNetwork") and all("hostPath" not in volume for volume in spec.get("volumes", []))


@test
def the_walkthrough_gets_the_service_and_the_arguments_it_names():
    for case in CASES[:2]:
        documents = objects(case)
        service = one(documents, "Service", "capsule-proxy")
        (port,) = service["spec"]["ports"]
        assert service["spec"]["type"] == "LoadBalancer"
        assert (port["name"], port["port"], port["targetPort"]) == ("proxy", 443, 9001) and "appProtocol" not in port
        assert service["metadata"]["annotations"] == {"service.beta.kubernetes.io/azure-dns-label-name": "capsule-proxy"}
        (metrics,) = one(documents, "Service", "capsule-proxy-metrics-service")["spec"]["ports"]
        assert metrics["port"] == 8080
        given = arguments(documents)
        assert "--oidc-username-claim=unique_name" in given and f"--ignored-user-group={GROUP_ID}" in given
        assert "--ssl-cert-path=/opt/capsule-proxy/tls.crt" in given and not any("--config" in a for a in given)
        (volume,) = pod(documents)["volumes"]
        assert volume == {"name": "certs", "secret": {"secretName": "capsule-proxy", "optional": True}}


@test
def the_generated_secret_is_a_hook_that_nothing_deletes_and_its_absence_is_a_choice():
    secret = one(objects(CASES[0]), "Secret")
    assert (secret["type"], sorted(secret["data"])) == ("Opaque", ["ca", "tls.crt", "tls.key"])
    annotations = secret["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
    # Without a policy Helm takes before-hook-creation, which deletes what is there.
    assert annotations["helm.sh/hook-delete-policy"] == "hook-failed"
    for case in CASES[1:]:
        expected = case.name in ("minimal", "impersonate", "daemonset", "incumbent")
        assert any(d["kind"] == "Secret" for d in objects(case)) == expected, case.name
    for switch in ("options.enableSSL=false", "certManager.generateCertificates=true"):
        assert not [d for d in template("--set", switch) if d["kind"] == "Secret"], switch


@test
def the_generated_certificate_is_good_for_its_names_and_its_key():
    for helm in HELMS:
        secret = one(template("--set", "options.additionalSANs={proxy.example.com,192.0.2.10}", helm=helm), "Secret")
        with tempfile.TemporaryDirectory() as directory:
            files = {}
            for key, value in secret["data"].items():
                files[key] = Path(directory) / key
                files[key].write_bytes(base64.b64decode(value))
            for name in ("capsule-proxy.capsule-system.svc", "proxy.example.com"):
                output(["openssl", "verify", "-CAfile", files["ca"], "-verify_hostname", name, "-purpose", "sslserver", files["tls.crt"]])
            output(["openssl", "verify", "-CAfile", files["ca"], "-verify_ip", "192.0.2.10", files["tls.crt"]])
            refused = run(["openssl", "verify", "-CAfile", files["ca"], "-verify_hostname", "other.example.com", files["tls.crt"]])
            assert refused.returncode != 0
            # Nine years from now it still holds.
            output(["openssl", "x509", "-in", files["tls.crt"], "-noout", "-checkend", str(9 * 365 * 86400)])
            of_key = output(["openssl", "pkey", "-in", files["tls.key"], "-pubout"])
            assert of_key == output(["openssl", "x509", "-in", files["tls.crt"], "-noout", "-pubkey"])


@test
def a_release_named_after_either_proxy_gives_its_name_to_everything():
    for release, override, full in [
        ("capsule-proxy", [], "capsule-proxy"),
        ("my-capsule-proxy", [], "my-capsule-proxy"),
        ("kube-tenant-proxy", [], "kube-tenant-proxy"),
        ("edge", [], "edge-kube-tenant-proxy"),
        ("edge", ["--set", "nameOverride=capsule-proxy"], "edge-capsule-proxy"),
        ("edge", ["--set", "fullnameOverride=door"], "door"),
    ]:
        documents = template(*override, release=release)
        for kind in ("Deployment", "ServiceAccount", "Secret"):
            one(documents, kind, full)
        one(documents, "Service", full)
        one(documents, "Service", f"{full}-metrics-service")
        one(documents, "ClusterRole", f"capsule-proxy:{release}")


@test
def a_release_of_the_incumbents_keeps_the_selector_it_cannot_change():
    selector = one(template(), "Deployment")["spec"]["selector"]["matchLabels"]
    assert selector == {
        "app.kubernetes.io/name": "capsule-proxy",
        "app.kubernetes.io/instance": "capsule-proxy",
        "app.kubernetes.io/component": "proxy",
    }


@test
def the_configuration_file_is_what_the_values_say():
    documents = template("--set", f"entra.tenantId={GROUP_ID}", "--set", "config.authentication.tokenReview.enabled=true")
    config = yaml.safe_load(one(documents, "ConfigMap", "capsule-proxy-config")["data"]["config.yaml"])
    assert config == {"authentication": {"jwt": [{"entra": {"tenantId": GROUP_ID}}], "tokenReview": {"enabled": True}}}
    assert "--config=/etc/kube-tenant-proxy/config.yaml" in arguments(documents)
    other = template("--set", f"entra.tenantId={GROUP_ID}")
    marks = [one(d, "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for d in (documents, other)]
    assert marks[0] != marks[1], "a change of the configuration must restart the pods"


@test
def the_chart_can_be_part_of_another():
    with tempfile.TemporaryDirectory() as directory:
        parent = Path(directory) / "parent"
        shutil.copytree(CHART, parent / "charts/kube-tenant-proxy")
        (parent / "Chart.yaml").write_text(
            "apiVersion: v2\nname: parent\nversion: 0.0.0\n"
            "dependencies: [{name: kube-tenant-proxy, version: '*', condition: kube-tenant-proxy.enabled}]\n"
        )
        (parent / "values.yaml").write_text("global: {region: west}\n")
        for helm in HELMS.values():
            assert parse(output([helm, "template", "platform", str(parent), "--set", "kube-tenant-proxy.enabled=true"]))
            assert not parse(output([helm, "template", "platform", str(parent), "--set", "kube-tenant-proxy.enabled=false"]))


SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def properties(schema, path=()):
    for key, value in schema.get("properties", {}).items():
        yield (*path, key), value
        yield from properties(value, (*path, key))


@test
def the_schema_is_draft_07_closed_and_describes_every_key():
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    for path, schema in [((), SCHEMA), *properties(SCHEMA)]:
        assert schema.get("description"), f"{'.'.join(path)} has no description"
        if "properties" in schema:
            assert "additionalProperties" in schema, f"{'.'.join(path)} does not say whether unknown keys are allowed"
    assert SCHEMA["additionalProperties"] is False


@test
def values_and_schema_agree():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.Draft7Validator(SCHEMA).validate(values)
    for path, schema in properties(SCHEMA):
        node, dead = values, False
        for depth, key in enumerate(path):
            described = dict(properties(SCHEMA))[path[: depth + 1]]["description"]
            dead = dead or described.startswith("Accepted")
            if not isinstance(node, dict) or key not in node:
                node = None
                break
            node = node[key]
        else:
            continue
        assert dead, f"{'.'.join(path)} is in the schema, not in values.yaml"


@test
def chart_crate_and_image_carry_one_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    crate = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
    assert chart["version"] == chart["appVersion"] == crate, (chart["version"], chart["appVersion"], crate)


run_all()
