"""The chart under both Helms: lint, golden files, strict schemas, refusals, least power. Run by `tests/chart/run`."""

import base64
import importlib
import json
import re
import shutil
import tempfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml
from rendering import CASES, CHART, GOLDEN, GROUP_ID, HELMS, ROOT, arguments, compare_with_golden, expect_refusal
from rendering import normalised, notes, objects, one, output, parse, pod, run, template
from sentences import run_all, test

# The oldest Kubernetes that the chart admits, and the newest that the schemas know.
KUBERNETES = ("1.30", "1.37")


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
        told = case.helm("notes", HELMS["Helm 4"]).split("\nNOTES:\n", 1)[1].replace(version, "<version>")
        compare_with_golden(GOLDEN / f"{case.name}.notes.txt", told)


def validate(document, version):
    """By Kubernetes' own schema; kinds of others have one beside this file, for the fields that the chart renders."""
    foreign = ROOT / f"tests/chart/schemas/{document['kind']}.json"
    if foreign.exists():
        jsonschema.Draft7Validator(json.loads(foreign.read_text())).validate(document)
    else:
        kubernetes_validate.validate(document, version, strict=True)


@test
def every_object_fits_the_strict_schemas_of_the_oldest_and_newest_kubernetes():
    for version in KUBERNETES:
        for case in CASES:
            for document in objects(case):
                try:
                    validate(document, version)
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
        (["--set", "service.sessionAffinity=Cookie"], "sessionAffinity"),
        (["--set", "service.internalTrafficPolicy=Everywhere"], "internalTrafficPolicy"),
        (["--set", "options.logLevel=loud"], "logLevel"),
        (["--set", "options.enableSSL=perhaps"], "enableSSL"),
        (["--set", "options.authPreferredTypes=Bearer"], "authPreferredTypes"),
        (["--set", "entra.tenantId=contoso"], "tenantId"),
        (["--set", "ingress.enable=true"], "enable"),
        (["--set", "upstream.impersonate.enabled=yes please"], "enabled"),
        (["--set", "config.authentcation.jwt[0].upstream=token"], "authentcation"),
        (["--set", "config.authentication.tokenReview.enable=false"], "enable"),
        (["--set", "config.authentication.jwt[0].issuer.uri=https://login.example.com"], "uri"),
        (["--set", "config.authentication.jwt[0].claimMappings.username.expression=claims.sub"], "expression"),
        (["--set", "config.authentication.jwt[0].entra.tenant=a"], "tenant"),
        (["--set", "config.authentication.jwt[0].upstream=impersonated"], "upstream"),
        (["--set", "config.authentication.anonymous.enabled=true"], "enabled"),
        (["--set", "upstream.impersonate.serviceAccounts=true"], "serviceAccounts"),
    ]
    impossible = [
        (["--set", "entra.cloud=AzureUSGovernmentCloud"], "Set entra.tenantId"),
        (
            ["--set", f"config.authentication.entra.tenantId={GROUP_ID}"],
            "is not a setting. Set entra.tenantId",
        ),
        (["--set", "config.authentication.jwt[0].upstream=impersonate"], "Set upstream.impersonate.enabled=true"),
        (["--set", "upstream.impersonate.extraKeys[0]=kube-tenant-proxy.io/user"], "Take it off the list"),
        (["--set", r"options.ignoredUserGroups[0]=a\,b"], "options.ignoredUserGroups[0]=a,b holds a comma"),
        (["--set", r"options.ignoredUsernames[0]=CN=a\,O=b"], "options.ignoredUsernames[0]=CN=a,O=b holds a comma"),
        (["--set", "config.authentication.tokenReview.enabled=false"], "lets nobody log in, since no issuer is named either"),
        (["--set", "config.kind=AuthenticationConfiguration", "--set", f"entra.tenantId={GROUP_ID}"], "entra.tenantId cannot be added"),
        (["--set", "image.repository=projectcapsule/capsule-proxy"], "image.repository=projectcapsule/capsule-proxy is Capsule's proxy"),
        (["--set", "image.registry=mirror/clastix", "--set", "image.repository=capsule-proxy"], "Set image.registry"),
        (["--set", "upstream.impersonate.enabled=true"], "no issuer in config.authentication.jwt says upstream: impersonate"),
        (
            ["--set", "upstream.impersonate.enabled=true", "--set", f"entra.tenantId={GROUP_ID}"],
            "no issuer in config.authentication.jwt says upstream: impersonate",
        ),
    ]
    for settings, expected in wrong + impossible:
        expect_refusal(settings, expected)


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
RULE_STATUS = {
    ("patch", "capsule.clastix.io", resource, "*") for resource in ("proxysettings/status", "globalproxysettings/status")
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
            assert grants(rules(objects(case), OWN)) == IMPERSONATE_READER | REVIEW_TOKENS | RULE_STATUS, case.name


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


ISSUER = "config.authentication.jwt[0]"
IMPERSONATE = [
    *("--set", f"{ISSUER}.issuer.url=https://login.example.com", "--set", f"{ISSUER}.issuer.audiences={{a}}"),
    *("--set", f"{ISSUER}.claimMappings.username.claim=sub", "--set", f"{ISSUER}.claimMappings.username.prefix=a:"),
    *("--set", f"{ISSUER}.upstream=impersonate", "--set", "upstream.impersonate.enabled=true"),
]


@test
def impersonating_others_is_a_switch_and_can_be_limited_by_name():
    (case,) = [case for case in CASES if case.name == "impersonate"]
    expected = IMPERSONATE_READER | RULE_STATUS | {
        ("impersonate", "", "users", "example:alice"),
        ("impersonate", "", "users", "example:bob"),
        ("impersonate", "", "groups", "example:tenants"),
        ("impersonate", "", "groups", "example:owners"),
        ("impersonate", "authentication.k8s.io", "uids", "*"),
        ("impersonate", "authentication.k8s.io", "userextras/example.com/department", "*"),
    }
    assert grants(rules(objects(case), OWN)) == expected
    expected = IMPERSONATE_READER | REVIEW_TOKENS | RULE_STATUS
    expected |= {("impersonate", "", resource, "*") for resource in ("users", "groups")}
    assert grants(rules(template(*IMPERSONATE), OWN)) == expected


@test
def the_notes_say_what_a_stolen_token_is_worth_where_a_list_is_empty():
    switch = "upstream.impersonate"
    for lists, worth in (
        ([], "the cluster"),
        (["--set", f"{switch}.users={{a}}"], "the cluster"),
        (["--set", f"{switch}.groups={{b}}"], "the cluster"),
        (["--set", f"{switch}.users={{a}}", "--set", f"{switch}.groups={{b}}"], None),
    ):
        told = notes(*IMPERSONATE, *lists)
        assert "WARNING: upstream.impersonate.enabled" in told, lists
        assert ("Whoever steals its token has the cluster" in told) == bool(worth), lists


PODS = 'upstream.impersonate.constrainedTo[0]={"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}'


@test
def constrained_impersonation_grants_no_plain_right_and_names_what_it_is_for():
    further = ["--set", "upstream.impersonate.extraKeys={example.com/team}", "--set", "upstream.impersonate.uids=true"]
    documents = template(*IMPERSONATE, "--set-json", PODS, *further)
    urls = [rule for rule in rules(documents, OWN) if "nonResourceURLs" in rule]
    assert [rule["verbs"] for rule in urls] == [["impersonate-on:user-info:get"]]
    given = grants([rule for rule in rules(documents, OWN) if rule not in urls]) - RULE_STATUS - REVIEW_TOKENS
    assert {grant for grant in given if grant[0] == "impersonate"} == IMPERSONATE_READER
    own = "authentication.k8s.io"
    assert {grant for grant in given if grant[0] == "impersonate:user-info"} == {
        ("impersonate:user-info", own, resource, "*") for resource in ("users", "groups", "uids", "userextras/example.com/team")
    }
    on = {(verb.removeprefix("impersonate-on:user-info:"), resource) for verb, _, resource, _ in given if verb.startswith("impersonate-on:")}
    reviews = {("create", f"selfsubject{kind}") for kind in ("reviews", "accessreviews", "rulesreviews")}
    assert on == reviews | {(verb, resource) for verb in ("get", "list") for resource in ("pods", "pods/log")}
    told = notes(*IMPERSONATE, "--set-json", PODS)
    for words in ("has the cluster", "system:masters included"):
        assert words not in told, told
    assert "may do that as anybody who may" in told and "Before Kubernetes 1.36" in told
    entra = {"entra": {"tenantId": GROUP_ID}, "upstream": "impersonate"}
    mapped = entra | {"claimMappings": {"extra": [{"key": "oid", "claim": "oid"}]}}
    for settings, message in (
        ([*IMPERSONATE, "--set", "upstream.impersonate.extraKeys={oid}"], "upstream.impersonate.extraKeys[0] is oid"),
        (["--set-json", f"{ISSUER}={json.dumps(entra)}"], "Set claimMappings.extra: [] there"),
        (["--set-json", f"{ISSUER}={json.dumps(mapped)}", "--set", f"entra.tenantId={GROUP_ID}"], f"{ISSUER}.claimMappings.extra has oid"),
    ):
        expect_refusal([*settings, "--set", "upstream.impersonate.enabled=true", "--set-json", PODS], message)
    for key in ("apiGroups", "resources", "verbs"):
        whole = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]} | {key: ["*"]}
        expect_refusal([*IMPERSONATE, "--set-json", f"upstream.impersonate.constrainedTo[0]={json.dumps(whole)}"], "constrainedTo")


