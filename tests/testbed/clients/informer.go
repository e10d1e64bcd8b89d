package clients

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// informer runs a shared informer and prints every change of its store, with all keys the store then holds.
func informer(ctx context.Context, o *options, out *output) error {
	shared, err := o.informer()
	if err != nil {
		return err
	}
	keys := func() []string { return shared.GetStore().ListKeys() }
	err = shared.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		e := failure(err)
		e.Keys = keys()
		out.print(e)
	})
	if err != nil {
		return err
	}
	registration, err := shared.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { out.print(event{Event: "add", Name: name(object), Keys: keys()}) },
		UpdateFunc: func(_, object any) { out.print(event{Event: "update", Name: name(object), Keys: keys()}) },
		DeleteFunc: func(object any) {
			if unknown, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = unknown.Obj
			}
			out.print(event{Event: "delete", Name: name(object), Keys: keys()})
		},
	})
	if err != nil {
		return err
	}
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			out.print(event{Event: "synced", Keys: keys(), Version: shared.LastSyncResourceVersion()})
		}
	}()
	shared.RunWithContext(ctx)
	return nil
}

// informer makes the shared informer of the chosen kind of client.
func (o *options) informer() (cache.SharedIndexInformer, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	gvr := o.gvr()
	tweak := func(options *metav1.ListOptions) { options.LabelSelector = o.selector }
	switch o.kind {
	case "dynamic":
		client, err := dynamic.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		return dynamicinformer.NewFilteredDynamicInformer(client, gvr, o.namespace, 0, cache.Indexers{}, tweak).Informer(), nil
	case "metadata":
		client, err := metadata.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		return metadatainformer.NewFilteredMetadataInformer(client, gvr, o.namespace, 0, cache.Indexers{}, tweak).Informer(), nil
	default:
		client, err := o.typed()
		if err != nil {
			return nil, err
		}
		factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(o.namespace), informers.WithTweakListOptions(tweak))
		generic, err := factory.ForResource(gvr)
		if err != nil {
			return nil, fmt.Errorf("%w; use --kind dynamic", err)
		}
		return generic.Informer(), nil
	}
}
