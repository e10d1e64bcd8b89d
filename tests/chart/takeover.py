"""Names, where a release of Capsule's proxy is there already."""

from certificates import NAMESPACE, install, installed, kinds
from rendering import HELMS
from sentences import test


def workload(kind, name, release):
    metadata = {"name": name, "namespace": NAMESPACE}
    if release:
        metadata["annotations"] = {"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": NAMESPACE}
    labels = {"app.kubernetes.io/name": "capsule-proxy", "app.kubernetes.io/instance": "edge", "app.kubernetes.io/component": "proxy"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {"selector": {"matchLabels": labels}}}


@test
def a_release_whose_name_does_not_say_what_it_is_is_not_renamed_unasked():
    for helm in HELMS:
        for kind in ("Deployment", "DaemonSet"):
            refused = install([], workload(kind, "edge-capsule-proxy", "edge"), helm=helm, release="edge")
            assert refused.returncode != 0 and "Set nameOverride=capsule-proxy to keep the names" in refused.stderr, refused
    there = workload("Deployment", "edge-capsule-proxy", "edge")
    for settings, name in (
        (["--set", "nameOverride=capsule-proxy"], "edge-capsule-proxy"),
        (["--set", "fullnameOverride=edge-kube-tenant-proxy"], "edge-kube-tenant-proxy"),
    ):
        documents, _ = installed(settings, there, release="edge")
        assert {("Deployment", name), ("Service", name), ("Secret", name)} <= set(kinds(documents)), settings
    for somebody_elses in (workload("Deployment", "edge-capsule-proxy", None), workload("Deployment", "edge-capsule-proxy", "other")):
        assert ("Service", "edge-kube-tenant-proxy") in kinds(installed([], somebody_elses, release="edge")[0])
