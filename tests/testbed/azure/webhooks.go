// Package azure imitates what a managed cluster with Entra ID integration and Azure RBAC adds to the API server: a token
// webhook, and an authorization webhook that is asked after Kubernetes RBAC.
package azure

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"kube-tenant-proxy/testbed/entra"
)

// The sentences of the authorization webhook, word for word.
const (
	allowed    = "Access allowed by Azure RBAC"
	notAllowed = "User does not have access to the resource in Azure. Update role assignment to allow access."
	noOpinion  = "Azure does not have opinion for this user."
	noObjectID = "Azure does not have opinion for this non AAD user. If you are an AAD user, please set Extra:oid parameter for impersonated user in the kubeconfig"
)

// Grant is an Azure role assignment, reduced to Kubernetes' words. An empty list or "*" means any.
type Grant struct {
	// OID is the object id of a person, an application or a group.
	OID        string   `json:"oid"`
	Verbs      []string `json:"verbs"`
	Groups     []string `json:"apiGroups"`
	Resources  []string `json:"resources"`
	Namespaces []string `json:"namespaces"`
	// Cluster grants cluster-wide requests as well, where Namespaces names some.
	Cluster bool `json:"cluster"`
}

// Webhooks serves both.
type Webhooks struct {
	// URL is their address, without a path: /token and /authorize are theirs.
	URL string

	directory *entra.Server

	mu      sync.Mutex
	grants  []Grant
	counts  map[string]int
	failing string
}

// Start listens with the given certificate.
func Start(directory *entra.Server, certificate tls.Certificate, logger *log.Logger) (*Webhooks, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &Webhooks{URL: "https://" + listener.Addr().String(), directory: directory, counts: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", review(h, "token", h.token))
	mux.HandleFunc("POST /authorize", review(h, "authorize", h.authorize))
	server := &http.Server{
		Handler:   mux,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		ErrorLog:  logger,
	}
	go func() { logger.Print(server.ServeTLS(listener, "", "")) }()
	return h, nil
}

// SetGrants replaces all role assignments.
func (h *Webhooks) SetGrants(grants []Grant) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.grants = grants
}

// SetFailing makes one webhook answer 500: token, authorize, or "" for none.
func (h *Webhooks) SetFailing(name string) error {
	if !slices.Contains([]string{"", "token", "authorize"}, name) {
		return fmt.Errorf("unknown webhook %q; there are token and authorize", name)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing = name
	return nil
}

// Counts tells how often each webhook was asked, failures included.
func (h *Webhooks) Counts() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return map[string]int{"token": h.counts["token"], "authorize": h.counts["authorize"]}
}

func (h *Webhooks) failed(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[name]++
	return h.failing == name
}

// review is the frame of both: decode, fill in the status, encode.
func review[T any](h *Webhooks, name string, judge func(*T)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if h.failed(name) {
			http.Error(w, "failing as told", http.StatusInternalServerError)
			return
		}
		var question T
		if err := json.NewDecoder(r.Body).Decode(&question); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		judge(&question)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(question)
	}
}

// token says whom a token belongs to. There is no UID, and oid is the only extra.
func (h *Webhooks) token(question *authenticationv1.TokenReview) {
	user, err := h.directory.Authenticate(question.Spec.Token)
	if err != nil {
		question.Status = authenticationv1.TokenReviewStatus{Error: err.Error()}
		return
	}
	question.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{
		Username: user.Name,
		Groups:   user.Groups,
		Extra:    map[string]authenticationv1.ExtraValue{"oid": {user.OID}},
	}}
}

// everybody are the paths that anyone in the directory may read.
var everybody = []string{"/api", "/openapi", "/version", "/healthz"}

// authorize takes the steps of the real webhook in their order; its cache is left out, so that grants count at once.
func (h *Webhooks) authorize(question *authorizationv1.SubjectAccessReview) {
	spec, status := question.Spec, &question.Status
	if strings.HasPrefix(spec.User, "system:") {
		status.Reason = noOpinion
		return
	}
	oid := first(spec.Extra["oid"])
	if oid == "" {
		status.Reason = noObjectID
		return
	}
	if path := spec.NonResourceAttributes; path != nil && path.Verb == "get" &&
		slices.ContainsFunc(everybody, func(prefix string) bool { return strings.HasPrefix(path.Path, prefix) }) {
		status.Allowed, status.Reason = true, allowed
		return
	}
	if h.granted(oid, spec) {
		status.Allowed, status.Reason = true, allowed
		return
	}
	status.Denied, status.Reason = true, notAllowed
}

func first(values authorizationv1.ExtraValue) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// granted asks the role assignments of the person and of the groups whose names look like object ids.
func (h *Webhooks) granted(oid string, spec authorizationv1.SubjectAccessReviewSpec) bool {
	ids := []string{oid}
	for _, group := range spec.Groups {
		if guid.MatchString(group) {
			ids = append(ids, group)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return spec.ResourceAttributes != nil && slices.ContainsFunc(h.grants, func(grant Grant) bool {
		return slices.Contains(ids, grant.OID) && grant.covers(spec.ResourceAttributes)
	})
}

func (g Grant) covers(request *authorizationv1.ResourceAttributes) bool {
	any := func(list []string, value string) bool {
		return len(list) == 0 || slices.Contains(list, "*") || slices.Contains(list, value)
	}
	resource := request.Resource
	if request.Subresource != "" {
		resource += "/" + request.Subresource
	}
	where := any(g.Namespaces, request.Namespace) || (g.Cluster && request.Namespace == "")
	return where && any(g.Verbs, request.Verb) && any(g.Groups, request.Group) && any(g.Resources, resource)
}