@test
def what_is_switched_off_is_not_asked_for():
    quiet = template("--set", "options.roleBindingReflector=false", "--set", "config.authentication.tokenReview.enabled=false",
                     "--set", "options.ruleStatus=false", "--set", f"entra.tenantId={GROUP_ID}")
    assert grants(rules(quiet, OWN)) == IMPERSONATE_READER
    assert grants(rules(quiet, READS)) == {grant for grant in READER | OFFERED if grant[2] != "rolebindings"}
    assert {"--enable-reflector=false", "--rule-status=false"} <= set(arguments(quiet))
    none = template("--set", "rbac.enabled=false")
    assert not [d for d in none if d["apiVersion"].startswith("rbac.")]


@test
def what_is_granted_by_hand_is_printed_by_the_command_in_the_notes():
    values = {"rbac": {"enabled": False}, "serviceAccount": {"name": "door"}, "options": {"ruleStatus": False}}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "values.yaml"
        path.write_text(yaml.safe_dump(values))
        (command,) = re.findall(r"^ *(helm template .* -s templates/rbac.yaml)$", notes("-f", str(path)), re.MULTILINE)
        given = command.replace("<chart>", str(CHART)).replace("<your values>", str(path)).split()[1:]
        for helm in HELMS.values():
            printed = parse(output([helm, *given]))
            assert grants(rules(printed, OWN)) == IMPERSONATE_READER | REVIEW_TOKENS
            subjects = one(printed, "ClusterRoleBinding", OWN)["subjects"]
            assert subjects == [{"kind": "ServiceAccount", "name": "door", "namespace": "capsule-system"}]


