package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"kube-tenant-proxy/testbed/azure"
	"kube-tenant-proxy/testbed/capsule"
	"kube-tenant-proxy/testbed/pki"
)

// outage is how long the API server may be away before the controller manager is started anew with it: its informers
// would otherwise sleep through the return.
const outage = 4 * time.Second

// startControl serves the endpoints by which a test disturbs the test bed, and returns their address.
func (t *testbed) startControl(ctx context.Context) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	logger, err := t.logger("control")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: t.controls(ctx), ErrorLog: logger}
	go func() { logger.Print(server.Serve(listener)) }()
	return "http://" + listener.Addr().String(), nil
}

func (t *testbed) controls(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	post := func(path string, do func(*http.Request) (any, error)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			result, err := do(r)
			reply(w, result, err)
		})
	}
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { reply(w, t.state(), nil) })

	post("/apiserver/stop", func(r *http.Request) (any, error) { return nil, t.stopAPIServer(signalOf(r)) })
	post("/apiserver/start", func(*http.Request) (any, error) { return nil, t.startAPIServer(ctx) })
	post("/apiserver/restart", func(r *http.Request) (any, error) {
		if err := t.stopAPIServer(signalOf(r)); err != nil {
			return nil, err
		}
		return nil, t.startAPIServer(ctx)
	})
	post("/apiserver/freeze", func(*http.Request) (any, error) { return nil, t.apiserver.signal(syscall.SIGSTOP) })
	post("/apiserver/thaw", func(*http.Request) (any, error) { return nil, t.apiserver.signal(syscall.SIGCONT) })
	post("/controllers/stop", func(*http.Request) (any, error) { t.controllers.stop(syscall.SIGKILL); return nil, nil })
	post("/controllers/start", func(*http.Request) (any, error) { return nil, t.controllers.start() })
	post("/etcd/compact", func(r *http.Request) (any, error) { return t.compact(r.Context()) })
	post("/certificate", t.certificate)

	if t.operator != nil {
		post("/operator/pause", func(r *http.Request) (any, error) {
			mode := capsule.WebhookMode(r.URL.Query().Get("webhook"))
			if mode == "" {
				mode = capsule.Refuse
			}
			return nil, t.operator.Pause(mode)
		})
		post("/operator/resume", func(*http.Request) (any, error) { t.operator.Resume(); return nil, nil })
	}
	if t.azure != nil {
		post("/azure/grants", func(r *http.Request) (any, error) {
			var grants []azure.Grant
			if err := read(r.Body, &grants); err != nil {
				return nil, err
			}
			t.azure.SetGrants(grants)
			return nil, nil
		})
		post("/azure/fail", func(r *http.Request) (any, error) { return nil, t.azure.SetFailing(r.URL.Query().Get("webhook")) })
		mux.HandleFunc("GET /azure/counts", func(w http.ResponseWriter, _ *http.Request) { reply(w, t.azure.Counts(), nil) })
	}
	return mux
}

// signalOf is SIGKILL, or with ?graceful the signal on which the API server drains.
func signalOf(r *http.Request) syscall.Signal {
	if r.URL.Query().Has("graceful") {
		return syscall.SIGTERM
	}
	return syscall.SIGKILL
}

func (t *testbed) stopAPIServer(signal syscall.Signal) error {
	t.restarting.Lock()
	defer t.restarting.Unlock()
	if !t.apiserver.running() {
		return fmt.Errorf("the API server does not run")
	}
	t.apiserver.stop(signal)
	t.downSince = time.Now()
	return nil
}

// startAPIServer waits until the API server is ready again, and wakes those who watched it.
func (t *testbed) startAPIServer(ctx context.Context) error {
	t.restarting.Lock()
	defer t.restarting.Unlock()
	if err := t.apiserver.start(); err != nil {
		return err
	}
	if err := t.waitForAPIServer(ready); err != nil {
		return err
	}
	if err := t.waitForTokens(ctx); err != nil {
		return err
	}
	if time.Since(t.downSince) > outage && t.controllers.running() {
		t.controllers.stop(syscall.SIGKILL)
		if err := t.controllers.start(); err != nil {
			return err
		}
	}
	t.kubelet.Restart(ctx)
	if t.operator != nil {
		return t.operator.Restart(ctx)
	}
	return nil
}

// compact forgets all revisions but the latest, as the API server itself does every five minutes: within a second or two
// an old continue token is answered with 410. The key is how API servers tell each other, and themselves, to drop the
// old lists they hold (apiserver pkg/storage/etcd3/compact.go).
func (t *testbed) compact(ctx context.Context) (any, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{fmt.Sprintf("http://127.0.0.1:%d", t.etcdPort)}, DialTimeout: 5 * time.Second,
	})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	latest, err := client.Get(ctx, "/registry/none")
	if err != nil {
		return nil, err
	}
	revision := latest.Header.Revision
	if _, err := client.Put(ctx, "compact_rev_key", strconv.FormatInt(revision, 10)); err != nil {
		return nil, err
	}
	_, err = client.Compact(ctx, revision)
	return map[string]any{"revision": revision}, err
}

// certificate issues a certificate of the cluster's authority: a client's, and with hosts a server's too.
func (t *testbed) certificate(r *http.Request) (any, error) {
	var request struct {
		CommonName    string   `json:"commonName"`
		Organizations []string `json:"organizations"`
		Hosts         []string `json:"hosts"`
	}
	if err := read(r.Body, &request); err != nil {
		return nil, err
	}
	pair, err := t.authority.Issue(pki.Leaf{CommonName: request.CommonName, Organizations: request.Organizations, Hosts: request.Hosts})
	if err != nil {
		return nil, err
	}
	return map[string]any{"certificate": string(pair.Certificate), "key": string(pair.Key)}, nil
}

// state tells what runs.
func (t *testbed) state() any {
	state := map[string]any{
		"apiserver":   t.apiserver.running(),
		"controllers": t.controllers.running(),
		"etcd":        t.etcd.running(),
	}
	if t.operator != nil {
		paused, webhook := t.operator.Paused()
		state["operator"] = map[string]any{"paused": paused, "webhook": webhook}
	}
	return state
}

// read decodes strictly; an empty body leaves the request at its zero value.
func read(body io.Reader, into any) error {
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil && err != io.EOF {
		return err
	}
	return nil
}

func reply(w http.ResponseWriter, result any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		result = map[string]any{"error": err.Error()}
	}
	if result == nil {
		result = map[string]any{}
	}
	_ = json.NewEncoder(w).Encode(result)
}
