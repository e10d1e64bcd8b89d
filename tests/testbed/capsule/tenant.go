package capsule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Labels and annotations the operator writes or obeys.
const (
	tenantLabel    = "capsule.clastix.io/tenant"
	tenantLabelNew = "projectcapsule.dev/tenant"
	managedLabel   = "projectcapsule.dev/managed-by"
	managedValue   = "controller"

	// delayAnnotation, a duration, holds the Tenant's status back until nothing has changed for that long.
	delayAnnotation = "testbed.kube-tenant-proxy/status-delay"
	// unmanagedAnnotation "true" makes the operator blind for the Tenant: the test plays the operator itself.
	unmanagedAnnotation = "testbed.kube-tenant-proxy/unmanaged"
)

// usualDelay is what the real operator's status was seen to lag behind, roughly.
const usualDelay = 200 * time.Millisecond

// subject is an owner or a Capsule user.
type subject struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// owner is an entry of spec.owners.
type owner struct {
	subject
	ClusterRoles []string `json:"clusterRoles,omitempty"`
}

// additionalBinding is an entry of spec.additionalRoleBindings.
type additionalBinding struct {
	ClusterRoleName string            `json:"clusterRoleName"`
	Subjects        []rbacv1.Subject  `json:"subjects"`
	Labels          map[string]string `json:"labels"`
	Annotations     map[string]string `json:"annotations"`
}

// tenant is a Tenant as far as the operator looks into it.
type tenant struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Owners                 []owner             `json:"owners"`
		Cordoned               bool                `json:"cordoned"`
		ForceTenantPrefix      *bool               `json:"forceTenantPrefix"`
		AdditionalRoleBindings []additionalBinding `json:"additionalRoleBindings"`
		NetworkPolicies        struct {
			Items []networkingv1.NetworkPolicySpec `json:"items"`
		} `json:"networkPolicies"`
	} `json:"spec"`
	Status map[string]any `json:"status"`
}

// defaultRoles are what an owner gets who is given no cluster roles.
var defaultRoles = []string{"admin", "capsule-namespace-deleter"}

// parseTenant reads a Tenant. One that cannot be read is an error: the operator then leaves it alone.
func parseTenant(object *unstructured.Unstructured) (*tenant, error) {
	text, err := json.Marshal(object.Object)
	if err != nil {
		return nil, err
	}
	t := &tenant{}
	if err := json.Unmarshal(text, t); err != nil {
		return nil, fmt.Errorf("tenant %s: %w", object.GetName(), err)
	}
	for i := range t.Spec.Owners {
		if len(t.Spec.Owners[i].ClusterRoles) == 0 {
			t.Spec.Owners[i].ClusterRoles = defaultRoles
		}
	}
	return t, nil
}

func (t *tenant) managed() bool {
	return t.Annotations[unmanagedAnnotation] != "true"
}

// delay is how long the status lags behind, and whether it waits for quiet.
func (t *tenant) delay() (delay time.Duration, quiet bool) {
	delay, err := time.ParseDuration(t.Annotations[delayAnnotation])
	if err != nil {
		return usualDelay, false
	}
	return delay, true
}

// ownedBy says whether the requester is among the owners.
func (t *tenant) ownedBy(who requester) bool {
	return slices.ContainsFunc(t.Spec.Owners, func(o owner) bool { return who.is(o.subject) })
}

// reference is the ownerReference of the Tenant's namespaces: without the flags controller and blockOwnerDeletion.
func (t *tenant) reference() metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: Group + "/v1beta2", Kind: "Tenant", Name: t.Name, UID: t.UID}
}

// controllerReference is the ownerReference of what the operator itself makes.
func (t *tenant) controllerReference() metav1.OwnerReference {
	yes := true
	reference := t.reference()
	reference.Controller, reference.BlockOwnerDeletion = &yes, &yes
	return reference
}

// bindings are the RoleBindings each of the Tenant's namespaces must hold, by name.
func (t *tenant) bindings() map[string]*rbacv1.RoleBinding {
	bindings := map[string]*rbacv1.RoleBinding{}
	add := func(key, role string, subjects []rbacv1.Subject, labels, annotations map[string]string) {
		hash := fnv.New64a()
		fmt.Fprint(hash, key, "/", role)
		name := fmt.Sprintf("capsule:managed:%016x", hash.Sum64())
		all := map[string]string{tenantLabel: t.Name, tenantLabelNew: t.Name, managedLabel: managedValue}
		for key, value := range labels {
			all[key] = value
		}
		bindings[name] = &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Labels: all, Annotations: annotations,
				OwnerReferences: []metav1.OwnerReference{t.controllerReference()},
			},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: subjects,
		}
	}
	for _, o := range t.Spec.Owners {
		for _, role := range o.ClusterRoles {
			add("owner/"+o.Kind+"/"+o.Name, role, []rbacv1.Subject{o.rbac()}, nil, nil)
		}
	}
	for i, additional := range t.Spec.AdditionalRoleBindings {
		add(fmt.Sprintf("additional/%d", i), additional.ClusterRoleName, additional.Subjects, additional.Labels, additional.Annotations)
	}
	return bindings
}