@test
def kinds_that_rules_show_are_named_one_by_one():
    assert grants(rules(template("--set", "rbac.reader.proxySettings=false"), READS)) == READER
    kind = "rbac.reader.clusterResources[0]"
    more = template("--set", f"{kind}.apiGroups={{gateway.networking.k8s.io}}", "--set", f"{kind}.resources={{gatewayclasses}}")
    added = {(verb, "gateway.networking.k8s.io", "gatewayclasses", "*") for verb in ("get", "list", "watch")}
    assert grants(rules(more, READS)) == READER | OFFERED | added
    for group, resource in [("*", "gatewayclasses"), ("gateway.networking.k8s.io", "*"), ("", "secrets"), ("", "pods/log")]:
        wrong = ["--set-json", f'{kind}={{"apiGroups": ["{group}"], "resources": ["{resource}"]}}']
        expect_refusal(wrong, "clusterResources")
    for group, resource in [
        *(("", "configmaps"), ("", "pods"), ("", "gatewayclasses"), ("apps", "deployments"), ("batch", "jobs"), ("policy", "poddisruptionbudgets")),
        *(("autoscaling", "horizontalpodautoscalers"), ("networking.k8s.io", "ingresses"), ("rbac.authorization.k8s.io", "roles")),
    ]:
        wrong = ["--set-json", f'{kind}={{"apiGroups": ["{group}"], "resources": ["{resource}"]}}']
        expect_refusal(wrong, f'names {resource} of the API group "{group}", which is no cluster-scoped kind')
    for group, resource in [("", "nodes"), ("rbac.authorization.k8s.io", "clusterroles"), ("networking.k8s.io", "servicecidrs")]:
        template("--set-json", f'{kind}={{"apiGroups": ["{group}"], "resources": ["{resource}"]}}')


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
        assert "--ssl-secret=capsule-system/capsule-proxy" in given
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
        expected = case.name not in ("walkthrough-own-certificate", "entra", "cert-manager", "cert-manager-public")
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
def the_proxy_is_told_which_secret_it_waits_for():
    assert "--ssl-secret=capsule-system/mine" in arguments(template("--set", "options.certificateVolumeName=mine"))
    assert not any("--ssl-" in argument for argument in arguments(template("--set", "options.enableSSL=false")))


