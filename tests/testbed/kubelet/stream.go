package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// Time limits of streams: a test's stream is never idle for long, and its client is on the same machine.
const (
	idle     = time.Hour
	creation = 30 * time.Second
)

// routes are the kubelet's endpoints that the API server proxies to.
func (k *Kubelet) routes() http.Handler {
	mux := http.NewServeMux()
	for _, method := range []string{"GET ", "POST "} {
		mux.HandleFunc(method+"/exec/{namespace}/{pod}/{container}", k.exec)
		mux.HandleFunc(method+"/exec/{namespace}/{pod}/{uid}/{container}", k.exec)
		mux.HandleFunc(method+"/attach/{namespace}/{pod}/{container}", k.attach)
		mux.HandleFunc(method+"/attach/{namespace}/{pod}/{uid}/{container}", k.attach)
		mux.HandleFunc(method+"/portForward/{namespace}/{pod}", k.portForward)
		mux.HandleFunc(method+"/portForward/{namespace}/{pod}/{uid}", k.portForward)
	}
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.logs)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	return mux
}

// container finds the pod and checks that it has the container.
func (k *Kubelet) container(w http.ResponseWriter, r *http.Request) (*corev1.Pod, bool) {
	pod, err := k.pod(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return nil, false
	}
	name := r.PathValue("container")
	if !slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == name }) {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", name, pod.Name), http.StatusNotFound)
		return nil, false
	}
	return pod, true
}

func (k *Kubelet) exec(w http.ResponseWriter, r *http.Request) {
	pod, ok := k.container(w, r)
	if !ok {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, runtime{}, pod.Namespace+"/"+pod.Name, string(pod.UID), r.PathValue("container"),
		r.URL.Query()["command"], options, idle, creation, remotecommand.SupportedStreamingProtocols)
}

func (k *Kubelet) attach(w http.ResponseWriter, r *http.Request) {
	pod, ok := k.container(w, r)
	if !ok {
		return
	}
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, runtime{}, pod.Namespace+"/"+pod.Name, string(pod.UID), r.PathValue("container"),
		options, idle, creation, remotecommand.SupportedStreamingProtocols)
}

func (k *Kubelet) portForward(w http.ResponseWriter, r *http.Request) {
	pod, err := k.pod(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, runtime{}, pod.Namespace+"/"+pod.Name, string(pod.UID), options, idle, creation, portforward.SupportedProtocols)
}

// closedPort is the one port of a pod where nobody listens; all others echo.
const closedPort = 1

// runtime answers in the place of a container runtime.
type runtime struct{}

// PortForward echoes.
func (runtime) PortForward(_ context.Context, _ string, _ string, port int32, stream io.ReadWriteCloser) error {
	if port == closedPort {
		return errors.New("connection refused: nobody listens on port 1")
	}
	defer stream.Close()
	_, err := io.Copy(stream, stream)
	return err
}

// Annotations of pods that say what their log is.
const (
	linesAnnotation    = "testbed.kube-tenant-proxy/log-lines"
	intervalAnnotation = "testbed.kube-tenant-proxy/log-interval"
)

// logs writes the pod's log: lines that name the container and count up, ten unless an annotation says otherwise, and
// with follow one more after every interval until the reader goes.
func (k *Kubelet) logs(w http.ResponseWriter, r *http.Request) {
	pod, ok := k.container(w, r)
	if !ok {
		return
	}
	query := r.URL.Query()
	lines, interval := 10, 100*time.Millisecond
	if n, err := strconv.Atoi(pod.Annotations[linesAnnotation]); err == nil {
		lines = n
	}
	if d, err := time.ParseDuration(pod.Annotations[intervalAnnotation]); err == nil {
		interval = d
	}
	first := 1
	if tail, err := strconv.Atoi(query.Get("tailLines")); err == nil {
		first = max(1, lines-tail+1)
	}
	out := &limited{to: w, left: -1}
	if limit, err := strconv.Atoi(query.Get("limitBytes")); err == nil {
		out.left = limit
	}
	line := func(n int) bool {
		stamp := ""
		if query.Get("timestamps") == "true" {
			stamp = time.Now().UTC().Format(time.RFC3339Nano) + " "
		}
		_, err := fmt.Fprintf(out, "%s%s/%s/%s line %d\n", stamp, pod.Namespace, pod.Name, r.PathValue("container"), n)
		return err == nil
	}
	w.Header().Set("Content-Type", "text/plain")
	for n := first; n <= lines; n++ {
		if !line(n) {
			return
		}
	}
	flush := http.NewResponseController(w).Flush
	for n := lines + 1; query.Get("follow") == "true" && flush() == nil; n++ {
		select {
		case <-time.After(interval):
		case <-r.Context().Done():
			return
		}
		if !line(n) {
			return
		}
	}
}

// limited stops with an error after so many bytes; less than zero means never.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(text []byte) (int, error) {
	if l.left < 0 {
		return l.to.Write(text)
	}
	if len(text) > l.left {
		n, _ := l.to.Write(text[:l.left])
		l.left = 0
		return n, io.ErrShortWrite
	}
	l.left -= len(text)
	return l.to.Write(text)
}
