package capsule

import (
	"context"
	"reflect"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// configurationName is the CapsuleConfiguration that counts.
const configurationName = "default"

// provisioner lets Capsule users create namespaces.
const provisioner = "capsule-namespace-provisioner"

// capsuleConfiguration is the part of the CapsuleConfiguration the operator obeys.
type capsuleConfiguration struct {
	Spec struct {
		ForceTenantPrefix    bool      `json:"forceTenantPrefix"`
		UserGroups           []string  `json:"userGroups"`
		UserNames            []string  `json:"userNames"`
		Users                []subject `json:"users"`
		IgnoreUserWithGroups []string  `json:"ignoreUserWithGroups"`
	} `json:"spec"`
	Status struct {
		Users []subject `json:"users"`
	} `json:"status"`
}

func parseConfiguration(object *unstructured.Unstructured) (*capsuleConfiguration, error) {
	c := &capsuleConfiguration{}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, c)
	return c, err
}

// users are all who count as Capsule users, whichever of the three fields names them.
func (c *capsuleConfiguration) users() []subject {
	users := slices.Clone(c.Spec.Users)
	for _, group := range c.Spec.UserGroups {
		users = append(users, subject{"Group", group})
	}
	for _, name := range c.Spec.UserNames {
		users = append(users, subject{"User", name})
	}
	return users
}

// capsuleUser says whether the operator concerns itself with the requester at all.
func (c *capsuleConfiguration) capsuleUser(who requester) bool {
	ignored := func(group string) bool { return slices.Contains(c.Spec.IgnoreUserWithGroups, group) }
	return !slices.ContainsFunc(who.groups, ignored) && slices.ContainsFunc(c.users(), who.is)
}

// configuration reads the CapsuleConfiguration from the cache; without one nobody is a Capsule user.
func (r *run) configuration() (*capsuleConfiguration, error) {
	object, exists, err := r.configurations.GetStore().GetByKey(configurationName)
	if err != nil || !exists {
		return &capsuleConfiguration{}, err
	}
	return parseConfiguration(object.(*unstructured.Unstructured))
}

// reconcileConfiguration writes who the Capsule users are, and lets them create namespaces.
func (r *run) reconcileConfiguration(ctx context.Context, name string) error {
	if name != configurationName {
		return nil
	}
	c, err := r.configuration()
	if err != nil {
		return err
	}
	users := c.users()
	if !slices.Equal(users, c.Status.Users) {
		entries := []any{}
		for _, user := range users {
			entries = append(entries, map[string]any{"kind": user.Kind, "name": user.Name})
		}
		if err := r.patchStatus(ctx, "capsuleconfigurations", name, map[string]any{"users": entries}); err != nil {
			return err
		}
	}
	return r.bindProvisioner(ctx, users)
}

func (r *run) bindProvisioner(ctx context.Context, users []subject) error {
	desired := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: provisioner},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: provisioner},
	}
	for _, user := range users {
		desired.Subjects = append(desired.Subjects, user.rbac())
	}
	bindings := r.client.RbacV1().ClusterRoleBindings()
	current, err := bindings.Get(ctx, provisioner, metav1.GetOptions{})
	switch {
	case gone(err) != nil:
		return err
	case err != nil:
		_, err := bindings.Create(ctx, desired, metav1.CreateOptions{})
		return existing(err)
	case reflect.DeepEqual(current.Subjects, desired.Subjects):
		return nil
	}
	current.Subjects = desired.Subjects
	_, err = bindings.Update(ctx, current, metav1.UpdateOptions{})
	return err
}
