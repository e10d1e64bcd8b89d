package entra

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Versions of the token and of the discovery document.
const (
	v1 = "1.0"
	v2 = "2.0"
)

// directory is one Entra tenant: a world of its own, with its keys, its issuer, its clock and its failures.
//
// Directories come into being when they are first spoken of, so a test draws a GUID and has one for itself.
type directory struct {
	tid  string
	base string

	mu       sync.Mutex
	keys     []*key
	foreign  map[string]*key
	current  *key
	document any
	failure  failure
	counts   map[string]int
	// released is closed when the failure changes, which frees the requests that hang.
	released chan struct{}
	// offset shifts the clock that tokens are minted by.
	offset   time.Duration
	issuer   string
	issuerV2 string
	approver string
}

// failure is how the directory misbehaves.
type failure struct {
	Mode string `json:"mode"`
	// Endpoints limits the failure: discovery, keys, token. Empty means discovery and keys.
	Endpoints []string `json:"endpoints"`
	// DelaySeconds is for mode slow.
	DelaySeconds float64 `json:"delaySeconds"`
	// Status is for mode status; modes 500 and 503 name their own.
	Status int `json:"status"`
	// Count is for mode many.
	Count int `json:"count"`
}

// modes are all the ways to misbehave, with what they mean.
var modes = map[string]string{
	"ok":            "answers",
	"500":           "answers 500",
	"503":           "answers 503",
	"status":        "answers the given status",
	"slow":          "answers after delaySeconds",
	"hang":          "never answers; a change of mode ends the wait",
	"drop":          "closes the connection",
	"garbage":       "answers 200 with a page of HTML",
	"truncated":     "announces more bytes than it sends",
	"empty":         "an empty document, an empty key set",
	"huge":          "a valid document of two MiB",
	"endless":       "a body that never ends",
	"many":          "count keys (101), the real ones last",
	"wrong-issuer":  "the document of another directory",
	"http-jwks":     "a jwks_uri with the scheme http",
	"redirect":      "302 within the same host",
	"redirect-http": "302 to the plain http listener, which would answer",
	"redirect-host": "302 to 127.0.0.1 in place of localhost, which would answer",
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// directory returns the world of that id.
func (s *Server) directory(tid string) (*directory, error) {
	if tid == "" {
		tid = s.TenantID
	}
	if !guid.MatchString(tid) {
		return nil, fmt.Errorf("%q is no directory id", tid)
	}
	tid = strings.ToLower(tid)
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.directories[tid]; ok {
		return d, nil
	}
	d := &directory{
		tid:      tid,
		base:     strings.TrimSuffix(s.URL, "/"),
		foreign:  map[string]*key{},
		counts:   map[string]int{},
		released: make(chan struct{}),
		failure:  failure{Mode: "ok"},
		issuer:   "https://sts.windows.net/" + tid + "/",
	}
	d.issuerV2 = d.base + "/" + tid + "/v2.0"
	s.directories[tid] = d
	return d, nil
}

// signingKeys returns the keys, making the first two when they are first needed.
func (d *directory) signingKeys(pool *keyPool) ([]*key, error) {
	if len(d.keys) > 0 {
		return d.keys, nil
	}
	for range 2 {
		k, err := newKey(kindRSA, pool)
		if err != nil {
			return nil, err
		}
		d.keys = append(d.keys, k)
	}
	d.current = d.keys[0]
	return d.keys, nil
}

// find looks a key up by name or key id. The newest wins, so that a key id given twice can be told apart by name only.
func (d *directory) find(name string) (*key, bool) {
	for _, k := range slices.Backward(d.keys) {
		if k.name == name || k.kid == name {
			return k, true
		}
	}
	return nil, false
}

// signer chooses the key a token is signed with: the current one, one by name, or a foreign one, which bears the key id
// of the current key and is not published anywhere.
func (d *directory) signer(name string, pool *keyPool) (*key, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.signingKeys(pool); err != nil {
		return nil, err
	}
	if name == "" {
		if d.current == nil {
			return nil, errors.New("the directory has no current key; rotate makes one")
		}
		return d.current, nil
	}
	if name == "foreign" {
		return d.foreignKey(pool)
	}
	k, ok := d.find(name)
	if !ok {
		return nil, fmt.Errorf("directory %s has no key %q", d.tid, name)
	}
	return k, nil
}

func (d *directory) foreignKey(pool *keyPool) (*key, error) {
	kind, kid := kindRSA, "unknown"
	if d.current != nil {
		kind, kid = d.current.kind, d.current.kid
	}
	k, ok := d.foreign[kind]
	if !ok {
		made, err := newKey(kind, pool)
		if err != nil {
			return nil, err
		}
		d.foreign[kind] = made
		k = made
	}
	posing := *k
	posing.kid = kid
	return &posing, nil
}

// keySet is the published JWKS of that version.
func (d *directory) keySet(version string, pool *keyPool) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	keys, err := d.signingKeys(pool)
	if err != nil {
		return nil, err
	}
	if d.document != nil {
		return d.document, nil
	}
	published := []any{}
	for _, k := range keys {
		if k.published {
			published = append(published, k.jwk(version, d.issuerV2))
		}
	}
	return map[string]any{"keys": published}, nil
}

func (d *directory) count(endpoint string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[endpoint]++
}

// failing returns the failure that holds for the endpoint, and the channel that ends a wait.
func (d *directory) failing(endpoint string) (failure, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	endpoints := d.failure.Endpoints
	if len(endpoints) == 0 {
		endpoints = []string{"discovery", "keys"}
	}
	if !slices.Contains(endpoints, endpoint) {
		return failure{Mode: "ok"}, d.released
	}
	return d.failure, d.released
}

// now is the directory's own time.
func (d *directory) now() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Add(d.offset)
}

// issuers returns the issuers of both versions.
func (d *directory) issuers() (issuer, issuerV2 string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.issuer, d.issuerV2
}
