"""How the proxy is reached, and from where."""

import json
import re

import yaml
from rendering import CHART, expect_refusal, notes, one, pod, template
from sentences import test

INGRESS = ["--set", "ingress.enabled=true", "--set", "ingress.hosts[0].host=proxy.example.com"]
PASSED = [*INGRESS, "--set-string", r"ingress.annotations.haproxy\.org/ssl-passthrough=true"]
ROUTE = [
    *("--set", "gatewayApi.tlsRoute.enabled=true", "--set", "gatewayApi.tlsRoute.parentRefs[0].name=edge"),
    *("--set", "gatewayApi.tlsRoute.hostnames[0]=proxy.example.com"),
]


@test
def an_ingress_leads_to_the_services_port_by_name():
    documents = template(*INGRESS, "--set", "service.portName=https")
    (rule,) = one(documents, "Ingress", "capsule-proxy")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    service = one(documents, "Service", "capsule-proxy")
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}}
    assert (rule["host"], path["path"], path["pathType"]) == ("proxy.example.com", "/", "Prefix")
    older = template(*INGRESS, "--set", "ingress.ingressClassName=nginx")
    assert one(older, "Ingress")["spec"]["ingressClassName"] == "nginx"


@test
def the_notes_say_where_tls_ends():
    assert "https://proxy.example.com, by the Ingress, which passes TLS through" in notes(*PASSED)
    assert "--server=https://proxy.example.com --certificate-authority=ca.crt" in notes(*PASSED)
    assert "which ends TLS: users see the certificate of ingress.tls" in notes(*INGRESS, "--set", "ingress.tls[0].secretName=edge")
    assert "tokens cross the network in the clear" in notes(*INGRESS)
    assert "https://proxy.example.com, by the TLSRoute" in notes(*ROUTE)
    assert "--server=https://proxy.example.com --certificate-authority=ca.crt" in notes(*ROUTE)


NGINX = "nginx.ingress.kubernetes.io/"


def annotated(annotations):
    return ["--set-json", f"ingress.annotations={json.dumps({NGINX + name: value for name, value in annotations.items()})}"]


@test
def what_ingress_nginx_needs_is_in_the_comments_in_the_example_and_in_the_notes():
    needed = yaml.safe_load((CHART / "files/ingress-nginx.yaml").read_text())
    example = yaml.safe_load((CHART / "ci/ingress-values.yaml").read_text())["ingress"]["annotations"]
    assert example == {NGINX + name: value for name, value in needed.items()}
    comments = re.findall(r"^#       (nginx\.ingress\S+: .*)$", (CHART / "values.yaml").read_text(), re.MULTILINE)
    passed = {f"{NGINX}ssl-passthrough": "true"}
    assert yaml.safe_load("\n".join(comments)) == example | passed
    ended = [*INGRESS, "--set", "ingress.tls[0].secretName=edge"]
    buffers, missing = 'large-client-header-buffers: "4 32k" in its ConfigMap', "these are missing in ingress.annotations"
    told = notes(*ended, *annotated(needed))
    assert buffers in told and missing not in told, told
    for name, value in needed.items():
        told = notes(*ended, *annotated({**needed, name: ""}))
        assert missing in told and f'    {name}: "{value}"\n' in told, told
    plain = annotated({**needed, "backend-protocol": "HTTP"})
    assert '    backend-protocol: "HTTPS"\n' in notes(*ended, *plain)
    assert missing not in notes(*ended, *plain, "--set", "options.enableSSL=false")
    by_class = [*ended, "--set", "ingress.className=nginx"]
    assert missing in notes(*by_class)
    for other in ([], ["--set", "ingress.className=haproxy"], ["--set", "ingress.className=nginx", "--set-string", r"ingress.annotations.nginx\.org/a=b"]):
        assert "ingress-nginx" not in notes(*ended, *other), other
    told = notes(*INGRESS, *annotated({"ssl-passthrough": "true"}))
    assert "ingress-nginx must run with --enable-ssl-passthrough" in told and missing not in told and buffers not in told, told


