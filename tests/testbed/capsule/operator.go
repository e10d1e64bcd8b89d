package capsule

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Operator is the stand-in: an admission webhook that is always there, and controllers that can be started anew.
type Operator struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
	log     *log.Logger
	url     string
	ca      []byte

	mu       sync.Mutex
	run      *run
	stop     context.CancelFunc
	webhook  WebhookMode
	resumed  chan struct{}
	admitted int
}

// WebhookMode is what the admission webhook does.
type WebhookMode string

// The three of them.
const (
	// Serve admits as the operator does.
	Serve WebhookMode = "serve"
	// Bypass admits everything as it is.
	Bypass WebhookMode = "bypass"
	// Refuse answers nothing, as if the operator's pod were gone; creating a namespace then fails for everybody.
	Refuse WebhookMode = "refuse"
)

// run is one life of the controllers, with caches of its own.
type run struct {
	*Operator
	tenants        cache.SharedIndexInformer
	configurations cache.SharedIndexInformer
	namespaces     cache.SharedIndexInformer
	bindings       cache.SharedIndexInformer
	policies       cache.SharedIndexInformer
	queue          workqueue.TypedRateLimitingInterface[task]

	mu sync.Mutex
	// due is when a status that waits for quiet may be written.
	due map[string]time.Time
}

// task is one thing to reconcile.
type task struct {
	kind taskKind
	name string
}

type taskKind int

const (
	objects taskKind = iota
	status
	configuration
)

// Index names.
const (
	byTenantUID   = "tenantUID"
	byTenantLabel = "tenantLabel"
)

// workers is how many tasks run at once; seeding a thousand namespaces wants several.
const workers = 8

// Start listens for admission reviews with the given certificate. Nothing else happens before Install.
func Start(config *rest.Config, certificate tls.Certificate, ca []byte, logger *log.Logger) (*Operator, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &Operator{
		client: client, dynamic: dynamicClient, log: logger, ca: ca, webhook: Serve,
		url: "https://" + listener.Addr().String(),
	}
	server := &http.Server{
		Handler:   o.admission(),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		ErrorLog:  logger,
	}
	go func() { logger.Print(server.ServeTLS(listener, "", "")) }()
	return o, nil
}

// Install creates what the operator's chart would create, starts the controllers and waits until admission works.
func (o *Operator) Install(ctx context.Context, userGroup string) error {
	if err := install(ctx, o.dynamic, userGroup); err != nil {
		return err
	}
	if err := o.Restart(ctx); err != nil {
		return err
	}
	return o.register(ctx)
}

// Restart gives the controllers a new life, with caches read anew.
//
// After the API server was away, informers wait up to half a minute before they try again; this does not.
func (o *Operator) Restart(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stop != nil {
		o.stop()
	}
	life, stop := context.WithCancel(ctx)
	o.stop = stop
	r := o.newRun()
	o.run = r
	return r.start(life)
}

// Pause stops the controllers where they are and puts the webhook into the given mode.
func (o *Operator) Pause(webhook WebhookMode) error {
	switch webhook {
	case Serve, Bypass, Refuse:
	default:
		return fmt.Errorf("unknown webhook mode %q; there are serve, bypass, refuse", webhook)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.webhook = webhook
	if o.resumed == nil {
		o.resumed = make(chan struct{})
	}
	return nil
}

// Resume lets everything go on; what happened meanwhile is made up for.
func (o *Operator) Resume() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.webhook = Serve
	if o.resumed != nil {
		close(o.resumed)
		o.resumed = nil
	}
}

// Paused says whether the controllers rest, and what the webhook does.
func (o *Operator) Paused() (bool, WebhookMode) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.resumed != nil, o.webhook
}

func (o *Operator) current() *run {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.run
}

func (o *Operator) newRun() *run {
	custom := dynamicinformer.NewDynamicSharedInformerFactory(o.dynamic, 0)
	plain := informers.NewSharedInformerFactory(o.client, 0)
	own := informers.NewSharedInformerFactoryWithOptions(o.client, 0, informers.WithTweakListOptions(
		func(options *metav1.ListOptions) { options.LabelSelector = managedLabel + "=" + managedValue }))
	return &run{
		Operator:       o,
		tenants:        custom.ForResource(tenants).Informer(),
		configurations: custom.ForResource(configurations).Informer(),
		namespaces:     plain.Core().V1().Namespaces().Informer(),
		bindings:       own.Rbac().V1().RoleBindings().Informer(),
		policies:       own.Networking().V1().NetworkPolicies().Informer(),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[task](20*time.Millisecond, 2*time.Second)),
		due: map[string]time.Time{},
	}
}

