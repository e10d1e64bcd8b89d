"""The chart on a real API server: a life with each Helm, and every right tried out. Run by `tests/chart/cluster`."""

import base64
import http.client
import json
import os
import ssl
import time
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from bed import NAME, NAMESPACE, Bed
from sentences import run_all, test

READER, READERS, HUMAN = "kube-tenant-proxy:reader", "kube-tenant-proxy:readers", "Impersonate-Extra-kube-tenant-proxy.io%2Fuser"
PERSON = "capsule-user-dev@example.onmicrosoft.com"

bed = Bed("--no-capsule")
run, output, kubectl, walkthrough = bed.run, bed.output, bed.kubectl, bed.walkthrough


def secret():
    found = json.loads(kubectl("get", "secret", NAME, "-n", NAMESPACE, "-o", "json"))
    return found["type"], {key: base64.b64decode(value) for key, value in found["data"].items()}


def admins_secret():
    """Makes the Secret as an admin does who has a certificate of his own."""
    certificate, key = bed.certificate("tls", "admin")
    kubectl("create", "secret", "tls", NAME, "-n", NAMESPACE, f"--cert={certificate}", f"--key={key}")
    return secret()


def life(helm):
    def helm_run(*arguments):
        return output([helm, *arguments, "-n", NAMESPACE])

    # A: the chart makes the certificate, and keeps it.
    notes = walkthrough("self-signed.sh", helm)
    assert "It is good for" in notes and "capsule-proxy.francecentral.cloudapp.azure.com." in notes, notes
    made = secret()
    assert (made[0], sorted(made[1])) == ("Opaque", ["ca", "tls.crt", "tls.key"])
    service = json.loads(kubectl("get", "service", NAME, "-n", NAMESPACE, "-o", "json"))["spec"]
    assert service["type"] == "LoadBalancer" and service["ports"][0]["port"] == 443 and service["ports"][0]["nodePort"]
    kubectl("get", "crd", "proxysettings.capsule.clastix.io", "globalproxysettings.capsule.clastix.io")
    walkthrough("self-signed.sh", helm)
    assert secret() == made, "an upgrade changed the certificate"
    notes = walkthrough("self-signed.sh", helm, "--set", "'options.additionalSANs[1]=later.example.com'")
    assert secret() == made, "an upgrade with another name changed the certificate"
    assert "lacks later.example.com" in notes, notes

    # B: the admin's own takes its place, under the same name, and survives everything.
    kubectl("delete", "secret", NAME, "-n", NAMESPACE)
    own = admins_secret()
    assert own[0] == "kubernetes.io/tls"
    notes = walkthrough("own-certificate.sh", helm)
    assert secret() == own, "the upgrade to an own certificate took the admin's Secret"
    assert "options.additionalSANs has no effect" in notes, notes
    helm_run("rollback", NAME, "1")
    assert secret() == own, "a rollback took the admin's Secret"
    walkthrough("self-signed.sh", helm)
    assert secret() == own, "the way back to a generated certificate took the admin's Secret"
    helm_run("uninstall", NAME)
    assert secret() == own, "uninstall took the admin's Secret"
    assert not owned(), owned()
    kubectl("get", "crd", "proxysettings.capsule.clastix.io", "globalproxysettings.capsule.clastix.io")

    # B on a fresh cluster: no Secret is made, and the notes say how to make it.
    kubectl("delete", "secret", NAME, "-n", NAMESPACE)
    notes = walkthrough("own-certificate.sh", helm)
    assert f"kubectl -n {NAMESPACE} create secret tls {NAME}" in notes, notes
    assert "NotFound" in run([os.environ["KUBECTL"], "get", "secret", NAME, "-n", NAMESPACE]).stderr
    helm_run("uninstall", NAME)

    # A generated Secret stays after uninstall too, and serves the next install.
    walkthrough("self-signed.sh", helm)
    made = secret()
    helm_run("uninstall", NAME)
    assert secret() == made
    walkthrough("self-signed.sh", helm)
    assert secret() == made
    helm_run("uninstall", NAME)
    kubectl("delete", "secret", NAME, "-n", NAMESPACE)


