package entra

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// controls are the test harness's own endpoints: POST with a JSON body, JSON back.
func (s *Server) controls() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /control/mint", s.controlMint)
	mux.HandleFunc("POST /control/keys", control(s.controlKeys))
	mux.HandleFunc("POST /control/directory", control(s.controlDirectory))
	mux.HandleFunc("POST /control/counts", control(s.controlCounts))
	mux.HandleFunc("POST /control/approve", control(s.controlApprove))
	mux.HandleFunc("POST /control/persona", control(s.controlPersona))
	mux.HandleFunc("GET /control/personas", func(w http.ResponseWriter, _ *http.Request) { reply(w, s.people.all(), nil) })
	return mux
}

// control reads the request of an endpoint, refusing names it does not know: a typo in a test must not pass silently.
func control[T any](handle func(T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var request T
		if err := read(r.Body, &request); err != nil {
			reply(w, nil, err)
			return
		}
		result, err := handle(request)
		reply(w, result, err)
	}
}

// read decodes strictly and keeps numbers as they are written, since 1e300 is a test case.
func read(body io.Reader, into any) error {
	decoder := json.NewDecoder(body)
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil && err != io.EOF {
		return err
	}
	return nil
}

func reply(w http.ResponseWriter, result any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		result = map[string]any{"error": err.Error()}
	}
	if result == nil {
		result = map[string]any{}
	}
	_ = json.NewEncoder(w).Encode(result)
}

// controlMint makes one token, or a list of them from a list of requests.
func (s *Server) controlMint(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		reply(w, nil, err)
		return
	}
	if !strings.HasPrefix(strings.TrimSpace(string(body)), "[") {
		var request MintRequest
		if err := read(bytes.NewReader(body), &request); err != nil {
			reply(w, nil, err)
			return
		}
		minted, err := s.Mint(request)
		reply(w, minted, err)
		return
	}
	var requests []MintRequest
	if err := read(bytes.NewReader(body), &requests); err != nil {
		reply(w, nil, err)
		return
	}
	tokens := make([]*Minted, 0, len(requests))
	for i, request := range requests {
		minted, err := s.Mint(request)
		if err != nil {
			reply(w, nil, fmt.Errorf("request %d: %w", i, err))
			return
		}
		tokens = append(tokens, minted)
	}
	reply(w, tokens, nil)
}

// keysRequest changes the keys of a directory.
type keysRequest struct {
	TID string `json:"tid"`
	// Action is list, add, rotate, remove (alias revoke), publish, current, raw.
	Action string `json:"action"`
	// Kind of the new key: rsa, rsa1024, rsa4096, ec, ec384, ed25519, oct.
	Kind string `json:"kind"`
	// Name is how later requests speak of the key; its kid otherwise.
	Name string `json:"name"`
	Kid  string `json:"kid"`
	// Use is the JWK member, "" leaves it out; "sig" unless given.
	Use *string `json:"use"`
	// Members override the published JWK; null deletes.
	Members map[string]any `json:"members"`
	// Unpublished adds a key that no key set shows yet.
	Unpublished bool `json:"unpublished"`
	// RemoveOld makes a rotation an emergency: the former key is gone at once.
	RemoveOld bool `json:"removeOld"`
	// Document is served verbatim by action raw; null goes back to the keys.
	Document any `json:"document"`
}

// shownKey is a key as the harness sees it.
type shownKey struct {
	Name      string         `json:"name"`
	Kid       string         `json:"kid"`
	Kind      string         `json:"kind"`
	Published bool           `json:"published"`
	Current   bool           `json:"current"`
	PEM       string         `json:"pem,omitempty"`
	JWK       map[string]any `json:"jwk"`
}