@test
def further_arguments_come_behind_the_charts_own_and_so_win():
    extra = ["--zap-log-level=debug", "--listening-port=9443"]
    given = arguments(template("--set", f"options.extraArgs={{{','.join(extra)}}}", "--set", f"entra.tenantId={GROUP_ID}"))
    assert given[-len(extra) :] == extra and "--zap-log-level=info" in given[: -len(extra)], given


@test
def names_fit_for_every_release_that_helm_takes():
    for length in (30, 47, 48, 53):
        release = "r" * (length - 2) + "-r"
        services = {d["metadata"]["name"] for d in template(release=release) if d["kind"] == "Service"}
        assert len(services) == 2 and all(re.fullmatch("[a-z][-a-z0-9]{0,61}[a-z0-9]", name) for name in services), services
    for key in ("fullnameOverride", "nameOverride"):
        for wrong in ("Door", "my.door", "-door", "door-", "a" * 64):
            expect_refusal(["--set", f"{key}={wrong}"], key)
    digit = run([HELMS["Helm 4"], "template", "2nd-capsule-proxy", str(CHART)])
    assert digit.returncode != 0 and "Set fullnameOverride" in digit.stderr, digit.stderr
    one(template("--set", "fullnameOverride=door", release="2nd"), "Service", "door")


@test
def a_release_of_the_incumbents_keeps_the_selector_it_cannot_change():
    selector = one(template(), "Deployment")["spec"]["selector"]["matchLabels"]
    assert selector == {
        "app.kubernetes.io/name": "capsule-proxy",
        "app.kubernetes.io/instance": "capsule-proxy",
        "app.kubernetes.io/component": "proxy",
    }


@test
def annotations_for_every_object_reach_every_object():
    for case in CASES:
        if case.script:
            continue
        mark = ["--set", "customAnnotations.team=a", "--set", r"customAnnotations.helm\.sh/hook=other"]
        for document in template("-f", str(case.values), *mark):
            name = f"{case.name}, {document['kind']} {document['metadata']['name']}"
            if document["metadata"]["name"] == "capsule-proxy-extra":
                continue  # the values' own, from extraManifests
            assert document["metadata"]["annotations"]["team"] == "a", name
            if document["kind"] in ("Secret", "Pod"):
                assert document["metadata"]["annotations"]["helm.sh/hook"] != "other", name


OWN_LABELS = [rf"app\.kubernetes\.io/{name}=other" for name in ("name", "instance", "component", "managed-by")]


