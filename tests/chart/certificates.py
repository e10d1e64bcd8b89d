"""Where the certificate comes from, with cert-manager and without, on an empty cluster and on one with a past."""

import json
import tempfile
from pathlib import Path

from rendering import CHART, HELMS, expect_refusal, notes, one, parse, run, template
from sentences import test
from stub import cluster

NAMESPACE = "capsule-system"
BY_CERT_MANAGER = ["--set", "certManager.generateCertificates=true"]


def install(settings, *there, helm, release="capsule-proxy"):
    """How an install ends in a cluster that holds these objects already."""
    with cluster(*there) as kubeconfig, tempfile.TemporaryDirectory() as directory:
        releases = Path(directory) / "releases"
        releases.write_text("[]")
        where = {"KUBECONFIG": kubeconfig, "HELM_DRIVER": "memory", "HELM_MEMORY_DRIVER_DATA": str(releases)}
        command = ["install", release, str(CHART), "-n", NAMESPACE, "--dry-run=server", "--disable-openapi-validation"]
        return run([HELMS[helm], *command, *settings], **where)


def installed(settings, *there, helms=("Helm 3", "Helm 4"), release="capsule-proxy"):
    """Objects and notes of such an install; the Helms must agree."""
    answers = []
    for helm in helms:
        done = install(settings, *there, helm=helm, release=release)
        assert done.returncode == 0, f"{settings}: {done.stdout}{done.stderr}"
        rendered, told = done.stdout.split("\nNOTES:\n", 1)
        hooks, manifest = rendered.split("\nHOOKS:\n", 1)[1].split("MANIFEST:\n", 1)
        answers.append((parse(hooks) + parse(manifest), told))
    for documents, told in answers[1:]:
        assert kinds(documents) == kinds(answers[0][0]) and told == answers[0][1], answers
    return answers[0]


def kinds(documents):
    return sorted((d["kind"], d["metadata"]["name"]) for d in documents)


def certificate(release, issuer="capsule-proxy-ca-issuer"):
    """The Certificate that a release left, or that somebody else made under its name (release None)."""
    metadata = {"name": "capsule-proxy-serving-cert", "namespace": NAMESPACE}
    if release:
        metadata["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
        metadata["annotations"] = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": NAMESPACE}
    spec = {"issuerRef": {"kind": "Issuer", "name": issuer}, "secretName": "capsule-proxy"}
    return {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": metadata, "spec": spec}


def secret(made_by=None):
    """The Secret of an earlier install, or the admin's (made_by None)."""
    marks = {"kube-tenant-proxy.io/generated-by": made_by, "kube-tenant-proxy.io/names": "capsule-proxy"} if made_by else {}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "capsule-proxy", "namespace": NAMESPACE, "annotations": marks}}


def mode(documents, told):
    """The mode by what is rendered, which the notes must agree with."""
    words = {"None (": "none", "Made by the chart": "generated", "By cert-manager": "cert-manager", "Yours, in": "existing"}
    (found,) = [mode for begin, mode in words.items() if f"\nCertificate\n  {begin}" in told]
    rendered = {kind for kind, _ in kinds(documents)}
    assert ("Certificate" in rendered) == (found == "cert-manager"), (found, rendered)
    assert found == "generated" or "Secret" not in rendered, (found, rendered)
    return found


@test
def the_mode_of_the_certificate_is_the_first_that_applies():
    off = ["--set", "certManager.generateCertificates=false"]
    own = ["--set", "options.generateCertificates=false"]
    ours, others = certificate("capsule-proxy"), certificate(None)
    for settings, there, expected in (
        ([], [], "generated"),
        ([], [secret("capsule-proxy")], "generated"),
        ([], [secret()], "existing"),
        ([], [secret("another")], "existing"),
        ([*own], [], "existing"),
        ([*own], [secret("capsule-proxy")], "existing"),
        # A Certificate of this release stays, though no value asks for it: the incumbent made it so by default.
        ([], [ours], "cert-manager"),
        ([], [ours, secret()], "cert-manager"),
        ([*own], [ours, secret()], "cert-manager"),
        ([*off], [ours, secret()], "existing"),
        ([*off], [], "generated"),
        # A Certificate of somebody else's is left alone, and so is the Secret it fills.
        ([], [others], "existing"),
        ([], [others, secret()], "existing"),
        ([], [certificate("another"), secret()], "existing"),
        ([*BY_CERT_MANAGER], [], "cert-manager"),
        ([*BY_CERT_MANAGER, *own], [secret()], "cert-manager"),
        ([*BY_CERT_MANAGER, "--set", "options.certificateVolumeName=mine"], [ours], "existing"),
        ([*BY_CERT_MANAGER, "--set", "options.enableSSL=false"], [ours], "none"),
        (["--set", "options.enableSSL=false"], [secret()], "none"),
    ):
        found = mode(*installed(settings, *there, helms=["Helm 4"]))
        assert found == expected, f"{settings}, {[d['kind'] for d in there]}: {found}, not {expected}"