func (s *Server) controlKeys(request keysRequest) (any, error) {
	d, err := s.directory(request.TID)
	if err != nil {
		return nil, err
	}
	var made *key
	if request.Action == "add" || request.Action == "rotate" {
		if made, err = s.makeKey(request); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.signingKeys(s.pool); err != nil {
		return nil, err
	}
	touched := made
	switch request.Action {
	case "", "list":
	case "add":
		d.keys = append(d.keys, made)
	case "rotate":
		if request.RemoveOld && d.current != nil {
			d.current.published = false
		}
		d.keys, d.current = append(d.keys, made), made
	case "remove", "revoke", "publish", "current":
		name := request.Name
		if name == "" {
			name = request.Kid
		}
		k, ok := d.find(name)
		if !ok {
			return nil, fmt.Errorf("directory %s has no key %q", d.tid, name)
		}
		touched = k
		if request.Action == "current" {
			d.current = k
		} else {
			k.published = request.Action == "publish"
		}
	case "raw":
		d.document = request.Document
	default:
		return nil, fmt.Errorf("unknown action %q", request.Action)
	}
	result := map[string]any{"keys": d.shown()}
	if touched != nil {
		result["key"] = d.show(touched)
	}
	return result, nil
}

func (s *Server) makeKey(request keysRequest) (*key, error) {
	kind := request.Kind
	if kind == "" {
		kind = kindRSA
	}
	k, err := newKey(kind, s.pool)
	if err != nil {
		return nil, err
	}
	if request.Kid != "" {
		k.kid, k.name = request.Kid, request.Kid
	}
	if request.Name != "" {
		k.name = request.Name
	}
	if request.Use != nil {
		k.use = *request.Use
	}
	k.members = request.Members
	k.published = !request.Unpublished
	return k, nil
}

func (d *directory) shown() []shownKey {
	keys := []shownKey{}
	for _, k := range d.keys {
		keys = append(keys, d.show(k))
	}
	return keys
}

func (d *directory) show(k *key) shownKey {
	return shownKey{
		Name: k.name, Kid: k.kid, Kind: k.kind, Published: k.published, Current: k == d.current,
		PEM: k.publicPEM(), JWK: k.jwk(v1, ""),
	}
}

// directoryRequest sets what is given and leaves the rest.
type directoryRequest struct {
	TID          string   `json:"tid"`
	Mode         string   `json:"mode"`
	Endpoints    []string `json:"endpoints"`
	DelaySeconds float64  `json:"delaySeconds"`
	Status       int      `json:"status"`
	Count        int      `json:"count"`
	// Issuer and IssuerV2 are what discovery says and tokens carry.
	Issuer   *string `json:"issuer"`
	IssuerV2 *string `json:"issuerV2"`
	// ClockOffsetSeconds shifts the times of minted tokens.
	ClockOffsetSeconds *float64 `json:"clockOffsetSeconds"`
	// AutoApprove names a persona that answers every device code at once; "" ends that.
	AutoApprove *string `json:"autoApprove"`
}

func (s *Server) controlDirectory(request directoryRequest) (any, error) {
	d, err := s.directory(request.TID)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if request.Mode != "" {
		if _, known := modes[request.Mode]; !known {
			return nil, fmt.Errorf("unknown mode %q; there are %s", request.Mode, strings.Join(slices.Sorted(maps.Keys(modes)), ", "))
		}
		for _, endpoint := range request.Endpoints {
			if !slices.Contains([]string{"discovery", "keys", "token"}, endpoint) {
				return nil, fmt.Errorf("unknown endpoint %q; there are discovery, keys, token", endpoint)
			}
		}
		d.failure = failure{
			Mode: request.Mode, Endpoints: request.Endpoints,
			DelaySeconds: request.DelaySeconds, Status: request.Status, Count: request.Count,
		}
		close(d.released)
		d.released = make(chan struct{})
	}
	if request.Issuer != nil {
		d.issuer = *request.Issuer
	}
	if request.IssuerV2 != nil {
		d.issuerV2 = *request.IssuerV2
	}
	if request.ClockOffsetSeconds != nil {
		d.offset = time.Duration(*request.ClockOffsetSeconds * float64(time.Second))
	}
	if request.AutoApprove != nil {
		d.approver = *request.AutoApprove
	}
	return map[string]any{
		"tid":            d.tid,
		"issuer":         d.issuer,
		"issuerV2":       d.issuerV2,
		"discoveryURL":   d.base + "/" + d.tid + "/.well-known/openid-configuration",
		"discoveryURLV2": d.base + "/" + d.tid + "/v2.0/.well-known/openid-configuration",
		"failure":        d.failure,
	}, nil
}

type countsRequest struct {
	TID   string `json:"tid"`
	Reset bool   `json:"reset"`
}

// controlCounts tells how often each endpoint of the directory was called, failures included.
func (s *Server) controlCounts(request countsRequest) (any, error) {
	d, err := s.directory(request.TID)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	counts := map[string]int{"discovery": 0, "discoveryV2": 0, "keys": 0, "keysV2": 0, "devicecode": 0, "token": 0}
	maps.Copy(counts, d.counts)
	if request.Reset {
		d.counts = map[string]int{}
	}
	return counts, nil
}

type approveRequest struct {
	TID      string `json:"tid"`
	UserCode string `json:"user_code"`
	Persona  string `json:"persona"`
	Decline  bool   `json:"decline"`
}

func (s *Server) controlApprove(request approveRequest) (any, error) {
	d, err := s.directory(request.TID)
	if err != nil {
		return nil, err
	}
	return nil, s.approve(d.tid, request.UserCode, request.Persona, request.Decline)
}

func (s *Server) controlPersona(persona Persona) (any, error) {
	if persona.Name == "" {
		return nil, fmt.Errorf("a persona needs a name")
	}
	return s.people.put(persona), nil
}
