package entra

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // ES384 and RS512 hash with it.
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// MintRequest describes one token. The zero value is an ordinary v1.0 access token of nobody in the main directory.
type MintRequest struct {
	TID     string `json:"tid,omitempty"`
	Persona string `json:"persona,omitempty"`
	// Version is 1.0 (default) or 2.0; it chooses the issuer and the shape of the claims.
	Version  string `json:"version,omitempty"`
	Audience string `json:"audience,omitempty"`
	// Claims and Header are laid over what the persona has; null deletes.
	Claims map[string]any `json:"claims,omitempty"`
	Header map[string]any `json:"header,omitempty"`
	// RawHeader and RawPayload are signed as they are, valid JSON or not.
	RawHeader  *string `json:"rawHeader,omitempty"`
	RawPayload *string `json:"rawPayload,omitempty"`
	// ExtraHeader and ExtraPayload are members appended as text, e.g. `"iss":"second"`: names may come twice.
	ExtraHeader  string `json:"extraHeader,omitempty"`
	ExtraPayload string `json:"extraPayload,omitempty"`
	// Key is the name or id of a key of the directory, or "foreign".
	Key string `json:"key,omitempty"`
	// Alg is what is signed with. The header says the same unless Header overrides it.
	Alg string `json:"alg,omitempty"`
	// LifetimeSeconds counts from now; a negative one makes an expired token.
	LifetimeSeconds *int64 `json:"lifetimeSeconds,omitempty"`
	// NotBeforeSeconds counts from now, 0 by default.
	NotBeforeSeconds *int64 `json:"notBeforeSeconds,omitempty"`
	CorruptSignature bool   `json:"corruptSignature,omitempty"`
	// PoP wraps the token in a proof-of-possession one.
	PoP bool `json:"pop,omitempty"`
}

// Minted is a token with what went into it, as far as it is JSON.
type Minted struct {
	Token  string          `json:"token"`
	Kid    string          `json:"kid"`
	Header json.RawMessage `json:"header,omitempty"`
	Claims json.RawMessage `json:"claims,omitempty"`
}

// defaultLifetime lies in Entra's range of 60 to 90 minutes.
const defaultLifetime = 4500 * time.Second

// Mint makes a token.
func (s *Server) Mint(request MintRequest) (*Minted, error) {
	var persona *Persona
	if request.Persona != "" {
		found, err := s.people.get(request.Persona)
		if err != nil {
			return nil, err
		}
		persona = &found
		request = request.over(found.Mint)
	}
	d, err := s.directory(request.TID)
	if err != nil {
		return nil, err
	}
	k, err := d.signer(request.Key, s.pool)
	if err != nil {
		return nil, err
	}
	alg := request.Alg
	if alg == "" {
		alg = k.algorithm()
	}
	header, err := request.header(k, alg)
	if err != nil {
		return nil, err
	}
	payload, err := s.payload(request, persona, d)
	if err != nil {
		return nil, err
	}
	token, err := sign(header, payload, k, alg)
	if err != nil {
		return nil, err
	}
	if request.CorruptSignature {
		token = corrupt(token)
	}
	if request.PoP {
		if token, err = wrapPoP(token, d.now(), s.pool); err != nil {
			return nil, err
		}
	}
	minted := &Minted{Token: token, Kid: k.kid}
	if json.Valid(header) {
		minted.Header = header
	}
	if json.Valid(payload) {
		minted.Claims = payload
	}
	return minted, nil
}

// over lays the request over the persona's own settings.
func (r MintRequest) over(base MintRequest) MintRequest {
	merged := r
	choose := func(mine *string, theirs string) {
		if *mine == "" {
			*mine = theirs
		}
	}
	choose(&merged.TID, base.TID)
	choose(&merged.Version, base.Version)
	choose(&merged.Audience, base.Audience)
	choose(&merged.Key, base.Key)
	choose(&merged.Alg, base.Alg)
	if merged.LifetimeSeconds == nil {
		merged.LifetimeSeconds = base.LifetimeSeconds
	}
	if merged.NotBeforeSeconds == nil {
		merged.NotBeforeSeconds = base.NotBeforeSeconds
	}
	merged.CorruptSignature = merged.CorruptSignature || base.CorruptSignature
	merged.PoP = merged.PoP || base.PoP
	merged.Claims = layered(base.Claims, r.Claims)
	merged.Header = layered(base.Header, r.Header)
	return merged
}