@test
def a_certificates_further_names_are_hosts_and_nothing_else():
    good = ["proxy.example.com", "*.example.com", "localhost", "Proxy.Example.com", "192.0.2.10", "2001:db8::10", "::1", "1:2:3:4:5:6:7:8"]
    settings = ["--set-json", f"options.additionalSANs={json.dumps(good)}"]
    for helm in HELMS:
        one(template(*settings, helm=helm), "Secret")
    for wrong in (
        *("https://proxy.example.com", "proxy.example.com:443", "proxy.example.com/", "[2001:db8::10]", "192.0.2.10:443", "192.0.2.300"),
        *("192.0.2", "proxy..example.com", "-a", "a_b", "*", "a.*.example.com", "1:2:3", "1:::2", "fe80::1%eth0", "a b", "a,b"),
    ):
        expect_refusal(["--set-json", f"options.additionalSANs={json.dumps([wrong])}"], f"options.additionalSANs[0]={wrong} is no DNS name")


@test
def the_notes_say_when_the_ca_changes_or_nobody_renews():
    for settings, there, words in (
        ([*BY_CERT_MANAGER], [certificate("capsule-proxy")], None),
        ([*BY_CERT_MANAGER, "--set", "certManager.issuer.name=vault"], [certificate("capsule-proxy")], "proxy-ca-issuer. The CA changes"),
        ([*BY_CERT_MANAGER], [secret("capsule-proxy")], "made by the chart. The CA changes"),
        (["--set", "certManager.generateCertificates=false"], [certificate("capsule-proxy"), secret()], "nobody renews the"),
        (["--set", "options.additionalSANs={later.example.com}"], [secret("capsule-proxy")], "later.example.com. A new one has"),
    ):
        told = installed(settings, *there)[1]
        assert words in told if words else "WARNING" not in told, (settings, told)
    assert "is not of this release" in installed([], certificate(None), secret())[1]


@test
def cert_managers_objects_keep_the_incumbents_names():
    documents = template(*BY_CERT_MANAGER)
    for kind, suffix in (
        ("Issuer", "selfsigned-issuer"),
        ("Issuer", "ca-issuer"),
        ("Certificate", "selfsigned-ca"),
        ("Certificate", "serving-cert"),
    ):
        one(documents, kind, f"capsule-proxy-{suffix}")
    ca = one(documents, "Certificate", "capsule-proxy-selfsigned-ca")["spec"]
    assert ca["isCA"] is True and ca["secretName"] == "capsule-proxy-root-secret"
    assert one(documents, "Issuer", "capsule-proxy-ca-issuer")["spec"] == {"ca": {"secretName": ca["secretName"]}}
    # The CA's key outlives a renewal, whatever cert-manager's own default is.
    assert ca["privateKey"]["rotationPolicy"] == "Never" and ca["duration"] == "87600h"
    assert one(documents, "Certificate", "capsule-proxy-serving-cert")["spec"]["secretName"] == "capsule-proxy"