@test
def a_route_passes_tls_to_the_services_port():
    documents = template(*ROUTE, "--set", "service.port=443")
    route = one(documents, "TLSRoute", "capsule-proxy")
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1alpha2"
    (rule,) = route["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "capsule-proxy", "port": 443}]


@test
def a_generated_certificate_is_good_for_the_names_that_users_connect_to():
    for settings in (INGRESS, PASSED, ROUTE):
        names = one(template(*settings), "Secret")["metadata"]["annotations"]["kube-tenant-proxy.io/names"]
        assert names.split(",")[-1] == "proxy.example.com", settings


@test
def the_nodes_ports_lead_to_the_port_that_the_proxy_listens_on():
    def ports(*settings):
        documents = template(*settings)
        (container,) = pod(documents)["containers"]
        (service,) = one(documents, "Service", "capsule-proxy")["spec"]["ports"]
        named = {port["name"]: port for port in container["ports"]}
        assert service["targetPort"] == named["proxy"]["containerPort"] and f"--listening-port={service['targetPort']}" in container["args"]
        return service, named, pod(documents)

    fixed = ["--set", "service.type=NodePort", "--set", "service.nodePort=30443", "--set", "options.listeningPort=9443"]
    assert ports(*fixed)[0] == {"name": "proxy", "port": 9001, "targetPort": 9443, "protocol": "TCP", "nodePort": 30443}
    for chosen in ([], ["--set", "service.type=NodePort"], ["--set", "service.nodePort=30443"]):
        assert "nodePort" not in ports(*chosen)[0], chosen
    assert ports("--set", "service.type=LoadBalancer", "--set", "service.nodePort=30443")[0]["nodePort"] == 30443
    assert "<a node's address>:30443" in notes(*fixed)
    assert "<a node's address>:<node port>; the node port is shown by" in notes("--set", "service.type=NodePort")

    per_node = ["--set", "kind=DaemonSet", "--set", "options.listeningPort=9443"]
    documents = template(*per_node)
    spec = one(documents, "DaemonSet", "capsule-proxy")["spec"]
    assert not {"replicas", "strategy"} & set(spec) and not [d for d in documents if d["kind"] == "Deployment"]
    assert "hostPort" not in ports(*per_node)[1]["proxy"] and "hostNetwork" not in ports(*per_node)[2]
    bound = [*per_node, "--set", "daemonset.hostPort=true"]
    # The proxy's port, and not that of metrics and probes.
    assert {name: port.get("hostPort") for name, port in ports(*bound)[1].items()} == {"proxy": 9443, "probe": None, "metrics": None}
    within = ports(*per_node, "--set", "daemonset.hostNetwork=true")[2]
    assert (within["hostNetwork"], within["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    for exposed in (bound, [*per_node, "--set", "daemonset.hostNetwork=true"]):
        assert "https://<a node's address>:9443" in notes(*exposed)
    for setting in ("daemonset.hostPort=true", "daemonset.hostNetwork=true"):
        _, named, alone = ports("--set", setting)
        assert "hostPort" not in named["proxy"] and "hostNetwork" not in alone, setting


POLICY = ["--set", "networkPolicy.enabled=true"]


@test
def a_network_policy_lets_users_in_and_the_proxy_out_and_names_each_port_of_the_pod():
    documents = template(*POLICY)
    spec = one(documents, "NetworkPolicy", "capsule-proxy")["spec"]
    assert spec["podSelector"] == one(documents, "Deployment")["spec"]["selector"]
    sources = {rule["ports"][0]["port"]: rule.get("from", "anybody") for rule in spec["ingress"]}
    assert sources == {"proxy": "anybody", "probe": "anybody", "metrics": [{"namespaceSelector": {}}]}
    assert sorted(sources) == sorted(port["name"] for port in pod(documents)["containers"][0]["ports"])
    assert [port["port"] for rule in spec["egress"] for port in rule["ports"]] == [53, 53, 443, 6443]
    assert all("to" not in rule for rule in spec["egress"]) and spec["policyTypes"] == ["Ingress", "Egress"]
    free = one(template(*POLICY, "--set", "networkPolicy.egress=null"), "NetworkPolicy")["spec"]
    assert free["policyTypes"] == ["Ingress"] and "egress" not in free
    on_nodes = ["--set", "kind=DaemonSet", "--set", "daemonset.hostNetwork=true"]
    assert "networkPolicy.enabled=true has no effect on pods in the network of their nodes" in notes(*POLICY, *on_nodes)


NODE_PORT = ["--set", "service.type=NodePort"]
PER_NODE = ["--set", "kind=DaemonSet", "--set", "daemonset.hostPort=true"]
HOST_NETWORK = ["--set", "kind=DaemonSet", "--set", "daemonset.hostNetwork=true"]
LOAD_BALANCER = ["--set", "service.type=LoadBalancer"]


@test
def the_kubeconfigs_server_is_where_users_come_in():
    for settings, server in (
        ([*LOAD_BALANCER, "--set", "service.port=443"], "https://<address>:443"),
        ([*NODE_PORT, "--set", "service.nodePort=30443"], "https://<node>:30443"),
        (NODE_PORT, "https://<node>:<node port>"),
        ([*PER_NODE, "--set", "options.listeningPort=9443"], "https://<node>:9443"),
        ([*PER_NODE, *LOAD_BALANCER], "https://<address>:9001"),
        (["--set", "kind=DaemonSet"], "https://<address>:9001"),
    ):
        told = notes(*settings)
        assert f"--server={server} " in told, (settings, told)


@test
def the_notes_warn_of_a_certificate_without_a_name_outside():
    warning = "WARNING: it names nothing outside the cluster"
    by_cert_manager = ["--set", "certManager.generateCertificates=true"]
    for settings in (LOAD_BALANCER, NODE_PORT, PER_NODE, HOST_NETWORK, [*LOAD_BALANCER, *by_cert_manager]):
        assert warning in notes(*settings), settings
        for names in (["--set", "options.additionalSANs={proxy.example.com}"], INGRESS):
            assert warning not in notes(*settings, *names), (settings, names)
    label = r"service.annotations.service\.beta\.kubernetes\.io/azure-dns-label-name=edge"
    assert "to edge.<region>.cloudapp.azure.com." in notes(*LOAD_BALANCER, "--set", label)
    own = ["--set", "options.generateCertificates=false"]
    for settings in ([], [*LOAD_BALANCER, *own], [*LOAD_BALANCER, "--set", "options.enableSSL=false"]):
        assert warning not in notes(*settings), settings
    dns = [*by_cert_manager, "--set", "certManager.certificate.dnsNames={proxy.example.com}"]
    assert warning not in notes(*LOAD_BALANCER, *dns)


@test
def the_command_for_an_own_certificate_has_the_keys_that_are_read():
    own = ["--set", "options.generateCertificates=false"]
    assert "create secret tls capsule-proxy --cert=tls.crt --key=tls.key" in notes(*own)
    names = ["--set", "options.SSLCertFileName=cert.pem", "--set", "options.SSLKeyFileName=key.pem"]
    told = notes(*own, *names)
    assert "create secret generic capsule-proxy --from-file=cert.pem --from-file=key.pem" in told, told


@test
def what_an_exposure_forbids_is_free_elsewhere():
    for settings in (
        ["--set", "options.listeningPort=443"],
        [*PER_NODE, "--set", "options.listeningPort=443", "--set", "hostUsers=false"],
        ["--set", "daemonset.hostNetwork=true", "--set", "hostUsers=false"],
        ["--set-string", "service.port=443", "--set", "service.portName=kubernetes-prox"],
    ):
        template(*settings)


@test
def an_exposure_that_cannot_work_is_refused():
    plain = ["--set", "options.enableSSL=false"]
    for settings, message in (
        (["--set", "options.listeningPort=8080"], "options.listeningPort=8080 is taken: the pod has its metrics there"),
        (["--set", "options.listeningPort=8081"], "options.listeningPort=8081 is taken: the pod has its probes there"),
        ([*HOST_NETWORK, "--set", "options.listeningPort=443"], "below 1024 only root may take it"),
        ([*HOST_NETWORK, "--set", "hostUsers=false"], "hostUsers=false gives the pod users of its own"),
        (["--set", "service.portName=kubernetes-proxy"], "service.portName=kubernetes-proxy is longer than the 15 characters"),
        (["--set-string", "service.port=70000"], "service.port=70000 is no port"),
        (["--set-string", "service.port=0"], "service.port=0 is no port"),
        (["--set-string", "service.nodePort=65536"], "service.nodePort=65536 is no port"),
        (["--set", "ingress.enabled=true"], "Set ingress.hosts[0].host"),
        ([*PASSED, *plain], "Set options.enableSSL=true"),
        ([*INGRESS, "--set", "ingress.hosts[0].paths[0]=api"], "paths"),
        ([*INGRESS, "--set", "ingress.hosts[0].path=/"], "path"),
        ([*INGRESS, "--set", "ingress.hosts[0].host=https://proxy.example.com"], "host"),
        ([*INGRESS, "--set", "ingress.annotations.a=true"], "annotations"),
        (["--set", "gatewayApi.tlsRoute.enabled=true"], "Set gatewayApi.tlsRoute.parentRefs[0].name"),
        ([*ROUTE, "--set", "gatewayApi.tlsRoute.hostnames=null"], "Set gatewayApi.tlsRoute.hostnames[0]"),
        ([*ROUTE, *plain], "Set options.enableSSL=true"),
        ([*ROUTE, "--set", "gatewayApi.tlsRoute.apiVersion=v1"], "apiVersion"),
        ([*ROUTE, "--set", "gatewayApi.tlsRoute.hostnames[0]=192.0.2.10:443"], "hostnames"),
        (["--set", "gatewayApi.httpRoute.enabled=true"], "httpRoute"),
        ([*POLICY, "--set", "networkPolicy.metricsFrom=monitoring"], "metricsFrom"),
        ([*POLICY, "--set", "networkPolicy.from[0].namespaceSelector.matchLabels.a=b"], "from"),
    ):
        expect_refusal(settings, message)