@test
def a_life_with_helm_3():
    kubectl("create", "namespace", NAMESPACE)
    life(os.environ["HELM3"])


@test
def a_life_with_helm_4():
    life(os.environ["HELM4"])


@test
def a_secret_that_appears_after_rendering_is_not_replaced():
    for helm in (os.environ["HELM3"], os.environ["HELM4"]):
        # Helm renders, the Secret appears, the hook runs: played with what Helm rendered as a chart of its own.
        rendered = ["template", NAME, "charts/kube-tenant-proxy", "-n", NAMESPACE, "-s", "templates/certificate.yaml"]
        chart = bed.dir / "late"
        (chart / "templates").mkdir(parents=True, exist_ok=True)
        (chart / "Chart.yaml").write_text("apiVersion: v2\nname: late\nversion: 0.0.0\n")
        (chart / "templates/secret.yaml").write_text(output([helm, *rendered], KUBECONFIG=os.devnull))
        own = admins_secret()
        done = run([helm, "install", "late", str(chart), "-n", NAMESPACE])
        assert done.returncode != 0 and ("already exists" in done.stderr or "conflict" in done.stderr), done.stderr
        assert secret() == own
        output([helm, "uninstall", "late", "-n", NAMESPACE])
        assert secret() == own
        kubectl("delete", "secret", NAME, "-n", NAMESPACE)