// layered keeps the nulls of both, since they delete later on.
func layered(base, overrides map[string]any) map[string]any {
	result := map[string]any{}
	for _, layer := range []map[string]any{base, overrides} {
		for name, value := range layer {
			result[name] = value
		}
	}
	return result
}

func (r MintRequest) header(k *key, alg string) ([]byte, error) {
	if r.RawHeader != nil {
		return []byte(*r.RawHeader), nil
	}
	header := map[string]any{"typ": "JWT", "alg": alg, "kid": k.kid}
	if r.Version != v2 {
		header["x5t"] = k.kid
	}
	merge(header, r.Header)
	return withExtra(header, r.ExtraHeader)
}

func (s *Server) payload(r MintRequest, persona *Persona, d *directory) ([]byte, error) {
	if r.RawPayload != nil {
		return []byte(*r.RawPayload), nil
	}
	claims := s.claims(r, persona, d)
	merge(claims, r.Claims)
	return withExtra(claims, r.ExtraPayload)
}

// claims are the ones Entra would put into the token, before the overrides.
func (s *Server) claims(r MintRequest, persona *Persona, d *directory) map[string]any {
	issuer, issuerV2 := d.issuers()
	now := d.now()
	lifetime, notBefore := defaultLifetime, time.Duration(0)
	if r.LifetimeSeconds != nil {
		lifetime = time.Duration(*r.LifetimeSeconds) * time.Second
	}
	if r.NotBeforeSeconds != nil {
		notBefore = time.Duration(*r.NotBeforeSeconds) * time.Second
	}
	issued := now
	if lifetime < 0 {
		issued = now.Add(lifetime - time.Hour)
	}
	audience := r.Audience
	if audience == "" {
		audience = Audience
	}
	claims := map[string]any{
		"aud": audience,
		"iss": issuer,
		"iat": issued.Unix(),
		"nbf": issued.Add(notBefore).Unix(),
		"exp": now.Add(notBefore + lifetime).Unix(),
		"tid": d.tid,
		"uti": encode([]byte(GUID(fmt.Sprint(now.UnixNano()))[:16])),
		"aio": "E2ZgYPjY",
		"rh":  "0.AXQA",
		"ver": v1,
	}
	client, confidential, issuedTo := "appid", "appidacr", PublicClient
	if r.Version == v2 {
		claims["iss"], claims["ver"] = issuerV2, v2
		client, confidential = "azp", "azpacr"
	}
	claims[client], claims[confidential], claims["scp"] = issuedTo, "0", "user.read"
	if persona == nil {
		s.nobody(r, claims)
		return claims
	}
	claims["oid"] = persona.OID
	claims["sub"] = encode([]byte(GUID("subject/" + persona.OID)[:32]))
	claims["name"] = persona.DisplayName
	switch persona.Kind {
	case application:
		delete(claims, "scp")
		delete(claims, "name")
		claims[client], claims[confidential], claims["sub"] = persona.AppID, "1", persona.OID
		if r.Version != v2 {
			claims["idp"] = issuer
		}
	case guest, personalGuest:
		claims["idp"], claims["email"] = persona.IDP, persona.Email
		if r.Version != v2 {
			claims["unique_name"] = persona.UniqueName
		}
	default:
		if r.Version == v2 {
			claims["preferred_username"] = persona.UPN
		} else {
			claims["upn"], claims["unique_name"] = persona.UPN, persona.UniqueName
		}
	}
	addGroups(claims, persona, d)
	return claims
}

// nobody completes a token whose person is described by its claims alone: the object id follows from the name.
func (s *Server) nobody(r MintRequest, claims map[string]any) {
	name, _ := r.Claims["upn"].(string)
	if name == "" {
		name = "nobody"
	} else if r.Version != v2 {
		claims["unique_name"] = name
	}
	claims["oid"] = GUID("object/" + name)
	claims["sub"] = encode([]byte(GUID("subject/" + name)[:32]))
}

// groupLimit is how many groups a JWT holds before the claim gives way to a reference.
const groupLimit = 200

