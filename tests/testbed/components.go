package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"k8s.io/client-go/rest"

	"kube-tenant-proxy/testbed/entra"
	"kube-tenant-proxy/testbed/pki"
	"kube-tenant-proxy/testbed/ports"
)

// component makes the process of that name: this binary, by a link that bears the name.
func (t *testbed) component(name string, args []string) *process {
	return &process{
		name: name, path: filepath.Join(t.dir, "bin", name), args: args,
		log: filepath.Join(t.dir, "log", name+".log"), accidents: t.accidents,
	}
}

// etcdArgs are etcd's arguments. Elections are quick, since there is nobody to elect but itself, and nothing is synced
// to disk, since nothing outlives the test bed.
func (t *testbed) etcdArgs(client, peer int) []string {
	clientURL, peerURL := fmt.Sprintf("http://127.0.0.1:%d", client), fmt.Sprintf("http://127.0.0.1:%d", peer)
	return []string{
		"--name=testbed",
		"--data-dir=" + filepath.Join(t.dir, "etcd"),
		"--listen-client-urls=" + clientURL,
		"--advertise-client-urls=" + clientURL,
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=testbed=" + peerURL,
		"--heartbeat-interval=50",
		"--election-timeout=500",
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

// apiserverArgs are the API server's arguments, the caller's own last so that they win.
func (t *testbed) apiserverArgs(port, etcd int) []string {
	file := func(name string) string { return filepath.Join(t.dir, "pki", name) }
	args := []string{
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", etcd),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--endpoint-reconciler-type=none", // It would insist on an address that is not loopback.
		"--service-cluster-ip-range=10.0.0.0/24",
		"--allow-privileged",
		"--tls-cert-file=" + file("apiserver.crt"),
		"--tls-private-key-file=" + file("apiserver.key"),
		"--client-ca-file=" + file("ca.crt"),
		"--kubelet-client-certificate=" + file("apiserver-kubelet.crt"),
		"--kubelet-client-key=" + file("apiserver-kubelet.key"),
		"--kubelet-certificate-authority=" + file("ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--proxy-client-cert-file=" + file("aggregator.crt"),
		"--proxy-client-key-file=" + file("aggregator.key"),
		"--requestheader-client-ca-file=" + file("ca.crt"),
		"--requestheader-allowed-names=aggregator",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=" + file("service-account.key"),
		"--service-account-key-file=" + file("service-account.pub"),
		"--audit-policy-file=" + filepath.Join(t.dir, "audit-policy.yaml"),
		"--audit-log-path=" + t.auditLog(),
		"--audit-log-mode=blocking", // An event is in the file before the answer ends.
		"--audit-log-maxsize=10000", // Megabytes; a test does not look into rotated files.
		"--profiling=false",
		"--v=1",
	}
	if t.options.azure {
		args = append(args,
			"--authorization-mode=RBAC,Webhook",
			"--authorization-webhook-config-file="+filepath.Join(t.dir, "authorize-webhook.kubeconfig"),
			"--authorization-webhook-version=v1",
			// Grants are changed by tests and must count at once.
			"--authorization-webhook-cache-authorized-ttl=0s",
			"--authorization-webhook-cache-unauthorized-ttl=0s",
			"--authentication-token-webhook-config-file="+filepath.Join(t.dir, "token-webhook.kubeconfig"),
			"--authentication-token-webhook-version=v1",
			"--authentication-token-webhook-cache-ttl=10s",
		)
	} else {
		args = append(args,
			"--authorization-mode=RBAC",
			"--authentication-config="+filepath.Join(t.dir, "authentication.yaml"),
		)
	}
	return append(args, t.options.apiserverArgs...)
}

// controllerArgs are the controller manager's arguments: only what tests need.
func (t *testbed) controllerArgs(port int) []string {
	controllers := []string{
		"namespace", "serviceaccount", "serviceaccount-token", "garbagecollector", "clusterrole-aggregation",
		"root-ca-certificate-publisher-controller",
	}
	return []string{
		"--kubeconfig=" + filepath.Join(t.dir, "controller-manager.kubeconfig"),
		"--controllers=" + strings.Join(controllers, ","),
		"--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", port),
		"--leader-elect=false",
		"--service-account-private-key-file=" + filepath.Join(t.dir, "pki", "service-account.key"),
		"--root-ca-file=" + filepath.Join(t.dir, "pki", "ca.crt"),
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--v=1",
	}
}

// startComponents picks ports and starts the three programs. A port that somebody else takes in the last moment leads
// to another attempt with others.
func (t *testbed) startComponents() error {
	const attempts = 3
	var err error
	for range attempts {
		var reserved []*ports.Reservation
		for range 4 {
			reservation, err := ports.Reserve()
			if err != nil {
				return err
			}
			reserved = append(reserved, reservation)
		}
		client, peer, secure, controllers := reserved[0].Port, reserved[1].Port, reserved[2].Port, reserved[3].Port
		t.etcdPort = client
		t.server = fmt.Sprintf("https://127.0.0.1:%d", secure)
		t.etcd = t.component("etcd", t.etcdArgs(client, peer))
		t.apiserver = t.component("kube-apiserver", t.apiserverArgs(secure, client))
		t.controllers = t.component("kube-controller-manager", t.controllerArgs(controllers))
		if err = t.writeKubeconfigs(); err != nil {
			return err
		}
		if err = t.startInOrder(); err == nil {
			return nil
		}
		lost := t.etcd.lostPort() || t.apiserver.lostPort()
		t.stopComponents()
		if !lost {
			return err
		}
		for _, reservation := range reserved {
			reservation.Release()
		}
		if err := os.RemoveAll(filepath.Join(t.dir, "etcd")); err != nil {
			return err
		}
	}
	return err
}

// startInOrder starts etcd and the API server beside it, which waits for etcd by itself, and returns when the API server
// can be worked with by an administrator.
func (t *testbed) startInOrder() error {
	for _, p := range []*process{t.etcd, t.apiserver} {
		if err := p.start(); err != nil {
			return err
		}
	}
	return t.waitForAPIServer(almostReady)
}

// startControllers starts the controller manager when the API server is quite ready: earlier it would look once and then
// sleep for a second.
func (t *testbed) startControllers(ctx context.Context) error {
	if err := t.waitForAPIServer(ready); err != nil {
		return err
	}
	if err := t.controllers.start(); err != nil {
		return err
	}
	return t.waitForServiceAccount(ctx)
}

// stopComponents ends everything at once; nothing is worth an orderly end.
func (t *testbed) stopComponents() {
	for _, p := range []*process{t.controllers, t.apiserver, t.etcd} {
		if p != nil {
			p.stop(syscall.SIGKILL)
		}
	}
}

// makePKI writes all certificates and keys.
func (t *testbed) makePKI() error {
	dir := filepath.Join(t.dir, "pki")
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), t.authority.PEM, 0o600); err != nil {
		return err
	}
	loopback := []string{"localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.0.0.1"}
	leaves := map[string]pki.Leaf{
		"apiserver":          {CommonName: "kube-apiserver", Hosts: loopback},
		"apiserver-kubelet":  {CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"}},
		"aggregator":         {CommonName: "aggregator"},
		"admin":              {CommonName: "testbed-admin", Organizations: []string{"system:masters"}},
		"controller-manager": {CommonName: "system:kube-controller-manager", Organizations: []string{"system:masters"}},
		"operator":           {CommonName: "system:capsule-operator", Organizations: []string{"system:masters"}},
		"kubelet":            {CommonName: "system:node:testbed-node", Organizations: []string{"system:masters"}, Hosts: []string{"127.0.0.1", "testbed-node"}},
		"stand-in":           {CommonName: "testbed-stand-in", Hosts: []string{"localhost", "127.0.0.1"}},
	}
	t.pairs = map[string]pki.Pair{}
	for name, leaf := range leaves {
		pair, err := t.authority.Issue(leaf)
		if err != nil {
			return err
		}
		if _, _, err := pair.Write(dir, name); err != nil {
			return err
		}
		t.pairs[name] = pair
	}
	private, public, err := pki.SigningKeys()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "service-account.key"), private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "service-account.pub"), public, 0o600)
}

