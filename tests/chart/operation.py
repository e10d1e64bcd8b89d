"""What runs beside the proxy and looks after it: replicas, metrics, fairness, the test of a release."""

import json

from rendering import HELMS, expect_refusal, notes, one, pod, template
from sentences import test


def kinds(documents):
    return {d["kind"] for d in documents}


@test
def an_autoscaler_alone_decides_the_replicas():
    documents = template("--set", "autoscaling.enabled=true", "--set", "replicaCount=5")
    assert "replicas" not in one(documents, "Deployment")["spec"]
    spec = one(documents, "HorizontalPodAutoscaler", "capsule-proxy")["spec"]
    # Without metrics of its own the API server fills in its default.
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3) and "metrics" not in spec and "behavior" not in spec
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "capsule-proxy"}
    assert "replicaCount=5 has no effect" in notes("--set", "autoscaling.enabled=true", "--set", "replicaCount=5")
    per_node = ["--set", "autoscaling.enabled=true", "--set", "kind=DaemonSet"]
    assert "HorizontalPodAutoscaler" not in kinds(template(*per_node))
    assert "autoscaling.enabled=true has no effect with kind=DaemonSet" in notes(*per_node)


@test
def an_autoscaler_goes_by_what_it_is_given():
    on = ["--set", "autoscaling.enabled=true", "--set", "autoscaling.minReplicas=2", "--set", "autoscaling.maxReplicas=6"]
    own = {"type": "Pods", "pods": {"metric": {"name": "open_watches"}, "target": {"type": "AverageValue", "averageValue": "5k"}}}
    down = {"scaleDown": {"stabilizationWindowSeconds": 600}}
    percent = ["--set", "autoscaling.targetCPUUtilizationPercentage=70", "--set", "autoscaling.targetMemoryUtilizationPercentage=80"]
    given = ["--set-json", f"autoscaling.metrics={json.dumps([own])}", "--set-json", f"autoscaling.behavior={json.dumps(down)}"]
    spec = one(template(*on, *percent, *given), "HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"], spec["behavior"]) == (2, 6, down)

    def used(resource, share):
        return {"type": "Resource", "resource": {"name": resource, "target": {"type": "Utilization", "averageUtilization": share}}}

    assert spec["metrics"] == [used("cpu", 70), used("memory", 80), own]


@test
def further_objects_are_rendered_with_their_templates_carried_out():
    name = '{{ include "ktp.fullname" . }}-extra'
    quoted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"port": "{{ .Values.service.port }}"}}
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-text}\n{{ if false }}\ndata: {a: b}\n{{ end }}\n"
    both = json.dumps([quoted, f"{text}---\n{text.replace('-text', '-more')}"])
    for helm in HELMS:
        documents = template("--set-json", f"extraManifests={both}", "--set", "service.port=443", release="my-capsule-proxy", helm=helm)
        assert one(documents, "ConfigMap", "my-capsule-proxy-extra")["data"] == {"port": "443"}
        for suffix in ("text", "more"):
            assert "data" not in one(documents, "ConfigMap", f"my-capsule-proxy-{suffix}")
    assert not [d for d in template() if d["kind"] == "ConfigMap"]
    expect_refusal(["--set-json", 'extraManifests=["{{ .Release.Nmae | required \\"a name\\" }}"]'], "a name")


