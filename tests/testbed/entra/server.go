// Package entra is a stand-in for Microsoft Entra ID: discovery, keys, the two logins of kubelogin, and a mint that
// makes any token a test can think of.
//
// It imitates the wire, not the checks: whoever names a persona is that persona.
package entra

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server is the stand-in.
type Server struct {
	// URL is the authority host, with the slash at its end that clients want.
	URL string
	// TenantID is the directory the API server trusts.
	TenantID string
	// Cluster is what the resource manager hands out as the cluster's address; set before the first login.
	Cluster Cluster

	pool   *keyPool
	people *people
	logins *logins
	plain  string // URL of the plain http listener.

	mu          sync.Mutex
	directories map[string]*directory
}

// Start listens on a free port with the given certificate, which must be good for localhost and 127.0.0.1.
func Start(certificate tls.Certificate, tenantID string, logger *log.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL:         fmt.Sprintf("https://localhost:%d/", listener.Addr().(*net.TCPAddr).Port),
		TenantID:    tenantID,
		pool:        newKeyPool(),
		people:      newPeople(),
		logins:      newLogins(),
		plain:       fmt.Sprintf("http://localhost:%d", plain.Addr().(*net.TCPAddr).Port),
		directories: map[string]*directory{},
	}
	secure := &http.Server{
		Handler:   s.routes(),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		ErrorLog:  logger,
	}
	go func() { logger.Print(secure.ServeTLS(listener, "", "")) }()
	insecure := &http.Server{Handler: s.routes(), ErrorLog: logger}
	go func() { logger.Print(insecure.Serve(plain)) }()
	return s, nil
}

// Prepare makes the main directory's keys now and keeps some in stock for directories to come.
func (s *Server) Prepare() error {
	d, err := s.directory("")
	if err != nil {
		return err
	}
	_, err = d.signer("", s.pool)
	go s.pool.fill()
	return err
}

func (s *Server) routes() http.Handler {
	directories := http.NewServeMux()
	route := func(pattern, kind, endpoint string, handle func(*directory, http.ResponseWriter, *http.Request)) {
		directories.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			d, err := s.directory(realDirectory(r.PathValue("tid")))
			if err != nil {
				refuse(w, http.StatusBadRequest, "invalid_tenant", "AADSTS90002: Tenant not found. "+err.Error())
				return
			}
			d.count(endpoint)
			s.failOr(d, kind, w, r, func(w http.ResponseWriter, r *http.Request) { handle(d, w, r) })
		})
	}
	route("GET /{tid}/.well-known/openid-configuration", "discovery", "discovery", s.discovery(v1))
	route("GET /{tid}/v2.0/.well-known/openid-configuration", "discovery", "discoveryV2", s.discovery(v2))
	route("GET /{tid}/discovery/keys", "keys", "keys", s.keys(v1))
	route("GET /{tid}/discovery/v2.0/keys", "keys", "keysV2", s.keys(v2))
	route("POST /{tid}/oauth2/v2.0/devicecode", "token", "devicecode", s.deviceCode)
	route("POST /{tid}/oauth2/devicecode", "token", "devicecode", s.deviceCode)
	route("POST /{tid}/oauth2/v2.0/token", "token", "token", s.token)
	route("POST /{tid}/oauth2/token", "token", "token", s.token)
	directories.HandleFunc("GET /{tid}/discovery/instance", s.instance)
	directories.HandleFunc("GET /{tid}/UserRealm/{user}", s.realm)
	directories.HandleFunc("GET /{tid}/userrealm/{user}", s.realm)

	control, arm := s.controls(), s.resourceManager()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/control/"):
			control.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, "/arm/"):
			arm.ServeHTTP(w, r)
		default:
			directories.ServeHTTP(w, r)
		}
	})
}

// realDirectory maps the aliases that stand for any directory to the main one.
func realDirectory(tid string) string {
	switch tid {
	case "common", "organizations":
		return ""
	default:
		return tid
	}
}