func addGroups(claims map[string]any, persona *Persona, d *directory) {
	if len(persona.Groups) <= groupLimit {
		if len(persona.Groups) > 0 {
			claims["groups"] = persona.Groups
		}
		return
	}
	claims["_claim_names"] = map[string]any{"groups": "src1"}
	claims["_claim_sources"] = map[string]any{"src1": map[string]any{
		"endpoint": fmt.Sprintf("https://graph.windows.net/%s/users/%s/getMemberObjects", d.tid, persona.OID),
	}}
}

// withExtra encodes the members and appends the text as further ones.
func withExtra(members map[string]any, extra string) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(members); err != nil {
		return nil, err
	}
	text := strings.TrimSpace(buffer.String())
	if extra == "" {
		return []byte(text), nil
	}
	separator := ","
	if len(members) == 0 {
		separator = ""
	}
	return []byte(strings.TrimSuffix(text, "}") + separator + extra + "}"), nil
}

// sign prints the compact form. The algorithm is taken at its word: an RSA key asked for HS256 signs with its public
// PEM, and none leaves the signature empty.
func sign(header, payload []byte, k *key, alg string) (string, error) {
	input := encode(header) + "." + encode(payload)
	signature, err := signature([]byte(input), k, alg)
	if err != nil {
		return "", err
	}
	return input + "." + encode(signature), nil
}

func signature(input []byte, k *key, alg string) ([]byte, error) {
	if alg == "none" {
		return nil, nil
	}
	if strings.HasPrefix(alg, "HS") {
		secret := k.secret
		if secret == nil {
			secret = []byte(k.publicPEM())
		}
		mac := hmac.New(hashOf(alg).New, secret)
		mac.Write(input)
		return mac.Sum(nil), nil
	}
	hash := hashOf(alg)
	hasher := hash.New()
	hasher.Write(input)
	digest := hasher.Sum(nil)
	switch private := k.signer.(type) {
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return rsa.SignPSS(rand.Reader, private, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		if strings.HasPrefix(alg, "RS") {
			return rsa.SignPKCS1v15(rand.Reader, private, hash, digest)
		}
	case *ecdsa.PrivateKey:
		if strings.HasPrefix(alg, "ES") {
			r, s, err := ecdsa.Sign(rand.Reader, private, digest)
			if err != nil {
				return nil, err
			}
			size := (private.Curve.Params().BitSize + 7) / 8
			return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), nil
		}
	case ed25519.PrivateKey:
		if alg == "EdDSA" {
			return ed25519.Sign(private, input), nil
		}
	}
	return nil, fmt.Errorf("a key of kind %s cannot sign with %s; to say one algorithm and use another, override the header's alg", k.kind, alg)
}

func hashOf(alg string) crypto.Hash {
	switch {
	case strings.HasSuffix(alg, "384"):
		return crypto.SHA384
	case strings.HasSuffix(alg, "512"):
		return crypto.SHA512
	default:
		return crypto.SHA256
	}
}

// corrupt changes one character in the middle of the signature, where every bit counts.
func corrupt(token string) string {
	start := strings.LastIndexByte(token, '.') + 1
	if start == len(token) {
		return token + "AAAA"
	}
	middle := start + (len(token)-start)/2
	other := byte('A')
	if token[middle] == 'A' {
		other = 'B'
	}
	return token[:middle] + string(other) + token[middle+1:]
}

// wrapPoP puts an access token into a proof of possession by a key made for this one request.
func wrapPoP(access string, now time.Time, pool *keyPool) (string, error) {
	private, err := pool.take()
	if err != nil {
		return "", err
	}
	k := &key{kind: kindRSA, signer: private}
	jwk := publicMembers(private.Public())
	canonical, err := json.Marshal(jwk) // Members in alphabetical order, as a thumbprint wants them.
	if err != nil {
		return "", err
	}
	thumbprint := sha256.Sum256(canonical)
	header, err := json.Marshal(map[string]any{"typ": "pop", "alg": "RS256", "kid": encode(thumbprint[:])})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(map[string]any{
		"at":    access,
		"ts":    now.Unix(),
		"u":     "/subscriptions/sub/resourceGroups/group/providers/Microsoft.Kubernetes/connectedClusters/cluster",
		"cnf":   map[string]any{"jwk": jwk},
		"nonce": encode(thumbprint[:8]),
	})
	if err != nil {
		return "", err
	}
	return sign(header, payload, k, "RS256")
}
