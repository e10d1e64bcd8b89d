// Package kubelet is a stand-in for a node: a Node object, pods that are Running as soon as they are bound to it, and the
// kubelet's streaming endpoints, spoken by the kubelet's own library.
//
// No container runs. What the commands do is in shell.go.
package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// NodeName is the node that pods name in spec.nodeName to be run.
const NodeName = "testbed-node"

// Kubelet is the stand-in.
type Kubelet struct {
	// PodIP is the address every pod reports: one of this machine's that the API server agrees to proxy to, if there is one.
	PodIP string

	client kubernetes.Interface
	log    *log.Logger
	port   int32

	mu   sync.Mutex
	stop context.CancelFunc
}

// Start listens with the given certificate, and lets in only who has a client certificate of the authority.
func Start(config *rest.Config, certificate tls.Certificate, clients *x509.CertPool, logger *log.Logger) (*Kubelet, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &Kubelet{client: client, log: logger, PodIP: podIP(), port: int32(listener.Addr().(*net.TCPAddr).Port)}
	server := &http.Server{
		Handler:  k.routes(),
		ErrorLog: logger,
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate},
			ClientCAs:    clients,
			ClientAuth:   tls.RequireAndVerifyClientCert,
			NextProtos:   []string{"http/1.1"}, // An upgrade needs a connection of its own.
		},
	}
	go func() { logger.Print(server.ServeTLS(listener, "", "")) }()
	return k, nil
}

// podIP is the first address of this machine that is neither loopback nor link-local; a made-up one where there is none.
func podIP() string {
	addresses, err := net.InterfaceAddrs()
	if err == nil {
		for _, address := range addresses {
			if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil && network.IP.IsGlobalUnicast() {
				return network.IP.String()
			}
		}
	}
	return "10.244.0.1"
}

// Register creates the Node and begins to look after its pods.
func (k *Kubelet) Register(ctx context.Context) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:   NodeName,
		Labels: map[string]string{"kubernetes.io/hostname": NodeName, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
	}}
	created, err := k.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating node %s: %w", NodeName, err)
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("64"),
		corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods:   resource.MustParse("10000"),
	}
	now := metav1.Now()
	created.Status = corev1.NodeStatus{
		Capacity:    capacity,
		Allocatable: capacity,
		Addresses:   []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}, {Type: corev1.NodeHostName, Address: NodeName}},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now,
		}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: k.port}},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion: "v1.37.2", OperatingSystem: "linux", Architecture: "amd64", OSImage: "testbed", ContainerRuntimeVersion: "none://0",
		},
	}
	if _, err := k.client.CoreV1().Nodes().UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("writing the status of node %s: %w", NodeName, err)
	}
	k.Restart(ctx)
	return nil
}

// Restart watches the pods anew, for after the API server was away.
func (k *Kubelet) Restart(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stop != nil {
		k.stop()
	}
	life, stop := context.WithCancel(ctx)
	k.stop = stop
	factory := informers.NewSharedInformerFactoryWithOptions(k.client, 0, informers.WithTweakListOptions(
		func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", NodeName).String()
		}))
	seen := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok {
			go k.look(life, pod)
		}
	}
	informer := factory.Core().V1().Pods().Informer()
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: seen, UpdateFunc: func(_, after any) { seen(after) }})
	factory.Start(life.Done())
}

// look makes a pod Running, or ends one that is to be deleted.
func (k *Kubelet) look(ctx context.Context, pod *corev1.Pod) {
	var err error
	switch {
	case pod.DeletionTimestamp != nil:
		now := int64(0)
		err = k.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
		})
	case pod.Status.Phase == corev1.PodPending || pod.Status.Phase == "":
		err = k.run(ctx, pod)
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		k.log.Printf("pod %s/%s: %v", pod.Namespace, pod.Name, err)
	}
}

func (k *Kubelet) run(ctx context.Context, pod *corev1.Pod) error {
	now, yes := metav1.Now(), true
	status := corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: "127.0.0.1", HostIPs: []corev1.HostIP{{IP: "127.0.0.1"}},
		PodIP: k.PodIP, PodIPs: []corev1.PodIP{{IP: k.PodIP}}, StartTime: &now,
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for _, container := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, ImageID: "testbed://" + container.Image, ContainerID: "testbed://" + string(pod.UID) + "/" + container.Name,
			Ready: true, Started: &yes, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return err
	}
	_, err = k.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// pod asks the API server for a pod of this node.
func (k *Kubelet) pod(r *http.Request) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	pod, err := k.client.CoreV1().Pods(r.PathValue("namespace")).Get(ctx, r.PathValue("pod"), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName != NodeName {
		return nil, fmt.Errorf("pod %s/%s is not on this node", pod.Namespace, pod.Name)
	}
	return pod, nil
}