@test
def who_signs_is_the_own_ca_an_external_one_or_an_existing_issuer():
    external = [*BY_CERT_MANAGER, "--set", "certManager.externalCA.enabled=true", "--set", "certManager.externalCA.secretName=ca-pair"]
    named = [*BY_CERT_MANAGER, "--set", "certManager.issuer.name=vault"]
    for settings, issuers, signer in (
        (BY_CERT_MANAGER, ["capsule-proxy-ca-issuer", "capsule-proxy-selfsigned-issuer"], "Issuer capsule-proxy-ca-issuer"),
        (external, ["capsule-proxy-ca-issuer"], "Issuer capsule-proxy-ca-issuer"),
        (named, [], "Issuer vault"),
        ([*named, "--set", "certManager.issuer.kind=ClusterIssuer"], [], "ClusterIssuer vault"),
    ):
        documents = template(*settings)
        assert sorted(d["metadata"]["name"] for d in documents if d["kind"] == "Issuer") == issuers, settings
        reference = one(documents, "Certificate", "capsule-proxy-serving-cert")["spec"]["issuerRef"]
        assert f"{reference['kind']} {reference['name']}" == signer
    assert one(template(*external), "Issuer")["spec"] == {"ca": {"secretName": "ca-pair"}}
    assert "certManager.externalCA has no effect: the Issuer vault signs" in notes(*external, *named)


@test
def cert_managers_certificate_is_good_for_every_name_that_is_given():
    given = [
        *(*BY_CERT_MANAGER, "--set", "options.additionalSANs={san.example.com,192.0.2.1}"),
        *("--set", "certManager.certificate.dnsNames={dns.example.com}", "--set", "certManager.certificate.ipAddresses={192.0.2.2}"),
        *("--set", "ingress.enabled=true", "--set", "ingress.hosts[0].host=ingress.example.com"),
        *("--set", "gatewayApi.tlsRoute.enabled=true", "--set", "gatewayApi.tlsRoute.parentRefs[0].name=edge"),
        *("--set", "gatewayApi.tlsRoute.hostnames={route.example.com}"),
    ]
    spec = one(template(*given), "Certificate", "capsule-proxy-serving-cert")["spec"]
    service = [f"capsule-proxy{suffix}" for suffix in ("", ".capsule-system", ".capsule-system.svc", ".capsule-system.svc.cluster.local")]
    outside = [f"{name}.example.com" for name in ("san", "ingress", "route", "dns")]
    assert spec["dnsNames"] == service + outside and spec["ipAddresses"] == ["192.0.2.1", "192.0.2.2"]
    public = template(*given, "--set", "certManager.certificate.includeInternalServiceNames=false")
    assert one(public, "Certificate", "capsule-proxy-serving-cert")["spec"]["dnsNames"] == outside


@test
def fields_are_added_to_a_certificate_and_turn_nothing_away():
    fields = "certManager.certificate.fields"
    settings = [*BY_CERT_MANAGER, "--set", f"{fields}.duration=720h", "--set", f"{fields}.secretName=other"]
    spec = one(template(*settings, "--set", "certManager.ca.fields.duration=8760h"), "Certificate", "capsule-proxy-serving-cert")["spec"]
    assert (spec["duration"], spec["secretName"]) == ("720h", "capsule-proxy")
    ca = one(template(*settings, "--set", "certManager.ca.fields.duration=8760h"), "Certificate", "capsule-proxy-selfsigned-ca")["spec"]
    assert ca["duration"] == "8760h" and ca["privateKey"]["rotationPolicy"] == "Never"
    assert "certManager.ca.duration has no effect" in notes(*BY_CERT_MANAGER, "--set", "certManager.ca.duration=1h")


@test
def a_certificate_that_cannot_be_made_is_refused():
    for settings, message in (
        (["--set", "certManager.issuer.kind=ClusterIssuer"], "Set certManager.issuer.name"),
        (["--set", "certManager.externalCA.enabled=true"], "Set certManager.externalCA.secretName"),
        (["--set", "certManager.certificate.includeInternalServiceNames=false"], "Set certManager.certificate.dnsNames"),
        (["--set", "options.SSLCertFileName=cert.pem"], "Leave options.SSLCertFileName"),
        (["--set", "certManager.issuer.kind=Cluster"], "kind"),
        (["--set", "certManager.certificate.dnsName=a"], "dnsName"),
        (["--set", "certManager.enabled=true"], "enabled"),
    ):
        expect_refusal([*BY_CERT_MANAGER, *settings], message)
        # Where cert-manager is not asked, an incomplete setting of it stops nothing.
        if "Set " in message:
            template(*settings)
