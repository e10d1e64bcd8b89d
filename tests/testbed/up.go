package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"kube-tenant-proxy/testbed/azure"
	"kube-tenant-proxy/testbed/capsule"
	"kube-tenant-proxy/testbed/entra"
	"kube-tenant-proxy/testbed/kubelet"
	"kube-tenant-proxy/testbed/pki"
)

// testbed is one running instance.
type testbed struct {
	dir     string
	options *options

	authority *pki.Authority
	pairs     map[string]pki.Pair
	tenantID  string

	server      string
	etcdPort    int
	etcd        *process
	apiserver   *process
	controllers *process
	accidents   chan *process

	entra    *entra.Server
	azure    *azure.Webhooks
	operator *capsule.Operator
	kubelet  *kubelet.Kubelet

	// progress is log/up.log, for a start that takes too long.
	progress *log.Logger
	// restarting serialises the control endpoints that stop and start things.
	restarting sync.Mutex
	downSince  time.Time
}

// startLimit bounds the whole start; a loaded machine takes a multiple of the usual few seconds.
const startLimit = 2 * time.Minute

// up runs a test bed until it is told to end.
func up(args []string) error {
	options, err := parseOptions(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if options.exitWithStdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}

	t := &testbed{dir: options.dir, options: options, tenantID: entra.GUID("directory/main"), accidents: make(chan *process, 8)}
	defer t.stopComponents()
	began := time.Now()
	started := make(chan error, 1)
	go func() { started <- t.start(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return nil
	}
	fmt.Printf("ready: %s after %.1f s\n", t.descriptionFile(), time.Since(began).Seconds())
	select {
	case <-ctx.Done():
		return nil
	case p := <-t.accidents:
		return fmt.Errorf("%s ended by itself:\n%s", p.name, p.lastWords())
	}
}

// start brings everything up, in the order in which one needs the other, and describes it in testbed.json.
func (t *testbed) start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(startLimit, cancel)
	defer timer.Stop()
	if err := t.prepareDirectory(); err != nil {
		return err
	}
	var err error
	if t.progress, err = t.logger("up"); err != nil {
		return err
	}
	if t.authority, err = pki.New("testbed"); err != nil {
		return err
	}
	if err := t.makePKI(); err != nil {
		return err
	}
	if err := t.startStandIns(); err != nil {
		return err
	}
	if err := t.writeConfiguration(); err != nil {
		return err
	}
	t.progress.Print("certificates and stand-ins are there")
	if err := t.startComponents(); err != nil {
		return err
	}
	t.progress.Print("the API server answers")
	if err := t.writeKubelogin(); err != nil {
		return err
	}
	t.entra.Cluster = entra.Cluster{Server: t.server, CA: t.authority.PEM}
	if err := t.populate(ctx); err != nil {
		return err
	}
	control, err := t.startControl(ctx)
	if err != nil {
		return err
	}
	return t.describe(control)
}