class Strict(yaml.SafeLoader):
    """YAML in which no key of a map may stand twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice: {sorted(keys)}"
        return super().construct_mapping(node, deep)


@test
def no_label_of_the_values_takes_an_object_from_its_selectors_or_from_helm():
    sections = ("service.labels", "podLabels", "rbac.labels")
    settings = [f"{section}.{label}" for section in sections for label in (*OWN_LABELS, "team=a")]
    given = [word for setting in settings for word in ("--set", setting)]
    for helm in HELMS:
        # Read strictly: a key that stands twice is an error to the API server.
        text = output([HELMS[helm], "template", "capsule-proxy", str(CHART), "-n", "capsule-system", *given])
        documents, without = [d for d in yaml.load_all(text, Loader=Strict) if d], template(helm=helm)
        for kind, name in (("Service", "capsule-proxy"), ("ClusterRole", OWN), ("ClusterRoleBinding", READS)):
            usual = one(without, kind, name)["metadata"]["labels"]
            assert one(documents, kind, name)["metadata"]["labels"] == usual | {"team": "a"}, (helm, kind)
        pods = [one(d, "Deployment")["spec"]["template"]["metadata"]["labels"] for d in (documents, without)]
        assert pods[0] == pods[1] | {"team": "a"}, helm


@test
def the_configuration_file_is_what_the_values_say():
    documents = template("--set", f"entra.tenantId={GROUP_ID}", "--set", "config.authentication.tokenReview.enabled=true")
    config = yaml.safe_load(one(documents, "ConfigMap", "capsule-proxy-config")["data"]["config.yaml"])
    assert config == {"authentication": {"jwt": [{"entra": {"tenantId": GROUP_ID}}], "tokenReview": {"enabled": True}}}
    assert "--config=/etc/kube-tenant-proxy/config.yaml" in arguments(documents)
    other = template("--set", f"entra.tenantId={GROUP_ID}")
    pods = [one(d, "Deployment")["spec"]["template"] for d in (documents, other)]
    assert pods[0] == pods[1], "a change of the configuration restarts nothing: it is read anew"


@test
def the_notes_say_who_checks_whose_tokens():
    url = "https://login.example.com"
    issuer = {"issuer": {"url": url, "audiences": ["a"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}
    entra, other = ["--set", f"entra.tenantId={GROUP_ID}"], ["--set-json", f"config.authentication.jwt={json.dumps([issuer | {'upstream': 'token'}])}"]
    pasted = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [issuer]}
    directory, by_url = f"Of the Entra directory {GROUP_ID}: checked by the proxy", f"Of {url}: checked by the proxy"
    others, hint, refused = "All others are checked by the API server", "On AKS, entra.tenantId=", "All others are refused"
    off = ["--set", "config.authentication.tokenReview.enabled=false"]
    for settings, said in (
        ([], {hint}),
        (entra, {directory, others}),
        (other, {by_url, others}),
        ([*entra, *other], {directory, by_url, others}),
        ([*entra, *other, *off], {directory, by_url, refused}),
        (["--set-json", f"config={json.dumps(pasted)}"], {by_url, others}),
    ):
        told = notes(*settings)
        assert {words for words in (directory, by_url, others, hint, refused) if words in told} == said, (settings, told)


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


@test
def the_notes_name_every_value_that_is_set_and_has_no_effect():
    quiet = notes()
    for settings, words in (
        (["options.authPreferredTypes=TLSCertificate"], "options.authPreferredTypes=TLSCertificate has no effect"),
        (["options.leaderElection=true"], "options.leaderElection=true has no effect"),
        (["options.webhookPort=1"], "options.webhookPort=1 has no effect"),
        (["options.trustedProxyCidrs={192.0.2.0/24}"], "options.trustedProxyCidrs has no effect"),
        (["options.impersonationGroupRegexp=a"], "options.impersonationGroupRegexp=a has no effect"),
        (["rbac.clusterRole=cluster-admin"], "rbac.clusterRole=cluster-admin is not bound"),
        (["crds.install=false"], "crds.install=false has no effect"),
        (["crds.keep=false"], "crds.keep=false has no effect"),
        (["crds.labels.a=b"], "crds.labels has no effect"),
        (["crds.annnotations.a=b"], "crds.annnotations has no effect"),
        (["global.jobs.certs.restartPolicy=Never"], "global.jobs has no effect"),
        (["jobs.certs.restartPolicy=Never"], "jobs.certs has no effect"),
        (["webhooks.enabled=true"], "webhooks.enabled=true has no effect"),
        (["gangplank.enabled=true"], "gangplank.enabled=true renders nothing"),
        (["httproute.enabled=true"], "httproute.enabled=true renders nothing"),
        (["hostNetwork=true"], "hostNetwork=true has no effect: set daemonset.hostNetwork"),
        (["daemonset.hostPort=true"], "daemonset.hostPort has no effect with kind=Deployment"),
        (["kind=DaemonSet", "replicaCount=3"], "replicaCount=3 has no effect with kind=DaemonSet"),
        (["service.loadBalancerSourceRanges={192.0.2.0/24}"], "service.loadBalancerSourceRanges has no effect with service.type=ClusterIP"),
        (["service.type=NodePort", "service.loadBalancerClass=a"], "service.loadBalancerClass has no effect with service.type=NodePort"),
        (["service.nodePort=30443"], "service.nodePort have no effect with service.type=ClusterIP"),
        (["certManager.generateCertificates=true", "options.enableSSL=false"], "has no effect beside options.enableSSL=false"),
        (["certManager.generateCertificates=true", "options.certificateVolumeName=a"], "beside options.certificateVolumeName"),
        (["certManager.generateCertificates=true", "options.generateCertificates=true"], "options.generateCertificates=true has no effect"),
    ):
        told = notes(*(word for setting in settings for word in ("--set", setting)))
        assert words in told and words not in quiet, (settings, told)
    # At their defaults, which the incumbent's values carry along, they are no news.
    usual = ["options.authPreferredTypes=BearerToken\\,TLSCertificate", "options.pprof=false", "options.rolebindingsResyncPeriod=10h", "crds.install=true", "crds.keep=true", "webhooks.enabled=false"]
    assert notes(*(word for setting in usual for word in ("--set", setting))) == quiet


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
        if path[0] == "config" and path != ("config",):
            continue  # a file, of which values.yaml has none
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


# The tests of what is optional stand beside this file.
for part in ("certificates", "exposure", "operation", "takeover", "policy"):
    importlib.import_module(part)

run_all()