// policies are the NetworkPolicies each of the Tenant's namespaces must hold.
func (t *tenant) policies() map[string]*networkingv1.NetworkPolicy {
	policies := map[string]*networkingv1.NetworkPolicy{}
	for i, spec := range t.Spec.NetworkPolicies.Items {
		name := fmt.Sprintf("capsule-%s-%d", t.Name, i)
		policies[name] = &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{
				Name: name, Labels: map[string]string{tenantLabel: t.Name, tenantLabelNew: t.Name, managedLabel: managedValue},
				OwnerReferences: []metav1.OwnerReference{t.controllerReference()},
			},
			Spec: spec,
		}
	}
	return policies
}

// rbac is the subject as RBAC names it. A service account is an owner by its user name, system:serviceaccount:ns:name.
func (s subject) rbac() rbacv1.Subject {
	if s.Kind == "ServiceAccount" {
		parts := strings.Split(s.Name, ":")
		if len(parts) == 4 {
			return rbacv1.Subject{Kind: "ServiceAccount", Namespace: parts[2], Name: parts[3]}
		}
	}
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: s.Kind, Name: s.Name}
}

// requester is whoever sent the request that is being admitted.
type requester struct {
	name   string
	groups []string
}

func (r requester) is(s subject) bool {
	switch s.Kind {
	case "User", "ServiceAccount":
		return s.Name == r.name
	case "Group":
		return slices.Contains(r.groups, s.Name)
	default:
		return false
	}
}

// space is a namespace of a Tenant.
type space struct {
	name        string
	uid         types.UID
	terminating bool
}

// desiredStatus is the Tenant's status, given its namespaces. Times of conditions that did not change are kept.
func (t *tenant) desiredStatus(spaces []space) map[string]any {
	slices.SortFunc(spaces, func(a, b space) int { return cmp.Compare(a.name, b.name) })
	names, details, owners := []any{}, []any{}, []any{}
	known := map[string][]any{}
	if former, ok := t.Status["spaces"].([]any); ok {
		for _, entry := range former {
			if entry, ok := entry.(map[string]any); ok {
				conditions, _ := entry["conditions"].([]any)
				known[fmt.Sprint(entry["name"], "/", entry["uid"])] = conditions
			}
		}
	}
	for _, s := range spaces {
		names = append(names, s.name)
		details = append(details, map[string]any{
			"name":       s.name,
			"uid":        string(s.uid),
			"conditions": t.conditions(known[fmt.Sprint(s.name, "/", s.uid)], 0),
		})
	}
	for _, o := range t.Spec.Owners {
		roles := []any{}
		for _, role := range o.ClusterRoles {
			roles = append(roles, role)
		}
		owners = append(owners, map[string]any{"kind": o.Kind, "name": o.Name, "clusterRoles": roles})
	}
	state := "Active"
	if t.Spec.Cordoned {
		state = "Cordoned"
	}
	former, _ := t.Status["conditions"].([]any)
	return map[string]any{
		"state":              state,
		"size":               int64(len(spaces)),
		"namespaces":         names,
		"spaces":             details,
		"owners":             owners,
		"classes":            map[string]any{"priority": []any{"system-cluster-critical", "system-node-critical"}},
		"observedGeneration": t.Generation,
		"conditions":         t.conditions(former, t.Generation),
	}
}

// conditions are the two that the operator keeps, on Tenants and on their namespaces alike.
func (t *tenant) conditions(former []any, generation int64) []any {
	cordoned, reason := "False", "Active"
	if t.Spec.Cordoned {
		cordoned, reason = "True", "Cordoned"
	}
	conditions := []any{
		map[string]any{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "reconciled"},
		map[string]any{"type": "Cordoned", "status": cordoned, "reason": reason, "message": strings.ToLower(reason)},
	}
	for _, entry := range conditions {
		condition := entry.(map[string]any)
		condition["lastTransitionTime"] = time.Now().UTC().Format(time.RFC3339)
		if generation > 0 {
			condition["observedGeneration"] = generation
		}
		for _, old := range former {
			old, ok := old.(map[string]any)
			if ok && old["type"] == condition["type"] && old["status"] == condition["status"] {
				condition["lastTransitionTime"] = old["lastTransitionTime"]
			}
		}
	}
	return conditions
}

// tenantReferences are the ownerReferences that name a Tenant, in whatever version.
func tenantReferences(references []metav1.OwnerReference) []metav1.OwnerReference {
	var found []metav1.OwnerReference
	for _, reference := range references {
		if reference.Kind == "Tenant" && strings.HasPrefix(reference.APIVersion, Group+"/") {
			found = append(found, reference)
		}
	}
	return found
}
