// Package capsule is a stand-in for the Capsule operator: its resource definitions, its admission of namespaces, and the
// controller that binds roles and writes the status of Tenants.
//
// It does what the real operator of the 0.13 line was seen to do, where the proxy can see it, and nothing else.
package capsule

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
)

// Group is the API group of everything Capsule.
const Group = "capsule.clastix.io"

// Resources of the group, each in its stored version.
var (
	tenants        = schema.GroupVersionResource{Group: Group, Version: "v1beta2", Resource: "tenants"}
	configurations = schema.GroupVersionResource{Group: Group, Version: "v1beta2", Resource: "capsuleconfigurations"}
	settings       = schema.GroupVersionResource{Group: Group, Version: "v1beta1", Resource: "proxysettings"}
	globalSettings = schema.GroupVersionResource{Group: Group, Version: "v1beta1", Resource: "globalproxysettings"}
)

var (
	definitionKind = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	roleKind       = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
)

//go:embed manifests/crds.yaml
var definitions []byte

//go:embed manifests/roles.yaml
var roles []byte

// install creates the resource definitions, waits until they are served, and creates roles and configuration.
func install(ctx context.Context, client dynamic.Interface, userGroup string) error {
	if err := create(ctx, client, definitionKind, definitions); err != nil {
		return err
	}
	if err := create(ctx, client, roleKind, roles); err != nil {
		return err
	}
	for _, resource := range []schema.GroupVersionResource{tenants, configurations, settings, globalSettings} {
		served := func(ctx context.Context) (bool, error) {
			_, err := client.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
			return err == nil, nil
		}
		if err := wait.PollUntilContextTimeout(ctx, 25*time.Millisecond, 20*time.Second, true, served); err != nil {
			return fmt.Errorf("waiting for %s: %w", resource.Resource, err)
		}
	}
	configuration := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": Group + "/v1beta2",
		"kind":       "CapsuleConfiguration",
		"metadata":   map[string]any{"name": configurationName},
		"spec": map[string]any{
			"enableTLSReconciler": false,
			"forceTenantPrefix":   true,
			"userGroups":          []any{userGroup},
		},
	}}
	// The API server answers the creation of an object two seconds late while its definition is young; an apply it does not.
	_, err := client.Resource(configurations).Apply(ctx, configurationName, configuration, metav1.ApplyOptions{FieldManager: "capsule-install"})
	return err
}

// create creates every document of the manifest.
func create(ctx context.Context, client dynamic.Interface, kind schema.GroupVersionResource, manifest []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading %s: %w", kind.Resource, err)
		}
		if _, err := client.Resource(kind).Create(ctx, object, metav1.CreateOptions{}); existing(err) != nil {
			return fmt.Errorf("creating %s %s: %w", kind.Resource, object.GetName(), err)
		}
	}
}

// existing forgives an object that is there already.
func existing(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