@test
def several_replicas_are_spread_and_do_not_leave_together():
    for settings, several in (
        ([], False),
        (["--set", "replicaCount=2"], True),
        (["--set", "autoscaling.enabled=true"], True),
        (["--set", "autoscaling.enabled=true", "--set", "autoscaling.maxReplicas=1", "--set", "replicaCount=2"], False),
        (["--set", "kind=DaemonSet", "--set", "replicaCount=2"], False),
    ):
        documents = template(*settings)
        constraints = pod(documents).get("topologySpreadConstraints", [])
        keys = ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
        assert [c["topologyKey"] for c in constraints] == (keys if several else []), settings
        assert ("PodDisruptionBudget" in kinds(documents)) == several, settings
        if several:
            selector = one(documents, "Deployment")["spec"]["selector"]
            budget = one(documents, "PodDisruptionBudget", "capsule-proxy")["spec"]
            assert budget == {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": selector}, settings
            # A wish: on a cluster of one node the replicas start, too.
            assert all((c["whenUnsatisfiable"], c["labelSelector"]) == ("ScheduleAnyway", selector) for c in constraints), settings
    own = ["--set", "replicaCount=2", "--set", "topologySpreadConstraints[0].topologyKey=rack"]
    assert pod(template(*own))["topologySpreadConstraints"] == [{"topologyKey": "rack"}]


@test
def an_autoscaler_that_cannot_work_is_refused():
    on = ["--set", "autoscaling.enabled=true"]
    expect_refusal([*on, "--set", "autoscaling.minReplicas=4"], "Set minReplicas to at most maxReplicas")
    expect_refusal([*on, "--set", "autoscaling.minReplicas=0"], "minReplicas")
    expect_refusal([*on, "--set", "autoscaling.targetCPUUtilizationPercentage=half"], "targetCPUUtilizationPercentage")
    expect_refusal([*on, "--set", "autoscaling.behaviour.scaleDown.selectPolicy=Min"], "behaviour")


SERVICE_MONITOR, POD_MONITOR = ["--set", "serviceMonitor.enabled=true"], ["--set", "podMonitor.enabled=true"]


@test
def a_monitor_finds_the_metrics_port_of_this_release():
    documents = template(*SERVICE_MONITOR, *POD_MONITOR, "--set", "serviceMonitor.namespace=monitoring")
    by_service = one(documents, "ServiceMonitor", "capsule-proxy-monitor")
    (endpoint,) = by_service["spec"]["endpoints"]
    assert endpoint == {"port": "metrics", "path": "/metrics", "interval": "15s"}
    assert by_service["metadata"]["namespace"] == "monitoring"
    assert by_service["spec"]["namespaceSelector"] == {"matchNames": ["capsule-system"]}
    wanted = by_service["spec"]["selector"]["matchLabels"].items()
    services = [d for d in documents if d["kind"] == "Service" and wanted <= d["metadata"]["labels"].items()]
    ports = [(s["metadata"]["name"], p["port"]) for s in services for p in s["spec"]["ports"] if p["name"] == "metrics"]
    assert ports == [("capsule-proxy-metrics-service", 8080)]
    by_pod = one(documents, "PodMonitor", "capsule-proxy-monitor")["spec"]
    assert by_pod["podMetricsEndpoints"] == [endpoint]
    assert by_pod["selector"] == one(documents, "Deployment")["spec"]["selector"]
    own = template(*SERVICE_MONITOR, "--set", "serviceMonitor.matchLabels.team=platform")
    assert one(own, "ServiceMonitor")["spec"]["selector"]["matchLabels"] == {"team": "platform"}


@test
def a_monitor_brings_no_rights_and_the_notes_say_what_is_doubled():
    settings = [*SERVICE_MONITOR, "--set", "serviceMonitor.serviceAccount.name=prometheus"]
    assert not [d for d in template(*settings) if d["kind"] in ("Role", "RoleBinding")]
    assert "serviceMonitor.serviceAccount.name=prometheus has no effect" in notes(*settings)
    assert "Prometheus reads every metric twice" in notes(*SERVICE_MONITOR, *POD_MONITOR)
    expect_refusal([*SERVICE_MONITOR, "--set", "serviceMonitor.endpoint.interval=often"], "interval")
    expect_refusal([*SERVICE_MONITOR, "--set", "serviceMonitor.endpoint.scrapeInterval=1s"], "scrapeInterval")
    expect_refusal([*POD_MONITOR, "--set", "podMonitor.targetLabels[0]=a"], "targetLabels")


FAIR = ["--set", "apiPriorityAndFairness.enabled=true"]


@test
def the_flow_is_the_readers_whom_the_roles_name():
    documents = template(*FAIR)
    (binding,) = [d for d in documents if d["kind"] == "ClusterRoleBinding" and d["subjects"][0]["kind"] == "Group"]
    flow = one(documents, "FlowSchema", "capsule-proxy")
    assert "namespace" not in flow["metadata"]
    (rule,) = flow["spec"]["rules"]
    assert rule["subjects"] == [{"kind": "Group", "group": {"name": binding["subjects"][0]["name"]}}]
    level = one(documents, "PriorityLevelConfiguration", flow["spec"]["priorityLevelConfiguration"]["name"])
    queuing = level["spec"]["limited"]["limitResponse"]["queuing"]
    assert queuing["handSize"] <= queuing["queues"] and set(level["spec"]) == {"type", "limited"}
    # The API server refuses a queue beside Reject.
    spec = "apiPriorityAndFairness.priorityLevelConfigurationSpec"
    reject = one(template(*FAIR, "--set", f"{spec}.limited.limitResponse.type=Reject"), "PriorityLevelConfiguration")
    assert reject["spec"]["limited"]["limitResponse"] == {"type": "Reject"}
    older = notes(*FAIR, "--set", "apiPriorityAndFairness.flowApiVersion=flowcontrol.apiserver.k8s.io/v1beta3")
    assert "flowApiVersion=flowcontrol.apiserver.k8s.io/v1beta3 has no effect" in older
    expect_refusal([*FAIR, "--set", "apiPriorityAndFairness.matchingPrecedence=0"], "matchingPrecedence")
    expect_refusal([*FAIR, "--set", f"{spec}.type=Exempt"], "type")


@test
def the_test_of_a_release_runs_the_products_own_image_and_takes_no_requests():
    documents = template("--set", "imagePullSecrets[0].name=registry", "--set", "nodeSelector.pool=edge")
    trial, proxy = one(documents, "Pod", "capsule-proxy-test"), pod(documents)
    annotations = trial["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "test" and "before-hook-creation" in annotations["helm.sh/hook-delete-policy"]
    (container,), (own,) = trial["spec"]["containers"], proxy["containers"]
    assert container["image"] == own["image"]
    assert container["args"] == ["probe", "--url=https://capsule-proxy.capsule-system.svc:9001", "--certificate=/certificate/tls.crt"]
    (volume,) = trial["spec"]["volumes"]
    assert volume["secret"] == {"secretName": "capsule-proxy", "items": [{"key": "tls.crt", "path": "tls.crt"}]}, "not the key"
    plain = one(template("--set", "options.enableSSL=false"), "Pod", "capsule-proxy-test")["spec"]
    assert plain["containers"][0]["args"] == ["probe", "--url=http://capsule-proxy.capsule-system.svc:9001"]
    assert "volumes" not in plain
    assert container["securityContext"] == own["securityContext"]
    for field in ("securityContext", "imagePullSecrets", "nodeSelector", "serviceAccountName"):
        assert trial["spec"][field] == proxy[field], field
    assert trial["spec"]["automountServiceAccountToken"] is False
    for service in (d for d in documents if d["kind"] == "Service"):
        assert not service["spec"]["selector"].items() <= trial["metadata"]["labels"].items(), service["metadata"]["name"]