def old_release(helm, name, labels):
    """A release of another chart, as Capsule's proxy leaves one behind: its selector cannot be changed."""
    chart = bed.dir / "old"
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: capsule-proxy\nversion: 0.0.0\n")
    pod = {"containers": [{"name": "capsule-proxy", "image": "example.com/old:1"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    (chart / "templates/deployment.yaml").write_text(json.dumps(deployment))
    output([helm, "install", name, str(chart), "-n", NAMESPACE])
    return [helm, "upgrade", name, "charts/kube-tenant-proxy", "-n", NAMESPACE, "--set", f"fullnameOverride={name}"]


@test
def a_release_of_another_chart_is_taken_over_with_its_selector():
    labels = {"app.kubernetes.io/name": "capsule-proxy", "app.kubernetes.io/instance": "door"}
    for helm in (os.environ["HELM3"], os.environ["HELM4"]):
        output(old_release(helm, "door", {**labels, "app.kubernetes.io/component": "proxy"}))
        deployment = json.loads(kubectl("get", "deployment", "door", "-n", NAMESPACE, "-o", "json"))
        assert deployment["spec"]["selector"]["matchLabels"] == {**labels, "app.kubernetes.io/component": "proxy"}
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["image"].startswith("kube-tenant-proxy:")
        output([helm, "uninstall", "door", "-n", NAMESPACE])
        kubectl("delete", "secret", "door", "-n", NAMESPACE)
        refused = run(old_release(helm, "door", labels))
        assert refused.returncode != 0 and f"kubectl -n {NAMESPACE} delete deployment door" in refused.stderr, refused.stderr
        output([helm, "uninstall", "door", "-n", NAMESPACE])


def owned():
    """Every object with the release's label, of whatever API group: its UID by kind and name."""
    kinds = ",".join(kubectl("api-resources", "--verbs=list", "-o", "name").split())
    told = kubectl("get", kinds, "-A", "-l", f"app.kubernetes.io/instance={NAME}", "-o", "json")
    return {(item["kind"], item["metadata"]["name"]): item["metadata"]["uid"] for item in json.loads(told)["items"]}


def rules():
    """The UIDs of the chart's CRDs: that they are the same ones is that no rule was lost."""
    names = ("proxysettings", "globalproxysettings")
    return [json.loads(kubectl("get", "crd", f"{name}.capsule.clastix.io", "-o", "json"))["metadata"]["uid"] for name in names]


@test
def a_rollback_brings_back_every_object_and_uninstall_leaves_the_rules_and_the_certificate():
    optional = ["networkPolicy.enabled=true", "apiPriorityAndFairness.enabled=true", "replicaCount=2", f"entra.tenantId={bed.facts['entra']['tenantId']}"]
    route = ["ingress.enabled=true", "ingress.hosts[0].host=later.example.com", "kind=DaemonSet"]
    for helm in (os.environ["HELM3"], os.environ["HELM4"]):
        before = rules()

        def release(command, settings=()):
            given = [word for setting in settings for word in ("--set", setting)]
            output([helm, *command, *given, "-n", NAMESPACE])
            manifest = [*yaml.safe_load_all(output([helm, "get", "manifest", NAME, "-n", NAMESPACE]))]
            wanted = {(item["kind"], item["metadata"]["name"]) for item in manifest if item} | {("Secret", NAME)}
            there = owned()
            assert set(there) == wanted, set(there) ^ wanted
            return there

        chart = [NAME, "charts/kube-tenant-proxy"]
        first, made = release(["install", *chart], optional), secret()
        kinds = {kind for kind, _ in first}
        assert {"NetworkPolicy", "FlowSchema", "PodDisruptionBudget", "ConfigMap", "Deployment"} <= kinds, kinds
        second = release(["upgrade", *chart], route)
        assert not {"NetworkPolicy", "FlowSchema", "PodDisruptionBudget", "ConfigMap", "Deployment"} & {kind for kind, _ in second}
        assert secret() == made, "the upgrade changed the certificate"
        third = release(["rollback", NAME, "1"])
        assert set(third) == set(first), set(third) ^ set(first)
        # What both had was never gone: neither a Service's address nor the certificate.
        for key in set(first) & set(second):
            assert first[key] == second[key] == third[key], key
        assert secret() == made, "the rollback changed the certificate"
        output([helm, "uninstall", NAME, "-n", NAMESPACE])
        assert owned() == {("Secret", NAME): first["Secret", NAME]}, owned()
        assert secret() == made and rules() == before
        kubectl("delete", "secret", NAME, "-n", NAMESPACE)


def call(method, path, headers=(), body=None, token=None):
    """One request with the ServiceAccount's token; headers may repeat. Returns (status, parsed body)."""
    address = urlsplit(bed.facts["server"])
    context = ssl.create_default_context(cafile=bed.facts["caFile"])
    connection = http.client.HTTPSConnection(address.hostname, address.port, context=context, timeout=30)
    try:
        payload = json.dumps(body).encode() if body is not None else b""
        connection.putrequest(method, path)
        connection.putheader("Authorization", f"Bearer {token or account_token()}")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(payload)))
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(payload)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


tokens = []


def account_token():
    """The ServiceAccount's token, of a release that is there from here on."""
    if not tokens:
        walkthrough("self-signed.sh", os.environ["HELM4"])
        tokens.append(kubectl("create", "token", NAME, "-n", NAMESPACE).strip())
    return tokens[0]


AS_READER = (("Impersonate-User", READER), ("Impersonate-Group", READERS), (HUMAN, PERSON))


@test
def the_reader_lists_what_is_narrowed_and_its_audit_event_names_the_person():
    for path in (
        "/api/v1/namespaces",
        "/apis/rbac.authorization.k8s.io/v1/rolebindings",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/apiregistration.k8s.io/v1/apiservices",
        "/apis/capsule.clastix.io/v1beta1/proxysettings",
        "/apis/capsule.clastix.io/v1beta1/globalproxysettings",
        "/apis",
    ):
        deadline = time.monotonic() + 30
        while (answer := call("GET", path, AS_READER))[0] == 429 and time.monotonic() < deadline:
            time.sleep(0.1)  # the storage of a kind that is a moment old
        assert answer[0] == 200, (path, answer)
    deadline = time.monotonic() + 10
    while True:
        events = [json.loads(line) for line in Path(bed.facts["auditLog"]).read_text().splitlines() if "namespaces" in line]
        speakers = [e for e in events if e.get("impersonatedUser", {}).get("username") == READER and e["requestURI"] == "/api/v1/namespaces"]
        if speakers or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert speakers[-1]["impersonatedUser"]["extra"] == {"kube-tenant-proxy.io/user": [PERSON]}, speakers
    assert speakers[-1]["user"]["username"] == f"system:serviceaccount:{NAMESPACE}:{NAME}"


@test
def the_reader_reads_nothing_else_and_writes_nothing():
    for method, path, body in (
        ("GET", "/api/v1/secrets", None),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME}", None),
        ("GET", "/api/v1/pods", None),
        ("GET", "/api/v1/configmaps", None),
        ("GET", "/api/v1/nodes/testbed-node/proxy/metrics", None),
        ("PATCH", "/api/v1/nodes/testbed-node", {}),
        ("DELETE", "/apis/storage.k8s.io/v1/storageclasses", None),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", None),
        ("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "made-by-reader"}}),
        ("DELETE", "/api/v1/namespaces/default", None),
        ("PATCH", "/apis/capsule.clastix.io/v1beta1/globalproxysettings/x/status", {}),
        ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review("x")),
        ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{NAME}/token", {}),
    ):
        status, answer = call(method, path, AS_READER, body)
        # A patch without a media type for it is refused as such only after authorization: 403 comes first.
        assert status == 403, (method, path, status, answer)