func (r *run) start(ctx context.Context) error {
	err := r.namespaces.AddIndexers(cache.Indexers{byTenantUID: func(object any) ([]string, error) {
		var uids []string
		for _, reference := range tenantReferences(object.(*corev1.Namespace).OwnerReferences) {
			uids = append(uids, string(reference.UID))
		}
		return uids, nil
	}})
	if err != nil {
		return err
	}
	label := cache.Indexers{byTenantLabel: func(object any) ([]string, error) {
		return []string{object.(metav1.Object).GetLabels()[tenantLabel]}, nil
	}}
	for _, informer := range []cache.SharedIndexInformer{r.bindings, r.policies} {
		if err := informer.AddIndexers(label); err != nil {
			return err
		}
	}
	// Tenants are read once, when they arrive, and not at each of the admissions that follow.
	if err := r.tenants.SetTransform(func(object any) (any, error) {
		if raw, ok := object.(*unstructured.Unstructured); ok {
			return r.readTenant(raw), nil
		}
		return object, nil
	}); err != nil {
		return err
	}
	r.on(r.tenants, func(object metav1.Object) { r.changed(object.GetName()) })
	r.on(r.configurations, func(object metav1.Object) { r.queue.Add(task{configuration, object.GetName()}) })
	r.on(r.namespaces, func(object metav1.Object) {
		for _, reference := range tenantReferences(object.GetOwnerReferences()) {
			r.changed(reference.Name)
		}
	})
	made := func(object metav1.Object) { r.queue.Add(task{objects, object.GetLabels()[tenantLabel]}) }
	r.on(r.bindings, made)
	r.on(r.policies, made)

	var synced []cache.InformerSynced
	for _, informer := range []cache.SharedIndexInformer{r.tenants, r.configurations, r.namespaces, r.bindings, r.policies} {
		go informer.Run(ctx.Done())
		synced = append(synced, informer.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return fmt.Errorf("the operator's caches did not fill: %w", ctx.Err())
	}
	for range workers {
		go r.work(ctx)
	}
	go func() {
		<-ctx.Done()
		r.queue.ShutDown()
	}()
	return nil
}

// on calls the handler with every object that appears, changes (both states) or goes.
func (r *run) on(informer cache.SharedIndexInformer, handle func(metav1.Object)) {
	seen := func(object any) {
		if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = unknown.Obj
		}
		if object, ok := object.(metav1.Object); ok {
			handle(object)
		}
	}
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    seen,
		UpdateFunc: func(before, after any) { seen(before); seen(after) },
		DeleteFunc: seen,
	})
}

// changed queues a Tenant: its RoleBindings at once, its status after the delay.
func (r *run) changed(name string) {
	r.queue.Add(task{objects, name})
	delay, quiet := usualDelay, false
	if t := r.tenant(name); t != nil {
		delay, quiet = t.delay()
	}
	if quiet {
		r.mu.Lock()
		r.due[name] = time.Now().Add(delay)
		r.mu.Unlock()
	}
	r.queue.AddAfter(task{status, name}, delay)
}

func (r *run) work(ctx context.Context) {
	for {
		item, shutdown := r.queue.Get()
		if shutdown {
			return
		}
		r.rest(ctx)
		if err := r.reconcile(ctx, item); err != nil && ctx.Err() == nil {
			r.log.Printf("reconciling %v: %v", item, err)
			r.queue.AddRateLimited(item)
		} else {
			r.queue.Forget(item)
		}
		r.queue.Done(item)
	}
}

// rest blocks while the operator is paused.
func (r *run) rest(ctx context.Context) {
	r.Operator.mu.Lock()
	resumed := r.resumed
	r.Operator.mu.Unlock()
	if resumed == nil {
		return
	}
	select {
	case <-resumed:
	case <-ctx.Done():
	}
}

func (r *run) reconcile(ctx context.Context, item task) error {
	if item.kind == configuration {
		return r.reconcileConfiguration(ctx, item.name)
	}
	t := r.tenant(item.name)
	if t == nil || !t.managed() {
		return nil
	}
	if item.kind == objects {
		return r.reconcileObjects(ctx, t)
	}
	r.mu.Lock()
	due := r.due[item.name]
	r.mu.Unlock()
	if wait := time.Until(due); wait > 0 {
		r.queue.AddAfter(item, wait)
		return nil
	}
	return r.reconcileStatus(ctx, t)
}

// tenant reads a Tenant from the cache; nil means that there is none.
func (r *run) tenant(name string) *tenant {
	object, exists, _ := r.tenants.GetStore().GetByKey(name) // A store of this kind has no errors.
	if !exists {
		return nil
	}
	return object.(*tenant)
}