// discovery serves the OpenID document of that version. The aliases get the templated issuer.
func (s *Server) discovery(version string) func(*directory, http.ResponseWriter, *http.Request) {
	return func(d *directory, w http.ResponseWriter, r *http.Request) {
		tid, base := r.PathValue("tid"), strings.TrimSuffix(s.URL, "/")
		issuer, issuerV2 := d.issuers()
		root, oauth, keys := base+"/"+tid, base+"/"+tid+"/oauth2", base+"/"+tid+"/discovery/keys"
		if version == v2 {
			issuer, oauth, keys = issuerV2, oauth+"/v2.0", base+"/"+tid+"/discovery/v2.0/keys"
		}
		if realDirectory(tid) == "" && tid != "" {
			issuer = strings.Replace(issuer, d.tid, "{tenantid}", 1)
		}
		failure, _ := d.failing("discovery")
		switch failure.Mode {
		case "wrong-issuer":
			issuer = strings.Replace(issuer, d.tid, GUID("directory/wrong"), 1)
		case "http-jwks":
			keys = strings.Replace(keys, base, s.plain, 1)
		}
		document := map[string]any{
			"issuer":                                issuer,
			"authorization_endpoint":                oauth + "/authorize",
			"token_endpoint":                        oauth + "/token",
			"device_authorization_endpoint":         oauth + "/devicecode",
			"jwks_uri":                              keys,
			"userinfo_endpoint":                     root + "/openid/userinfo",
			"end_session_endpoint":                  oauth + "/logout",
			"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
			"response_modes_supported":              []string{"query", "fragment", "form_post"},
			"response_types_supported":              []string{"code", "id_token", "code id_token", "token id_token", "token"},
			"subject_types_supported":               []string{"pairwise"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
			"scopes_supported":                      []string{"openid"},
			"claims_supported":                      []string{"sub", "iss", "cloud_instance_name", "aud", "exp", "iat", "nonce", "name", "tid", "ver"},
			"cloud_instance_name":                   "microsoftonline.com",
			"tenant_region_scope":                   "EU",
		}
		if failure.Mode == "huge" {
			document["padding"] = padding
		}
		answer(w, r, document)
	}
}

// keys serves the key set of that version.
func (s *Server) keys(version string) func(*directory, http.ResponseWriter, *http.Request) {
	return func(d *directory, w http.ResponseWriter, r *http.Request) {
		set, err := d.keySet(version, s.pool)
		if err != nil {
			refuse(w, http.StatusInternalServerError, "server_error", err.Error())
			return
		}
		failure, _ := d.failing("keys")
		switch failure.Mode {
		case "empty":
			set = map[string]any{"keys": []any{}}
		case "many":
			if set, err = crowded(set, failure.Count); err != nil {
				refuse(w, http.StatusInternalServerError, "server_error", err.Error())
				return
			}
		case "huge":
			members, _ := set.(map[string]any) // A raw document of another type has no keys to keep.
			set = map[string]any{"padding": padding, "keys": members["keys"]}
		}
		answer(w, r, set)
	}
}

// padding makes a document larger than any that a careful client reads.
var padding = strings.Repeat("x", 2<<20)

// crowded puts made-up RSA keys before the real ones until there are count.
func crowded(set any, count int) (any, error) {
	document, ok := set.(map[string]any)
	real, okay := document["keys"].([]any)
	if !ok || !okay {
		return nil, fmt.Errorf("the raw key set has no list of keys")
	}
	if count == 0 {
		count = 101
	}
	keys := []any{}
	for i := len(real); i < count; i++ {
		modulus, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 2048))
		if err != nil {
			return nil, err
		}
		modulus.SetBit(modulus, 2047, 1).SetBit(modulus, 0, 1)
		keys = append(keys, map[string]any{"kty": "RSA", "use": "sig", "kid": fmt.Sprintf("filler-%d", i), "n": encode(modulus.Bytes()), "e": "AQAB"})
	}
	return map[string]any{"keys": append(keys, real...)}, nil
}

// failOr lets the directory misbehave, or answer.
func (s *Server) failOr(d *directory, kind string, w http.ResponseWriter, r *http.Request, handle http.HandlerFunc) {
	failure, released := d.failing(kind)
	if r.TLS == nil || r.URL.Query().Has("moved") {
		handle(w, r) // The target of a redirect answers.
		return
	}
	switch failure.Mode {
	case "500", "503":
		http.Error(w, "Service unavailable", map[string]int{"500": 500, "503": 503}[failure.Mode])
	case "status":
		http.Error(w, "as told", failure.Status)
	case "slow":
		delay := failure.DelaySeconds
		if delay == 0 {
			delay = 2
		}
		if wait(r.Context(), time.Duration(delay*float64(time.Second)), nil) {
			handle(w, r)
		}
	case "hang":
		wait(r.Context(), 0, released)
	case "drop":
		drop(w)
	case "garbage":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html><body>Our services aren't available right now</body></html>")
	case "truncated":
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "5000")
		fmt.Fprint(w, `{"keys":[{"kty":"RSA",`)
	case "endless":
		endless(r.Context(), w, released)
	case "redirect":
		http.Redirect(w, r, r.URL.Path+"?moved", http.StatusFound)
	case "redirect-http":
		http.Redirect(w, r, s.plain+r.URL.Path, http.StatusFound)
	case "redirect-host":
		host := strings.Replace(strings.TrimSuffix(s.URL, "/"), "localhost", "127.0.0.1", 1)
		http.Redirect(w, r, host+r.URL.Path+"?moved", http.StatusFound)
	case "empty":
		if kind == "discovery" {
			answer(w, r, map[string]any{})
			return
		}
		handle(w, r)
	default:
		handle(w, r)
	}
}

// wait returns true when the time is over, and false when the caller went away or the failure was lifted first.
func wait(ctx context.Context, delay time.Duration, released <-chan struct{}) bool {
	var over <-chan time.Time
	if delay > 0 {
		over = time.After(delay)
	}
	select {
	case <-over:
		return true
	case <-released:
		return false
	case <-ctx.Done():
		return false
	}
}

// drop ends the connection without a word. Over HTTP/2 it is the stream that is reset.
func drop(w http.ResponseWriter) {
	panic(http.ErrAbortHandler)
}

func endless(ctx context.Context, w io.Writer, released <-chan struct{}) {
	chunk := []byte(strings.Repeat(" ", 16<<10))
	for ctx.Err() == nil {
		if _, err := w.Write(chunk); err != nil {
			return
		}
		select {
		case <-released:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// answer sends JSON as Entra does, with an entity tag besides.
func answer(w http.ResponseWriter, r *http.Request, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	w.Header().Set("ETag", tag)
	w.Header().Set("Cache-Control", "max-age=86400, private")
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(body)
}

// refuse answers in the form of Entra's errors.
func refuse(w http.ResponseWriter, status int, code, description string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": code, "error_description": description})
}
