"""The walkthrough's command with one value more, `entra.tenantId`: the proxy checks the directory's tokens itself. Run by
`tests/chart/cluster`."""

import json
import os
import re

import yaml

from bed import NAMESPACE, Bed, eventually
from release import Release
from sentences import run_all, test

NAMESPACES = "/api/v1/namespaces"

bed = Bed()
entra = bed.facts["entra"]
running = []


class WithDirectory(Release):
    """What the chart rendered, told where the test bed's directory answers in the place of Microsoft's."""

    more = {}

    def sync(self):
        super().sync()
        (path,) = [path for folder in self.mounts.values() for path in folder.glob("*.yaml")]
        config = yaml.safe_load(path.read_text())
        assert config == {"authentication": {"jwt": [{"entra": {"tenantId": entra["tenantId"]}, **self.more}]}}, config
        (entry,) = config["authentication"]["jwt"]
        authority = open(entra["caFile"]).read()
        entry["issuer"] = {"discoveryURL": entra["discoveryURL"], "certificateAuthority": authority}
        path.resolve().write_text(yaml.safe_dump(config))


class Impersonating(WithDirectory):
    """The same, where the API server is said not to know the directory."""

    # Constrained impersonation takes no extra without a domain, such as the preset's `oid`.
    more = {"upstream": "impersonate", "claimMappings": {"extra": []}}


def release():
    """The one release of these tests, and a Tenant of the dev group and of a user by his name, with a namespace each."""
    if not running:
        bed.kubectl("create", "namespace", NAMESPACE)
        bed.kubectl("delete", "crd", "proxysettings.capsule.clastix.io", "globalproxysettings.capsule.clastix.io")
        notes = bed.walkthrough("self-signed.sh", os.environ["HELM4"], "--set", f"entra.tenantId={entra['tenantId']}")
        assert f"Of the Entra directory {entra['tenantId']}: checked by the proxy itself." in notes, notes
        assert "oidcUsernameClaim" not in notes, "it has an effect now"
        group, name = bed.facts["capsule"]["devGroup"], claims("capsule-user-dev")["upn"]
        for tenant, owner in (("dev", {"kind": "Group", "name": group}), ("own", {"kind": "User", "name": name})):
            apply("capsule.clastix.io/v1beta2", "Tenant", {"name": tenant}, {"owners": [owner]})
            apply("v1", "Namespace", {"name": f"{tenant}-demo", "labels": {"capsule.clastix.io/tenant": tenant}})
        running.append(WithDirectory(bed).ready())
    return running[0]


def apply(version, kind, metadata, spec=None):
    path = bed.dir / "object.json"
    path.write_text(json.dumps({"apiVersion": version, "kind": kind, "metadata": metadata, **({"spec": spec} if spec else {})}))

    def is_there():
        # The operator's webhook learns of a Tenant a moment later.
        return bed.run([os.environ["KUBECTL"], "apply", "-f", str(path)]).returncode == 0

    eventually(is_there)


def minted(persona, **more):
    return bed.directory("/control/mint", {"persona": persona, **more})


def token(persona, **more):
    return minted(persona, **more)["token"]


def claims(persona):
    return minted(persona)["claims"]


def seen(who):
    status, body, _ = release().get(NAMESPACES, who)
    assert status == 200, body
    return sorted(item["metadata"]["name"] for item in body["items"])


def count(family, *labels):
    """The sum of those samples that have these labels."""
    text = release().ask(release().metrics, "/metrics")[1]
    samples = re.findall(rf"^kube_tenant_proxy_{family}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for given, value in samples if set(labels) <= set(given.split(",")))


@test
def one_value_is_enough_and_the_api_server_is_not_asked():
    dev = token("capsule-user-dev")
    eventually(lambda: seen(dev) == ["dev-demo", "own-demo"])
    assert count("authentications_total", 'method="signature"') > 0
    assert count("authentications_total", 'method="review"') == count("token_reviews_total") == 0
    assert not any("is asked about each token in use" in line for line in release().log), release().log


@test
def who_bears_an_owners_name_as_a_guest_is_not_he():
    # options.oidcUsernameClaim=unique_name, which the walkthrough sets: a guest's is the name that he has at home.
    guest = claims("guest")
    assert guest["unique_name"] == claims("capsule-user-dev")["upn"], guest
    for persona in ("guest", "personal-guest", "stranger"):
        status, body, _ = release().get(NAMESPACES, token(persona))
        assert status == 403, (persona, body)


@test
def a_token_of_another_directory_is_nobodys():
    other = "77777777-2222-4333-8444-555555555555"
    for wrong in (token("capsule-user-dev", tid=other), token("capsule-user-dev", key="foreign"), token("expired")):
        status, body, _ = release().get(NAMESPACES, wrong)
        assert status == 401, body


@test
def the_ignored_group_sees_all_as_itself():
    assert {"kube-system", "dev-demo", "own-demo"} <= set(seen(token("capsule-admin")))


@test
def constrained_impersonation_carries_people_as_far_as_its_list():
    on = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}
    issuer = {"entra": {"tenantId": entra["tenantId"]}, **Impersonating.more}
    impersonate = {"enabled": True, "constrainedTo": [on]}
    values = bed.dir / "constrained.json"
    values.write_text(json.dumps({"config": {"authentication": {"jwt": [issuer]}}, "upstream": {"impersonate": impersonate}}))
    notes = bed.walkthrough("self-signed.sh", os.environ["HELM4"], "-f", str(values))
    assert "For what upstream.impersonate.constrainedTo lists, and nothing else" in notes, notes
    proxy = Impersonating(bed)
    running.append(proxy)
    proxy.ready()
    dev = token("capsule-user-dev")

    def answer(path):
        status, body, _ = proxy.get(path, dev)
        return status, body

    def named(path):
        status, body = answer(path)
        return status == 200 and {item["metadata"].get("namespace", item["metadata"]["name"]) for item in body["items"]}

    # The reader's lists, and his own in each namespace, put together.
    eventually(lambda: named(NAMESPACES) == {"dev-demo", "own-demo"})
    eventually(lambda: named("/api/v1/configmaps") == {"dev-demo", "own-demo"})
    status, body = answer("/api/v1/namespaces/dev-demo/secrets")
    assert status == 403 and "impersonate" in body["message"], body
    proxy.stop()


@test
def the_release_ends_cleanly():
    release().stop()


try:
    run_all()
finally:
    for proxy in running:
        proxy.process.kill()
    bed.close()
