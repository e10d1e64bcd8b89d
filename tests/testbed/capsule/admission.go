package capsule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

// admission serves the two webhooks.
func (o *Operator) admission() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /mutate", o.review((*run).assign))
	mux.HandleFunc("POST /validate", o.review((*run).guard))
	return mux
}

// verdict is the answer to an admission review: a refusal, or a namespace that may have been changed.
type verdict struct {
	refusal   string
	namespace *corev1.Namespace
}

// review decodes the request, asks the judge, and encodes the answer.
func (o *Operator) review(judge func(*run, context.Context, *admissionv1.AdmissionRequest) (verdict, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
			http.Error(w, "no admission review", http.StatusBadRequest)
			return
		}
		o.mu.Lock()
		life, mode := o.run, o.webhook
		o.admitted++
		o.mu.Unlock()
		if mode == Refuse {
			panic(http.ErrAbortHandler) // Ends the connection, as a pod that is gone would.
		}
		response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		if mode == Serve && life != nil {
			answer, err := judge(life, r.Context(), review.Request)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			if err := answer.into(response, review.Request); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	}
}

func (v verdict) into(response *admissionv1.AdmissionResponse, request *admissionv1.AdmissionRequest) error {
	if v.refusal != "" {
		response.Allowed = false
		response.Result = &metav1.Status{Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: v.refusal}
		return nil
	}
	if v.namespace == nil {
		return nil
	}
	patch, err := json.Marshal([]any{
		map[string]any{"op": "add", "path": "/metadata/labels", "value": v.namespace.Labels},
		map[string]any{"op": "add", "path": "/metadata/ownerReferences", "value": v.namespace.OwnerReferences},
	})
	if err != nil {
		return err
	}
	kind := admissionv1.PatchTypeJSONPatch
	response.Patch, response.PatchType = patch, &kind
	return nil
}

// assign is the mutating webhook: it gives a namespace to a Tenant, by label and ownerReference.
func (r *run) assign(ctx context.Context, request *admissionv1.AdmissionRequest) (verdict, error) {
	var namespace, before corev1.Namespace
	if err := json.Unmarshal(request.Object.Raw, &namespace); err != nil {
		return verdict{}, err
	}
	label := namespace.Labels[tenantLabel]
	if request.Operation == admissionv1.Update {
		if err := json.Unmarshal(request.OldObject.Raw, &before); err != nil {
			return verdict{}, err
		}
		// Only a label that is new assigns; otherwise nobody could take a reference away for good.
		if label == "" || before.Labels[tenantLabel] == label {
			return verdict{}, nil
		}
	}
	c, err := r.configuration()
	if err != nil {
		return verdict{}, err
	}
	who := requester{request.UserInfo.Username, request.UserInfo.Groups}
	chosen, refusal, err := r.choose(ctx, c, who, namespace.Name, label)
	if err != nil || refusal != "" || chosen == nil {
		return verdict{refusal: refusal}, err
	}
	if namespace.Labels == nil {
		namespace.Labels = map[string]string{}
	}
	namespace.Labels[tenantLabel] = chosen.Name
	foreign := func(reference metav1.OwnerReference) bool {
		return len(tenantReferences([]metav1.OwnerReference{reference})) > 0
	}
	namespace.OwnerReferences = append(slices.DeleteFunc(namespace.OwnerReferences, foreign), chosen.reference())
	return verdict{namespace: &namespace}, nil
}

// choose finds the Tenant a namespace belongs to: nil for one that belongs to nobody.
func (r *run) choose(ctx context.Context, c *capsuleConfiguration, who requester, name, label string) (*tenant, string, error) {
	all := r.managedTenants()
	isOwned := func(t *tenant) bool { return t.ownedBy(who) }
	capsuleUser := c.capsuleUser(who)
	owned := slices.Collect(filter(all, isOwned))
	if len(prefixed(owned, name)) == 0 && !slices.Contains(who.groups, "system:masters") {
		// The cache may not know the Tenant yet that was created a moment ago.
		var err error
		if all, err = r.liveTenants(ctx); err != nil {
			return nil, "", err
		}
		owned = slices.Collect(filter(all, isOwned))
	}
	if len(owned) == 0 && capsuleUser {
		return nil, "You do not have any Tenant assigned: please, reach out to the system administrators", nil
	}
	if label != "" {
		return r.chooseByLabel(ctx, c, all, owned, capsuleUser, name, label)
	}
	if matching := prefixed(owned, name); len(matching) > 0 {
		return matching[0], "", nil
	}
	if !capsuleUser {
		return nil, "", nil
	}
	if forced(c, owned) {
		return nil, wrongPrefix(owned), nil
	}
	if len(owned) == 1 {
		return owned[0], "", nil
	}
	return nil, "Unable to assign namespace to tenant. Please use " + tenantLabel + " label when creating a namespace", nil
}

// chooseByLabel obeys the label: of an owner for his own Tenants, of an administrator for any.
func (r *run) chooseByLabel(ctx context.Context, c *capsuleConfiguration, all, owned []*tenant, capsuleUser bool, name, label string) (*tenant, string, error) {
	candidates := all
	if capsuleUser {
		candidates = owned
	}
	named := func(t *tenant) bool { return t.Name == label }
	i := slices.IndexFunc(candidates, named)
	if i < 0 && !capsuleUser {
		var err error
		if candidates, err = r.liveTenants(ctx); err != nil {
			return nil, "", err
		}
		i = slices.IndexFunc(candidates, named)
	}
	switch {
	case i < 0 && capsuleUser:
		return nil, "Cannot assign the desired namespace to a non-owned Tenant", nil
	case i < 0:
		return nil, "", nil
	}
	chosen := []*tenant{candidates[i]}
	if capsuleUser && forced(c, chosen) && len(prefixed(chosen, name)) == 0 {
		return nil, wrongPrefix(chosen), nil
	}
	return candidates[i], "", nil
}

