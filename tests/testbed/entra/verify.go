package entra

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// User is whom a managed cluster's token webhook takes the bearer of a token for.
type User struct {
	Name   string
	OID    string
	Groups []string
}

// Authenticate checks an access token of the main directory as the token webhook of a managed cluster does: signature,
// issuer, audience and times, then the name (upn, or oid without one) and the groups, which it looks up itself where
// the token only refers to them.
func (s *Server) Authenticate(token string) (*User, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a JWT")
	}
	var header struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	var claims struct {
		Iss    string          `json:"iss"`
		Aud    string          `json:"aud"`
		Exp    int64           `json:"exp"`
		Nbf    int64           `json:"nbf"`
		OID    string          `json:"oid"`
		UPN    string          `json:"upn"`
		Idp    string          `json:"idp"`
		Scp    string          `json:"scp"`
		Groups []string        `json:"groups"`
		Names  json.RawMessage `json:"_claim_names"`
	}
	if err := errors.Join(decode(parts[0], &header), decode(parts[1], &claims)); err != nil {
		return nil, err
	}
	d, err := s.directory("")
	if err != nil {
		return nil, err
	}
	if err := d.verify(header.Alg, header.Kid, parts); err != nil {
		return nil, err
	}
	issuer, _ := d.issuers()
	now := d.now()
	switch {
	case claims.Iss != issuer:
		return nil, fmt.Errorf("issuer %q", claims.Iss)
	case claims.Aud != Audience && claims.Aud != "spn:"+Audience:
		return nil, fmt.Errorf("audience %q", claims.Aud)
	case !now.Before(time.Unix(claims.Exp, 0)):
		return nil, errors.New("the token has expired")
	case now.Add(5 * time.Minute).Before(time.Unix(claims.Nbf, 0)):
		return nil, errors.New("the token is not valid yet")
	case claims.OID == "":
		return nil, errors.New("no oid")
	}
	user := &User{Name: claims.UPN, OID: claims.OID, Groups: claims.Groups}
	if user.Name == "" {
		user.Name = claims.OID
	}
	if len(claims.Names) > 0 {
		if claims.Scp == "" {
			return nil, errors.New("service principal with group membership exceeding 200 is not supported")
		}
		if user.Groups, err = s.memberships(claims.OID); err != nil {
			return nil, err
		}
	}
	return user, nil
}

// memberships is what Microsoft Graph would say.
func (s *Server) memberships(oid string) ([]string, error) {
	persona, known := s.people.search(func(p Persona) bool { return p.OID == oid })
	if !known {
		return nil, fmt.Errorf("the directory knows nobody with object id %s", oid)
	}
	return persona.Groups, nil
}

// verify checks an RS256 signature against the published keys.
func (d *directory) verify(alg, kid string, parts []string) error {
	if alg != "RS256" {
		return fmt.Errorf("algorithm %q", alg)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range d.keys {
		private, ok := k.signer.(*rsa.PrivateKey)
		if ok && k.published && k.kid == kid && rsa.VerifyPKCS1v15(&private.PublicKey, crypto.SHA256, digest[:], signature) == nil {
			return nil
		}
	}
	return errors.New("no published key verifies the signature")
}

func decode(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