@test
def a_lost_header_fails_closed():
    user, group, human = AS_READER
    for headers, expected in (
        ((), 403),
        ((user,), 403),
        ((user, human), 403),
        ((group,), 400),
        ((human,), 400),
        ((group, human), 400),
    ):
        status, body = call("GET", "/api/v1/namespaces", headers)
        assert status == expected and body["kind"] == "Status", (headers, status, body)


@test
def nobody_but_the_reader_can_be_impersonated():
    user, group, human = AS_READER
    for headers in (
        (("Impersonate-User", "admin"),),
        (("Impersonate-User", "system:admin"), ("Impersonate-Group", "system:masters")),
        (user, ("Impersonate-Group", "system:masters")),
        (user, group, ("Impersonate-Group", "system:masters")),
        (user, group, ("Impersonate-Group", "system:authenticated")),
        (("Impersonate-User", PERSON), group, human),
        (("Impersonate-User", f"system:serviceaccount:{NAMESPACE}:{NAME}"), group),
        (user, group, ("Impersonate-Uid", "1")),
        (user, group, ("Impersonate-Extra-oid", "1")),
        (user, group, ("Impersonate-Extra-kube-tenant-proxy.io", "1")),
        (user, group, human, ("Impersonate-Extra-Scopes", "view")),
    ):
        status, body = call("GET", "/api/v1/namespaces", headers)
        assert status == 403, (headers, status, body)


def review(token):
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}


@test
def the_service_account_itself_reviews_tokens_and_can_do_nothing_else():
    status, body = call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=review(account_token()))
    assert status == 201 and body["status"]["authenticated"] is True, (status, body)
    for method, path, body in (
        ("GET", "/api/v1/namespaces", None),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}", None),
        ("GET", "/api/v1/secrets", None),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{NAME}", None),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/configmaps", None),
        ("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases", None),
        ("GET", "/apis/capsule.clastix.io/v1beta1/globalproxysettings", None),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/rolebindings", None),
        ("GET", f"/api/v1/namespaces/{NAMESPACE}/pods", None),
        ("POST", f"/api/v1/namespaces/{NAMESPACE}/pods", {}),
        ("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{NAME}/token", {}),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {}),
        # The status of a rule, and not the rule.
        ("PATCH", "/apis/capsule.clastix.io/v1beta1/globalproxysettings/example", {}),
        ("PATCH", "/apis/capsule.clastix.io/v1beta2/tenants/example/status", {}),
        ("POST", "/api/v1/namespaces", {}),
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {}),
    ):
        status, answer = call(method, path, body=body)
        assert status == 403, (method, path, status, answer)


