package clients

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// list prints the names of everything, page by page if told so.
func list(ctx context.Context, o *options, out *output) error {
	from, err := o.access()
	if err != nil {
		return err
	}
	keys, version, pages, err := o.collect(ctx, from)
	if err != nil {
		return err
	}
	out.print(event{Event: "list", Keys: keys, Version: version, Pages: pages})
	return nil
}

// collect follows the continue tokens, and returns the names with the resourceVersion of the last page.
func (o *options) collect(ctx context.Context, from *access) (keys []string, version string, pages int, err error) {
	options := metav1.ListOptions{LabelSelector: o.selector, Limit: o.chunk}
	for {
		page, err := from.list(ctx, options)
		if err != nil {
			return nil, "", 0, err
		}
		pages++
		err = meta.EachListItem(page, func(item runtime.Object) error {
			keys = append(keys, name(item))
			return nil
		})
		if err != nil {
			return nil, "", 0, err
		}
		accessor, err := meta.ListAccessor(page)
		if err != nil {
			return nil, "", 0, err
		}
		if options.Continue = accessor.GetContinue(); options.Continue == "" {
			return keys, accessor.GetResourceVersion(), pages, nil
		}
	}
}

// retryWatch lists, then follows with a RetryWatcher, which goes on after every break from the last version it saw.
func retryWatch(ctx context.Context, o *options, out *output) error {
	from, err := o.access()
	if err != nil {
		return err
	}
	keys, version, pages, err := o.collect(ctx, from)
	if err != nil {
		return err
	}
	out.print(event{Event: "synced", Keys: keys, Version: version, Pages: pages})
	store := map[string]bool{}
	for _, key := range keys {
		store[key] = true
	}
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, version, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = o.selector
			return from.watch(ctx, options)
		},
	})
	if err != nil {
		return err
	}
	for change := range watcher.ResultChan() {
		out.print(applied(change, store))
	}
	if ctx.Err() == nil {
		out.print(event{Event: "closed"})
		return errors.New("the watcher gave up")
	}
	return nil
}

// applied keeps the store up to date and describes the change.
func applied(change watch.Event, store map[string]bool) event {
	e := event{Name: name(change.Object)}
	switch change.Type {
	case watch.Added:
		e.Event, store[e.Name] = "add", true
	case watch.Modified:
		e.Event, store[e.Name] = "update", true
	case watch.Deleted:
		e.Event = "delete"
		delete(store, e.Name)
	case watch.Bookmark:
		e.Event, e.Name = "bookmark", ""
	case watch.Error:
		e = failure(apierrors.FromObject(change.Object))
	}
	for key := range store {
		e.Keys = append(e.Keys, key)
	}
	if accessor, err := meta.Accessor(change.Object); err == nil {
		e.Version = accessor.GetResourceVersion()
	}
	return e
}