// guard is the validating webhook: a Capsule user may not move a namespace to another Tenant or out of his own.
func (r *run) guard(_ context.Context, request *admissionv1.AdmissionRequest) (verdict, error) {
	if request.Operation != admissionv1.Update {
		return verdict{}, nil
	}
	var namespace, before corev1.Namespace
	if err := json.Unmarshal(request.Object.Raw, &namespace); err != nil {
		return verdict{}, err
	}
	if err := json.Unmarshal(request.OldObject.Raw, &before); err != nil {
		return verdict{}, err
	}
	c, err := r.configuration()
	if err != nil {
		return verdict{}, err
	}
	if !c.capsuleUser(requester{request.UserInfo.Username, request.UserInfo.Groups}) {
		return verdict{}, nil
	}
	same := func(a, b metav1.OwnerReference) bool { return a.UID == b.UID && a.Name == b.Name }
	kept := slices.EqualFunc(tenantReferences(namespace.OwnerReferences), tenantReferences(before.OwnerReferences), same)
	if !kept || namespace.Labels[tenantLabel] != before.Labels[tenantLabel] {
		return verdict{refusal: "Denied patch request for this namespace: its Tenant cannot be changed"}, nil
	}
	return verdict{}, nil
}

func (r *run) managedTenants() []*tenant {
	var found []*tenant
	for _, object := range r.tenants.GetStore().List() {
		if t := object.(*tenant); t.managed() {
			found = append(found, t)
		}
	}
	return found
}

func (r *run) liveTenants(ctx context.Context) ([]*tenant, error) {
	list, err := r.dynamic.Resource(tenants).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var found []*tenant
	for i := range list.Items {
		if t := r.readTenant(&list.Items[i]); t.managed() {
			found = append(found, t)
		}
	}
	return found, nil
}

// prefixed are the Tenants whose prefix the name has, the longest first.
func prefixed(candidates []*tenant, name string) []*tenant {
	matching := slices.Collect(filter(candidates, func(t *tenant) bool { return strings.HasPrefix(name, t.Name+"-") }))
	slices.SortFunc(matching, func(a, b *tenant) int { return len(b.Name) - len(a.Name) })
	return matching
}

// forced says whether the prefix is demanded, by the configuration or by every one of the Tenants.
func forced(c *capsuleConfiguration, candidates []*tenant) bool {
	return !slices.ContainsFunc(candidates, func(t *tenant) bool {
		if t.Spec.ForceTenantPrefix != nil {
			return !*t.Spec.ForceTenantPrefix
		}
		return !c.Spec.ForceTenantPrefix
	})
}

func wrongPrefix(candidates []*tenant) string {
	var prefixes []string
	for _, t := range candidates {
		prefixes = append(prefixes, fmt.Sprintf("%q", t.Name+"-"))
	}
	slices.Sort(prefixes)
	return "The namespace doesn't match the tenant prefix, expected prefix " + strings.Join(prefixes, " or ")
}

func filter(candidates []*tenant, test func(*tenant) bool) func(func(*tenant) bool) {
	return func(yield func(*tenant) bool) {
		for _, t := range candidates {
			if test(t) && !yield(t) {
				return
			}
		}
	}
}

// register makes the API server ask the webhooks, and waits until it does.
func (o *Operator) register(ctx context.Context) error {
	if err := o.registerMutating(ctx); err != nil {
		return err
	}
	if err := o.registerValidating(ctx); err != nil {
		return err
	}
	probe := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "testbed-probe"}}
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	asked := func(ctx context.Context) (bool, error) {
		_, _ = o.client.CoreV1().Namespaces().Create(ctx, probe, dryRun)
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.admitted > 0, nil
	}
	if err := wait.PollUntilContextTimeout(ctx, 25*time.Millisecond, 20*time.Second, true, asked); err != nil {
		return fmt.Errorf("waiting for the admission webhook to be asked: %w", err)
	}
	return nil
}

// hook is what both registrations have in common.
func (o *Operator) hook(path string) (registrationv1.WebhookClientConfig, []registrationv1.RuleWithOperations) {
	url, scope := o.url+path, registrationv1.ClusterScope
	return registrationv1.WebhookClientConfig{URL: &url, CABundle: o.ca}, []registrationv1.RuleWithOperations{{
		Operations: []registrationv1.OperationType{registrationv1.Create, registrationv1.Update},
		Rule:       registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"namespaces"}, Scope: &scope},
	}}
}

func (o *Operator) registerMutating(ctx context.Context) error {
	client, rules := o.hook("/mutate")
	none, seconds := registrationv1.SideEffectClassNone, int32(5)
	_, err := o.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, &registrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "capsule-mutating-webhook-configuration"},
		Webhooks: []registrationv1.MutatingWebhook{{
			Name: "namespaces.projectcapsule.dev", ClientConfig: client, Rules: rules,
			SideEffects: &none, TimeoutSeconds: &seconds, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	return existing(err)
}

func (o *Operator) registerValidating(ctx context.Context) error {
	client, rules := o.hook("/validate")
	none, seconds := registrationv1.SideEffectClassNone, int32(5)
	_, err := o.client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &registrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "capsule-validating-webhook-configuration"},
		Webhooks: []registrationv1.ValidatingWebhook{{
			Name: "namespaces.projectcapsule.dev", ClientConfig: client, Rules: rules,
			SideEffects: &none, TimeoutSeconds: &seconds, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	return existing(err)
}
