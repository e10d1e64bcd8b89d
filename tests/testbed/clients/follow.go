package clients

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// Waits after an error. A reflector's own go up to half a minute, which only makes a test slow.
const (
	shortest = 50 * time.Millisecond
	longest  = 400 * time.Millisecond
)

// reflect runs a reflector, the part of an informer that lists and watches, and prints what its store holds after each
// change.
func reflect(ctx context.Context, o *options, out *output) error {
	from, err := o.access()
	if err != nil {
		return err
	}
	reflector := cache.NewReflectorWithOptions(from.listWatch(o), nil, newPrinted(out), cache.ReflectorOptions{
		Name:    "testbed",
		Backoff: &wait.Backoff{Duration: shortest, Cap: longest, Steps: 4, Factor: 2, Jitter: 0.5},
	})
	reflector.RunWithContext(ctx)
	return nil
}

// listWatch is the client as a reflector wants it.
func (a *access) listWatch(o *options) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = o.selector
			return a.list(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = o.selector
			return a.watch(ctx, options)
		},
	}
}

// retry lists and follows with a RetryWatcher, and does both again when that gives up, as Argo CD does. It prints what it
// holds after each change.
func retry(ctx context.Context, o *options, out *output) error {
	from, err := o.access()
	if err != nil {
		return err
	}
	store := newPrinted(out)
	for ctx.Err() == nil {
		if err := o.followOnce(ctx, from, store); err != nil {
			out.print(failure(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(shortest):
		}
	}
	return nil
}

// followOnce returns when the watcher has given up, or the list failed.
func (o *options) followOnce(ctx context.Context, from *access, store *printed) error {
	list, err := from.list(ctx, metav1.ListOptions{LabelSelector: o.selector})
	if err != nil {
		return err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	objects := make([]any, len(items))
	for i, item := range items {
		objects[i] = item
	}
	version := accessor.GetResourceVersion()
	if err := store.Replace(objects, version); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, version, from.listWatch(o))
	if err != nil {
		return err
	}
	for change := range watcher.ResultChan() {
		switch change.Type {
		case watch.Added:
			err = store.Add(change.Object)
		case watch.Modified:
			err = store.Update(change.Object)
		case watch.Deleted:
			err = store.Delete(change.Object)
		case watch.Error:
			err = apierrors.FromObject(change.Object)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printed is a store that prints the resourceVersion of everything in it after each change.
type printed struct {
	mu      sync.Mutex
	objects map[string]string
	out     *output
}

func newPrinted(out *output) *printed {
	return &printed{objects: map[string]string{}, out: out}
}

func (p *printed) set(what string, object any) error {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return err
	}
	key := name(object)
	p.change(what, key, func() { p.objects[key] = accessor.GetResourceVersion() })
	return nil
}

func (p *printed) change(what, key string, do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
	p.out.print(event{Event: what, Name: key, Objects: p.objects})
}

func (p *printed) Add(object any) error    { return p.set("add", object) }
func (p *printed) Update(object any) error { return p.set("update", object) }
func (p *printed) Resync() error           { return nil }

func (p *printed) Delete(object any) error {
	key := name(object)
	p.change("delete", key, func() { delete(p.objects, key) })
	return nil
}

func (p *printed) Replace(objects []any, _ string) error {
	versions := map[string]string{}
	for _, object := range objects {
		accessor, err := meta.Accessor(object)
		if err != nil {
			return err
		}
		versions[name(object)] = accessor.GetResourceVersion()
	}
	p.change("replace", "", func() { p.objects = versions })
	return nil
}
