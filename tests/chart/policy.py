"""What checkov, which knows many clusters' rules, says of everything the chart renders; and why the rest stands."""

import json
import os
import subprocess

from rendering import GOLDEN
from sentences import test

PROXY, TEST, EXAMPLE = "capsule-proxy", "capsule-proxy-test", "capsule-proxy-extra"

# Rule, object, and why it stands. One that nothing breaks any more fails the test, too.
EXCEPTIONS = {
    ("CKV_K8S_11", PROXY): "no CPU limit: throttling would hold up everybody's watches; `resources` can set one",
    ("CKV_K8S_11", TEST): "it has the proxy's own resources",
    ("CKV_K8S_15", PROXY): "tags of releases do not move, and a node that has the image starts it while the registry is away",
    ("CKV_K8S_15", TEST): "the same image",
    ("CKV_K8S_43", PROXY): "the chart of a release cannot know the digest of its image; `image.digest` sets one",
    ("CKV_K8S_43", TEST): "the same image",
    ("CKV_K8S_38", PROXY): "it speaks to the API server; least power is in what its ServiceAccount may do",
    ("CKV_K8S_8", TEST): "it runs once, to its end",
    ("CKV_K8S_9", TEST): "it runs once, to its end",
    ("CKV2_K8S_6", TEST): "it runs once, for an admin; nothing connects to it",
    ("CKV_K8S_26", PROXY): "daemonset.hostPort asks for it",
    ("CKV_K8S_40", PROXY): "a values file of Capsule's proxy brings its own user, 1002; the chart's default is 65532",
    ("CKV_K8S_40", TEST): "the same values file",
    ("CKV_K8S_21", EXAMPLE): "an example of extraManifests, which are rendered as they are given",
}


@test
def checkov_finds_nothing_that_is_not_argued():
    command = [os.environ["CHECKOV"], "--directory", str(GOLDEN), "--framework", "kubernetes", "--skip-download", "--output", "json"]
    # Without what would have it call home: the tests need no network.
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LOG_LEVEL": "ERROR"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    found = json.loads(done.stdout)
    assert found["summary"]["passed"] > 1000 and not found["summary"]["parsing_errors"], found["summary"]
    failed = {(check["check_id"], check["resource"].split(".")[-1]): check for check in found["results"]["failed_checks"]}
    for key, check in failed.items():
        assert key in EXCEPTIONS, f"{key}: {check['check_name']}, in {check['file_path']}"
    assert set(failed) == set(EXCEPTIONS), f"argued, but not found: {set(EXCEPTIONS) - set(failed)}"