// readTenant parses a Tenant. One that cannot be read is left alone, like one that is not managed.
func (r *run) readTenant(raw *unstructured.Unstructured) *tenant {
	t, err := parseTenant(raw)
	if err != nil {
		r.log.Print(err)
		t = &tenant{ObjectMeta: metav1.ObjectMeta{
			Name: raw.GetName(), UID: raw.GetUID(), ResourceVersion: raw.GetResourceVersion(),
			Annotations: map[string]string{unmanagedAnnotation: "true"},
		}}
	}
	return t
}

// spaces are the Tenant's namespaces: those whose ownerReference names its UID.
func (r *run) spaces(t *tenant) ([]space, error) {
	found, err := r.namespaces.GetIndexer().ByIndex(byTenantUID, string(t.UID))
	if err != nil {
		return nil, err
	}
	var spaces []space
	for _, object := range found {
		namespace := object.(*corev1.Namespace)
		spaces = append(spaces, space{namespace.Name, namespace.UID, namespace.DeletionTimestamp != nil})
	}
	return spaces, nil
}

// reconcileObjects makes RoleBindings and NetworkPolicies what they should be.
func (r *run) reconcileObjects(ctx context.Context, t *tenant) error {
	spaces, err := r.spaces(t)
	if err != nil {
		return err
	}
	bindings, policies := t.bindings(), t.policies()
	wanted := map[string]bool{}
	for _, s := range spaces {
		if s.terminating {
			continue
		}
		for name, binding := range bindings {
			wanted["binding/"+s.name+"/"+name] = true
			if _, exists, _ := r.bindings.GetStore().GetByKey(s.name + "/" + name); !exists {
				_, err := r.client.RbacV1().RoleBindings(s.name).Create(ctx, binding.DeepCopy(), metav1.CreateOptions{})
				if gone(existing(err)) != nil {
					return err
				}
			}
		}
		for name, policy := range policies {
			wanted["policy/"+s.name+"/"+name] = true
			if err := r.applyPolicy(ctx, s.name, policy); err != nil {
				return err
			}
		}
	}
	for _, object := range r.labelled(r.bindings, t.Name) {
		binding := object.(*rbacv1.RoleBinding)
		if !wanted["binding/"+binding.Namespace+"/"+binding.Name] {
			if err := gone(r.client.RbacV1().RoleBindings(binding.Namespace).Delete(ctx, binding.Name, metav1.DeleteOptions{})); err != nil {
				return err
			}
		}
	}
	for _, object := range r.labelled(r.policies, t.Name) {
		policy := object.(*networkingv1.NetworkPolicy)
		if !wanted["policy/"+policy.Namespace+"/"+policy.Name] {
			if err := gone(r.client.NetworkingV1().NetworkPolicies(policy.Namespace).Delete(ctx, policy.Name, metav1.DeleteOptions{})); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) applyPolicy(ctx context.Context, namespace string, policy *networkingv1.NetworkPolicy) error {
	object, exists, _ := r.policies.GetStore().GetByKey(namespace + "/" + policy.Name)
	if !exists {
		_, err := r.client.NetworkingV1().NetworkPolicies(namespace).Create(ctx, policy.DeepCopy(), metav1.CreateOptions{})
		return gone(existing(err))
	}
	current := object.(*networkingv1.NetworkPolicy)
	if reflect.DeepEqual(current.Spec, policy.Spec) {
		return nil
	}
	updated := current.DeepCopy()
	updated.Spec = policy.Spec
	_, err := r.client.NetworkingV1().NetworkPolicies(namespace).Update(ctx, updated, metav1.UpdateOptions{})
	return gone(err)
}

func (r *run) labelled(informer cache.SharedIndexInformer, tenant string) []any {
	found, _ := informer.GetIndexer().ByIndex(byTenantLabel, tenant) // The index exists, which is all that can fail.
	return found
}

// reconcileStatus writes the Tenant's status where it differs.
func (r *run) reconcileStatus(ctx context.Context, t *tenant) error {
	spaces, err := r.spaces(t)
	if err != nil {
		return err
	}
	desired, err := normal(t.desiredStatus(spaces))
	if err != nil {
		return err
	}
	current := map[string]any{}
	for name := range desired {
		current[name] = t.Status[name]
	}
	if reflect.DeepEqual(current, desired) {
		return nil
	}
	return r.patchStatus(ctx, "tenants", t.Name, desired)
}

func (r *run) patchStatus(ctx context.Context, resource, name string, desired map[string]any) error {
	patch, err := json.Marshal(map[string]any{"status": desired})
	if err != nil {
		return err
	}
	_, err = r.dynamic.Resource(tenants.GroupVersion().WithResource(resource)).Patch(
		ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "capsule"}, "status")
	return gone(err)
}

// normal brings values into the types that JSON has, so that they compare with what was read.
func normal(value map[string]any) (map[string]any, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	result := map[string]any{}
	return result, json.Unmarshal(text, &result)
}

// gone forgives an object or a namespace that went away meanwhile: the event of its end follows.
func gone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}
