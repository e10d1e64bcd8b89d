package entra

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"time"
)

// Kinds of keys a directory can be given. Entra itself knows RSA-2048 only.
const (
	kindRSA     = "rsa"
	kindRSA1024 = "rsa1024"
	kindRSA4096 = "rsa4096"
	kindEC      = "ec"
	kindEC384   = "ec384"
	kindEd25519 = "ed25519"
	kindOct     = "oct"
)

// key is one signing key of a directory, published or not.
//
// A key that is no longer published can still sign: that is the token of a revoked key.
type key struct {
	// name is how tests speak of the key; kid unless they chose one.
	name string
	kid  string
	kind string
	// use is the JWK member of that name; empty leaves it out.
	use string
	// members override the published JWK; null leaves a member out.
	members map[string]any

	published bool
	signer    crypto.Signer
	secret    []byte
	der       []byte
}

// newKey makes a key of the given kind. The key id is the thumbprint of its certificate, as at Entra.
func newKey(kind string, pool *keyPool) (*key, error) {
	k := &key{kind: kind, use: "sig", published: true}
	var err error
	switch kind {
	case kindRSA:
		k.signer, err = pool.take()
	case kindRSA1024:
		k.signer, err = rsa.GenerateKey(rand.Reader, 1024)
	case kindRSA4096:
		k.signer, err = rsa.GenerateKey(rand.Reader, 4096)
	case kindEC:
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case kindEC384:
		k.signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case kindEd25519:
		_, k.signer, err = ed25519.GenerateKey(rand.Reader)
	case kindOct:
		k.secret = make([]byte, 32)
		_, err = rand.Read(k.secret)
	default:
		return nil, fmt.Errorf("unknown kind of key %q", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("making a key of kind %s: %w", kind, err)
	}
	if k.signer == nil {
		thumbprint := sha1.Sum(k.secret)
		k.kid = encode(thumbprint[:])
	} else {
		if err := k.certify(); err != nil {
			return nil, err
		}
		thumbprint := sha1.Sum(k.der)
		k.kid = encode(thumbprint[:])
	}
	k.name = k.kid
	return k, nil
}

// certify makes the self-signed certificate that Entra publishes beside every key.
func (k *key) certify() error {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(5 * 365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.signer.Public(), k.signer)
	if err != nil {
		return fmt.Errorf("certifying a key of kind %s: %w", k.kind, err)
	}
	k.der = der
	return nil
}

// jwk is the key as its directory publishes it: no alg, a certificate chain, and in v2.0 the issuer and the cloud.
func (k *key) jwk(version, issuer string) map[string]any {
	jwk := map[string]any{"kid": k.kid}
	if k.use != "" {
		jwk["use"] = k.use
	}
	if k.der != nil {
		thumbprint := sha1.Sum(k.der)
		jwk["x5t"] = encode(thumbprint[:])
		jwk["x5c"] = []string{base64.StdEncoding.EncodeToString(k.der)}
	}
	if version == v2 {
		jwk["issuer"] = issuer
		jwk["cloud_instance_name"] = "microsoftonline.com"
	}
	if k.secret != nil {
		jwk["kty"] = "oct"
		jwk["k"] = encode(k.secret)
	} else {
		maps.Copy(jwk, publicMembers(k.signer.Public()))
	}
	merge(jwk, k.members)
	return jwk
}

// publicMembers are the members of a JWK that hold the key itself.
func publicMembers(public crypto.PublicKey) map[string]any {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return map[string]any{
			"kty": "RSA",
			"n":   encode(public.N.Bytes()),
			"e":   encode(big.NewInt(int64(public.E)).Bytes()),
		}
	case *ecdsa.PublicKey:
		size := (public.Curve.Params().BitSize + 7) / 8
		return map[string]any{
			"kty": "EC",
			"crv": public.Curve.Params().Name,
			"x":   encode(public.X.FillBytes(make([]byte, size))),
			"y":   encode(public.Y.FillBytes(make([]byte, size))),
		}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode(public)}
	default:
		return nil
	}
}

// publicPEM is the public key as PEM, the "secret" of the classic HS256 attack.
func (k *key) publicPEM() string {
	if k.signer == nil {
		return ""
	}
	der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	if err != nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// algorithm is what the key signs with unless a test says otherwise.
func (k *key) algorithm() string {
	switch k.kind {
	case kindEC:
		return "ES256"
	case kindEC384:
		return "ES384"
	case kindEd25519:
		return "EdDSA"
	case kindOct:
		return "HS256"
	default:
		return "RS256"
	}
}

// keyPool keeps a few RSA keys in stock, since making one takes up to a second on a busy machine and every private
// directory of a test wants some.
type keyPool struct {
	stock chan *rsa.PrivateKey
}

// stocked is how many keys lie ready; tests take two for each new directory.
const stocked = 8

func newKeyPool() *keyPool {
	return &keyPool{stock: make(chan *rsa.PrivateKey, stocked)}
}

// fill keeps the stock up for as long as the process lives.
func (p *keyPool) fill() {
	for {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return // take makes its own key then, and reports the error.
		}
		p.stock <- key
	}
}

func (p *keyPool) take() (*rsa.PrivateKey, error) {
	select {
	case key := <-p.stock:
		return key, nil
	default:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
}

func encode(bytes []byte) string {
	return base64.RawURLEncoding.EncodeToString(bytes)
}

// merge lays the overrides over the base; null deletes.
func merge(base, overrides map[string]any) {
	for name, value := range overrides {
		if value == nil {
			delete(base, name)
		} else {
			base[name] = value
		}
	}
}