@test
def the_rights_that_the_api_server_lists_are_the_ones_the_chart_names():
    def rights(headers=(), token=None):
        question = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": NAMESPACE}}
        status, body = call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", headers, question, token)
        assert status == 201, body
        return {
            (verb, group, resource, name)
            for rule in body["status"]["resourceRules"]
            for verb in rule["verbs"]
            for group in rule.get("apiGroups", [""])
            for resource in rule["resources"]
            for name in rule.get("resourceNames", ["*"])
        }

    # What any identity of this cluster may do, such as to ask about itself, comes from the cluster and not from the chart.
    anybody = rights(token=kubectl("create", "token", "default", "-n", NAMESPACE).strip())
    named = {
        ("impersonate", "", "users", READER),
        ("impersonate", "", "groups", READERS),
        ("impersonate", "authentication.k8s.io", "userextras/kube-tenant-proxy.io/user", "*"),
        ("create", "authentication.k8s.io", "tokenreviews", "*"),
        ("patch", "capsule.clastix.io", "proxysettings/status", "*"),
        ("patch", "capsule.clastix.io", "globalproxysettings/status", "*"),
    }
    assert rights() - anybody == named, (rights() - anybody) ^ named
    reads = rights(AS_READER) - anybody
    assert {verb for verb, _, _, _ in reads} == {"get", "list", "watch"}
    assert {resource for _, _, resource, _ in reads} == {
        *("namespaces", "tenants", "capsuleconfigurations", "proxysettings", "globalproxysettings"),
        *("rolebindings", "customresourcedefinitions", "apiservices"),
        *("nodes", "persistentvolumes", "storageclasses", "ingressclasses", "priorityclasses", "runtimeclasses"),
    }


@test
def the_crds_take_rules_and_refuse_what_is_none():
    rule = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "selector": {"matchLabels": {"a": "b"}}}
    subject = {"kind": "Group", "name": "owners"}
    good = {
        "apiVersion": "capsule.clastix.io/v1beta1",
        "kind": "GlobalProxySettings",
        "metadata": {"name": "example"},
        "spec": {"rules": [{"subjects": [subject], "clusterResources": [rule]}]},
    }
    namespaced = {
        **good,
        "kind": "ProxySetting",
        "metadata": {"name": "example", "namespace": NAMESPACE},
        "spec": {"subjects": [{**subject, "clusterResources": [rule], "proxySettings": [{"kind": "Nodes", "operations": ["List", "Update"]}]}]},
    }

    def apply(document, *more):
        path = bed.dir / "object.json"
        path.write_text(json.dumps(document))
        return run([os.environ["KUBECTL"], "apply", "-f", str(path), "-o", "json", *more])

    for document in (good, namespaced):
        done = apply(document)
        assert done.returncode == 0, done.stderr
    stored = json.loads(kubectl("get", "globalproxysettings", "example", "-o", "json"))
    assert stored["spec"]["rules"][0]["clusterResources"][0]["operations"] == ["List", "Get"]
    bad_kind = json.loads(json.dumps(good).replace('"Group"', '"Groups"'))
    no_rules = {**good, "spec": {"rules": []}}
    no_selector = json.loads(json.dumps(good))
    del no_selector["spec"]["rules"][0]["clusterResources"][0]["selector"]
    writes = json.loads(json.dumps(good))
    writes["spec"]["rules"][0]["clusterResources"][0]["operations"] = ["Delete"]
    for document in (bad_kind, no_rules, no_selector, writes):
        assert apply(document, "--dry-run=server").returncode != 0, document


