// Package clients are small programs of client-go, for tests that must know how real clients fare behind the proxy.
//
// Each prints one JSON object per line and ends when its standard input does.
package clients

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	kubernetesscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// options are common to all programs.
type options struct {
	program    string
	kubeconfig string
	resource   string
	namespace  string
	selector   string
	kind       string
	watchList  bool
	chunk      int64
	protobuf   bool
	verbosity  string
}

// Run runs the program named by the first argument.
func Run(args []string) error {
	programs := map[string]func(context.Context, *options, *output) error{
		"informer": informer, "reflect": reflect, "retrywatch": retryWatch, "retry": retry, "list": list,
	}
	if len(args) == 0 || programs[args[0]] == nil {
		return errors.New("there are the programs informer, reflect, retrywatch, retry and list")
	}
	o, err := parse(args[0], args[1:])
	if err != nil {
		return err
	}
	// This binary holds the API server's features too, and they decide over client-go's.
	gate := fmt.Sprintf("WatchListClient=%t", o.watchList)
	if err := utilfeature.DefaultMutableFeatureGate.Set(gate); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if args[0] != "list" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	return programs[args[0]](ctx, o, &output{})
}

func parse(program string, args []string) (*options, error) {
	o := &options{program: program}
	flags := flag.NewFlagSet("testbed client "+program, flag.ContinueOnError)
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig file")
	flags.StringVar(&o.resource, "resource", "namespaces", "resource, resource.group or resource.version.group")
	flags.StringVar(&o.namespace, "namespace", "", "namespace; all if empty")
	flags.StringVar(&o.selector, "selector", "", "label selector")
	flags.StringVar(&o.kind, "kind", "typed", "kind of client: typed, dynamic, metadata")
	flags.BoolVar(&o.watchList, "watchlist", true, "initial list by a streaming watch, as is client-go's default")
	flags.Int64Var(&o.chunk, "chunk", 0, "limit of each page (list)")
	flags.BoolVar(&o.protobuf, "protobuf", true, "typed clients ask for protobuf, as controllers do")
	flags.StringVar(&o.verbosity, "v", "0", "client-go's log level, on standard error")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"typed", "dynamic", "metadata"}, o.kind) {
		return nil, fmt.Errorf("unknown kind of client %q", o.kind)
	}
	logging := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(logging)
	return o, logging.Set("v", o.verbosity)
}

// config is the kubeconfig's connection, without client-go's own rate limit.
func (o *options) config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.UserAgent = "testbed-client/" + o.program
	if o.kind == "typed" && o.protobuf {
		config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
		config.ContentType = runtime.ContentTypeProtobuf
	}
	return config, nil
}

// gvr reads --resource. Core resources stand alone; others say their group, and their version if it is not v1.
func (o *options) gvr() schema.GroupVersionResource {
	full, group := schema.ParseResourceArg(o.resource)
	if full != nil && strings.HasPrefix(full.Version, "v") && len(full.Version) > 1 && full.Version[1] >= '0' && full.Version[1] <= '9' {
		return *full
	}
	return group.WithVersion("v1")
}

// access is list and watch of the resource by the chosen kind of client.
type access struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// access makes the client. The typed one is a REST client with the types of client-go, so that any resource can be asked.
func (o *options) access() (*access, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	gvr := o.gvr()
	switch o.kind {
	case "dynamic":
		client, err := dynamic.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		resource := client.Resource(gvr).Namespace(o.namespace)
		return &access{
			list: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
				return resource.List(ctx, opts)
			},
			watch: resource.Watch,
		}, nil
	case "metadata":
		client, err := metadata.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		resource := client.Resource(gvr).Namespace(o.namespace)
		return &access{
			list: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
				return resource.List(ctx, opts)
			},
			watch: resource.Watch,
		}, nil
	default:
		return o.typedAccess(config, gvr)
	}
}

func (o *options) typedAccess(config *rest.Config, gvr schema.GroupVersionResource) (*access, error) {
	kind, err := o.listKind(gvr)
	if err != nil {
		return nil, err
	}
	gv := gvr.GroupVersion()
	config.GroupVersion = &gv
	config.APIPath = "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	config.NegotiatedSerializer = kubernetesscheme.Codecs.WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	request := func(opts metav1.ListOptions) *rest.Request {
		return client.Get().NamespaceIfScoped(o.namespace, o.namespace != "").Resource(gvr.Resource).
			VersionedParams(&opts, kubernetesscheme.ParameterCodec)
	}
	return &access{
		list: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			list, err := kubernetesscheme.Scheme.New(kind)
			if err != nil {
				return nil, err
			}
			return list, request(opts).Do(ctx).Into(list)
		},
		watch: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			opts.Watch = true
			return request(opts).Watch(ctx)
		},
	}, nil
}

// listKind finds the list type of a resource among client-go's types.
func (o *options) listKind(gvr schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	for kind := range kubernetesscheme.Scheme.KnownTypes(gvr.GroupVersion()) {
		plural, singular := meta.UnsafeGuessKindToResource(gvr.GroupVersion().WithKind(kind))
		list := gvr.GroupVersion().WithKind(kind + "List")
		if (plural == gvr || singular == gvr) && kubernetesscheme.Scheme.Recognizes(list) {
			return list, nil
		}
	}
	return schema.GroupVersionKind{}, fmt.Errorf("client-go has no type for %s; use --kind dynamic", gvr)
}

// typed is the clientset, for informers.
func (o *options) typed() (kubernetes.Interface, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// event is one line of output.
type event struct {
	Event string   `json:"event"`
	Name  string   `json:"name,omitempty"`
	Keys  []string `json:"keys"`
	// Objects is the resourceVersion of each.
	Objects map[string]string `json:"objects,omitempty"`
	Version string            `json:"resourceVersion,omitempty"`
	Pages   int               `json:"pages,omitempty"`
	Error   string            `json:"error,omitempty"`
	Code    int32             `json:"code,omitempty"`
	Reason  string            `json:"reason,omitempty"`
}

// failure describes what went wrong.
func failure(err error) event {
	e := event{Event: "watch-error", Error: err.Error(), Reason: string(apierrors.ReasonForError(err))}
	if status, ok := err.(apierrors.APIStatus); ok {
		e.Code = status.Status().Code
	}
	return e
}

// output prints events, one at a time.
type output struct {
	mu sync.Mutex
}

func (o *output) print(e event) {
	if e.Keys == nil {
		e.Keys = []string{}
	}
	slices.Sort(e.Keys)
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(e)
}

// name is namespace/name, or the name alone of what has no namespace.
func name(object any) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	if accessor.GetNamespace() == "" {
		return accessor.GetName()
	}
	return accessor.GetNamespace() + "/" + accessor.GetName()
}