// writeKubeconfigs writes the files by which programs find the API server.
func (t *testbed) writeKubeconfigs() error {
	for _, name := range []string{"admin", "controller-manager"} {
		path := filepath.Join(t.dir, name+".kubeconfig")
		if err := writeKubeconfig(path, t.server, t.authority.PEM, t.pairs[name]); err != nil {
			return err
		}
	}
	return nil
}

// client is how this process itself talks to the API server, under the given name and without limits of its own.
func (t *testbed) client(name string) *rest.Config {
	pair := t.pairs[name]
	return &rest.Config{
		Host: t.server,
		TLSClientConfig: rest.TLSClientConfig{
			CAData: t.authority.PEM, CertData: pair.Certificate, KeyData: pair.Key,
		},
		QPS: -1,
	}
}

// writeConfiguration writes the files that the API server's arguments name.
func (t *testbed) writeConfiguration() error {
	policy := "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: " + string(t.options.audit) + "\n"
	if err := os.WriteFile(filepath.Join(t.dir, "audit-policy.yaml"), []byte(policy), 0o600); err != nil {
		return err
	}
	if t.azure == nil {
		return os.WriteFile(filepath.Join(t.dir, "authentication.yaml"), []byte(t.authenticationConfig()), 0o600)
	}
	for path, name := range map[string]string{"/token": "token-webhook.kubeconfig", "/authorize": "authorize-webhook.kubeconfig"} {
		if err := writeWebhookKubeconfig(filepath.Join(t.dir, name), t.azure.URL+path, t.authority.PEM); err != nil {
			return err
		}
	}
	return nil
}

// authenticationConfig makes the API server take the main directory's tokens and name people as a managed cluster does.
// The issuer is Entra's own; only its discovery document comes from the stand-in.
func (t *testbed) authenticationConfig() string {
	authority := strings.ReplaceAll(strings.TrimSpace(string(t.authority.PEM)), "\n", "\n      ")
	return fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: %s
    discoveryURL: %s
    audiences: [%s]
    certificateAuthority: |
      %s
  claimMappings:
    username:
      expression: "has(claims.upn) ? claims.upn : claims.oid"
    groups:
      expression: "has(claims.groups) ? claims.groups : []"
`, t.issuer(), t.discoveryURL(), entra.Audience, authority)
}