@test
def impersonation_that_is_switched_on_stays_within_its_lists():
    account_token()
    listed = ["users[0]=alice", "groups[0]=owners", "extraKeys[0]=example.com/department", "uids=true"]
    switches = [word for item in ["enabled=true", *listed] for word in ("--set", f"upstream.impersonate.{item}")]
    issuer = {
        "issuer": {"url": "https://login.example.com", "audiences": ["a"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
        "upstream": "impersonate",
    }
    switches += ["--set-json", f"config.authentication.jwt={json.dumps([issuer])}"]
    output([os.environ["HELM4"], "upgrade", NAME, "charts/kube-tenant-proxy", "-n", NAMESPACE, "--reuse-values", *switches])
    alice = (("Impersonate-User", "alice"), ("Impersonate-Group", "owners"))
    whole = (*alice, ("Impersonate-Uid", "1"), ("Impersonate-Extra-example.com%2Fdepartment", "sales"))
    who = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    deadline = time.monotonic() + 30
    while (answer := call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", whole, who))[0] == 403:
        assert time.monotonic() < deadline, answer  # the authorizer learns of a role a moment later
        time.sleep(0.1)
    assert answer[1]["status"]["userInfo"] == {
        "username": "alice",
        "uid": "1",
        # The API server adds system:authenticated by itself; nobody needs the right to say it.
        "groups": ["owners", "system:authenticated"],
        "extra": {"example.com/department": ["sales"]},
    }
    for headers in (
        (("Impersonate-User", "bob"),),
        (*alice, ("Impersonate-Group", "system:masters")),
        (*alice, ("Impersonate-Extra-oid", "1")),
        (("Impersonate-User", f"system:serviceaccount:{NAMESPACE}:default"),),
    ):
        status, body = call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", headers, who)
        assert status == 403, (headers, status, body)


@test
def constrained_impersonation_is_for_what_is_listed_and_never_for_the_systems_own():
    kubectl("create", "clusterrole", "reads-and-deletes", "--verb=get,list,delete", "--resource=configmaps,secrets")
    kubectl("create", "clusterrolebinding", "reads-and-deletes", "--clusterrole=reads-and-deletes", "--user=carol")
    on = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    open_lists = {"users": [], "groups": [], "constrainedTo": on}
    switches = [word for key, value in open_lists.items() for word in ("--set-json", f"upstream.impersonate.{key}={json.dumps(value)}")]
    output([os.environ["HELM4"], "upgrade", NAME, "charts/kube-tenant-proxy", "-n", NAMESPACE, "--reuse-values", *switches])
    carol, core = (("Impersonate-User", "carol"), ("Impersonate-Group", "owners")), f"/api/v1/namespaces/{NAMESPACE}"
    deadline = time.monotonic() + 30
    while (answer := call("GET", f"{core}/configmaps", carol))[0] == 403:
        assert time.monotonic() < deadline, answer  # the authorizer learns of a role a moment later
        time.sleep(0.1)
    assert answer[0] == 200 and call("GET", "/api", carol)[0] == 200, answer
    who = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    assert call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", carol, who)[0] == 201
    # What she may herself, and the list does not name.
    for method, path in (("GET", f"{core}/secrets"), ("DELETE", f"{core}/configmaps/kube-root-ca.crt")):
        status, body = call(method, path, carol)
        assert status == 403 and "impersonate" in body["message"], (method, path, status, body)
    for headers in (
        (("Impersonate-User", "carol"), ("Impersonate-Group", "system:masters")),
        (("Impersonate-User", "system:serviceaccount:kube-system:default"),),
        (("Impersonate-User", "system:node:a"),),
    ):
        status, body = call("GET", f"{core}/configmaps", headers)
        assert status == 403 and "impersonat" in body["message"], (headers, status, body)
    assert call("GET", "/api/v1/namespaces", AS_READER)[0] == 200, "the reader is what it was"


try:
    run_all()
finally:
    bed.close()