// prepareDirectory makes an empty directory with links to this binary.
func (t *testbed) prepareDirectory() error {
	for _, name := range []string{"bin", "etcd", "home", "log", "pki", "testbed.json", "admin.kubeconfig", "audit.log"} {
		if err := os.RemoveAll(filepath.Join(t.dir, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "home", "log", "pki"} {
		if err := os.MkdirAll(filepath.Join(t.dir, name), 0o700); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"} {
		if err := os.Symlink(self, filepath.Join(t.dir, "bin", name)); err != nil {
			return err
		}
	}
	// client-go's own log lines belong to the stand-ins that run in this process.
	file, err := os.Create(filepath.Join(t.dir, "log", "stand-ins.log"))
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := errors.Join(flags.Set("logtostderr", "false"), flags.Set("stderrthreshold", "FATAL")); err != nil {
		return err
	}
	klog.SetOutput(file)
	return nil
}

// logger writes to DIR/log/NAME.log.
func (t *testbed) logger(name string) (*log.Logger, error) {
	file, err := os.Create(filepath.Join(t.dir, "log", name+".log"))
	if err != nil {
		return nil, err
	}
	return log.New(file, "", log.LstdFlags|log.Lmicroseconds), nil
}

// startStandIns starts what the API server asks from its first moment: Entra, and the webhooks of a managed cluster.
func (t *testbed) startStandIns() error {
	certificate, err := t.pairs["stand-in"].TLS()
	if err != nil {
		return err
	}
	logger, err := t.logger("entra")
	if err != nil {
		return err
	}
	if t.entra, err = entra.Start(certificate, t.tenantID, logger); err != nil {
		return err
	}
	go func() {
		if err := t.entra.Prepare(); err != nil {
			logger.Print(err)
		}
	}()
	if !t.options.azure {
		return nil
	}
	if logger, err = t.logger("azure"); err != nil {
		return err
	}
	t.azure, err = azure.Start(t.entra, certificate, logger)
	return err
}

// populate brings in everything that lives inside the cluster, side by side.
func (t *testbed) populate(ctx context.Context) error {
	certificate, err := t.pairs["stand-in"].TLS()
	if err != nil {
		return err
	}
	steps := map[string]func() error{
		"the node":        func() error { return t.startKubelet(ctx) },
		"the admins":      func() error { return t.bindAdmins(ctx) },
		"the controllers": func() error { return t.startControllers(ctx) },
		"the first token": func() error { return t.waitForTokens(ctx) },
	}
	if !t.options.noCapsule {
		steps["the operator"] = func() error { return t.startOperator(ctx, certificate) }
	}
	results := make(chan error, len(steps))
	for name, step := range steps {
		go func() {
			err := step()
			t.progress.Printf("%s: %v", name, err)
			results <- err
		}()
	}
	for range steps {
		if err := <-results; err != nil {
			return err
		}
	}
	return nil
}

func (t *testbed) startOperator(ctx context.Context, certificate tls.Certificate) error {
	logger, err := t.logger("operator")
	if err != nil {
		return err
	}
	if t.operator, err = capsule.Start(t.client("operator"), certificate, t.authority.PEM, logger); err != nil {
		return err
	}
	return t.operator.Install(ctx, entra.CapsuleGroup)
}

func (t *testbed) startKubelet(ctx context.Context) error {
	logger, err := t.logger("kubelet")
	if err != nil {
		return err
	}
	certificate, err := t.pairs["kubelet"].TLS()
	if err != nil {
		return err
	}
	if t.kubelet, err = kubelet.Start(t.client("kubelet"), certificate, t.authority.Pool(), logger); err != nil {
		return err
	}
	return t.kubelet.Register(ctx)
}

// bindAdmins makes the admin group of the cast cluster admins, as a managed cluster does with the group it is given.
func (t *testbed) bindAdmins(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(t.client("admin"))
	if err != nil {
		return err
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "aks-cluster-admin-binding-aad"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: entra.CapsuleAdminGroup}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// waitForServiceAccount waits for the controllers, by the first thing they make.
func (t *testbed) waitForServiceAccount(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(t.client("admin"))
	if err != nil {
		return err
	}
	return poll(ctx, "the default service account", func() error {
		if !t.controllers.running() {
			return fmt.Errorf("the controller manager %w:\n%s", errEnded, t.controllers.lastWords())
		}
		_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// waitForTokens waits until the API server takes a token of the main directory.
func (t *testbed) waitForTokens(ctx context.Context) error {
	minted, err := t.entra.Mint(entra.MintRequest{Persona: "capsule-admin"})
	if err != nil {
		return err
	}
	config := rest.AnonymousClientConfig(t.client("admin"))
	config.BearerToken = minted.Token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	return poll(ctx, "the API server to take a token", func() error {
		_, err := client.Discovery().ServerGroups()
		return err
	})
}

// Degrees of readiness, as paths. The API server spends a second on default roles and priority classes, in which
// everything else can be created already.
const (
	ready       = "/readyz"
	almostReady = "/readyz?exclude=poststarthook/rbac/bootstrap-roles&exclude=poststarthook/scheduling/bootstrap-system-priority-classes"
)

// waitForAPIServer waits until the path says ok, or a process ends.
func (t *testbed) waitForAPIServer(path string) error {
	client, err := rest.HTTPClientFor(t.client("admin"))
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	deadline := time.Now().Add(startLimit)
	for time.Now().Before(deadline) {
		for _, p := range []*process{t.etcd, t.apiserver} {
			if !p.running() {
				return fmt.Errorf("%s did not start:\n%s", p.name, p.lastWords())
			}
		}
		response, err := client.Get(t.server + path)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(25 * time.Millisecond)
	}
	return fmt.Errorf("the API server was not ready in time:\n%s", t.apiserver.lastWords())
}

// errEnded is the end of a component that something waits for: no use in asking again.
var errEnded = errors.New("ended by itself")

// poll asks until there is no error.
func poll(ctx context.Context, what string, ask func() error) error {
	for {
		err := ask()
		if err == nil || errors.Is(err, errEnded) {
			return err
		}
		select {
		case <-time.After(25 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
	}
}

func (t *testbed) auditLog() string        { return filepath.Join(t.dir, "audit.log") }
func (t *testbed) descriptionFile() string { return filepath.Join(t.dir, "testbed.json") }
func (t *testbed) issuer() string          { return "https://sts.windows.net/" + t.tenantID + "/" }
func (t *testbed) discoveryURL() string {
	return t.entra.URL + t.tenantID + "/.well-known/openid-configuration"
}

// writeKubelogin puts a kubelogin into DIR/bin that runs the real one, named by $KUBELOGIN, against the stand-in: so the
// kubeconfig that `az aks get-credentials` writes works unchanged. Its caches lie in DIR/home, since a token cached by
// another test bed is no good here.
func (t *testbed) writeKubelogin() error {
	script := fmt.Sprintf(`#!/bin/sh
: "${KUBELOGIN:?names the real kubelogin, see tests/testbed/kubelogin}"
export HOME='%[1]s' XDG_CACHE_HOME='%[1]s/.cache' SSL_CERT_FILE='%[2]s'
if [ "$1" = get-token ]; then
  set -- "$@" --authority-host '%[3]s' --disable-instance-discovery
fi
exec "$KUBELOGIN" "$@"
`, filepath.Join(t.dir, "home"), filepath.Join(t.dir, "pki", "ca.crt"), t.entra.URL)
	return os.WriteFile(filepath.Join(t.dir, "bin", "kubelogin"), []byte(script), 0o700)
}

// describe writes testbed.json, whole or not at all.
func (t *testbed) describe(control string) error {
	authority := filepath.Join(t.dir, "pki", "ca.crt")
	description, err := json.MarshalIndent(map[string]any{
		"server":          t.server,
		"caFile":          authority,
		"adminKubeconfig": filepath.Join(t.dir, "admin.kubeconfig"),
		"kubectl":         filepath.Join(t.dir, "bin", "kubectl"),
		"kubelogin":       filepath.Join(t.dir, "bin", "kubelogin"),
		"auditLog":        t.auditLog(),
		"control":         control,
		"node":            kubelet.NodeName,
		"podIP":           t.kubelet.PodIP,
		"entra": map[string]any{
			"url":          t.entra.URL,
			"caFile":       authority,
			"tenantId":     t.tenantID,
			"issuer":       t.issuer(),
			"discoveryURL": t.discoveryURL(),
			"audience":     entra.Audience,
		},
		"capsule": map[string]any{
			"group":        entra.CapsuleGroup,
			"adminGroup":   entra.CapsuleAdminGroup,
			"devGroup":     entra.CapsuleDevGroup,
			"stagingGroup": entra.CapsuleStagingGroup,
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	unfinished := t.descriptionFile() + ".tmp"
	if err := os.WriteFile(unfinished, append(description, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(unfinished, t.descriptionFile())
}
