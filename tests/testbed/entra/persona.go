package entra

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Applications of the Azure Kubernetes Service, the same in every cloud.
const (
	// Audience is the server application, whose id is the audience of a user's token.
	Audience = "6dae42f8-4368-4678-94ff-3960e28e3630"
	// PublicClient is the application kubelogin logs in with.
	PublicClient = "80faf920-1908-4b52-b5ef-a8e7bedfc67a"
)

// Kinds of personas; they differ in the claims of their tokens.
const (
	member        = "member"
	guest         = "guest"
	personalGuest = "personal-guest"
	application   = "application"
)

// Persona is somebody who can log in.
type Persona struct {
	Name        string   `json:"name"`
	Kind        string   `json:"kind"`
	UPN         string   `json:"upn,omitempty"`
	UniqueName  string   `json:"uniqueName,omitempty"`
	OID         string   `json:"oid"`
	Groups      []string `json:"groups"`
	DisplayName string   `json:"displayName,omitempty"`
	Email       string   `json:"email,omitempty"`
	IDP         string   `json:"idp,omitempty"`
	// AppID and Secret are an application's own.
	AppID  string `json:"appId,omitempty"`
	Secret string `json:"secret,omitempty"`
	// Mint is laid under every request to mint this persona's token.
	Mint MintRequest `json:"mint"`
}

// GUID derives a stable id from a name (a UUID of version 5), so that groups and people are the same in every run.
func GUID(name string) string {
	sum := sha1.Sum([]byte("kube-tenant-proxy/testbed/" + name))
	sum[6] = sum[6]&0x0f | 0x50
	sum[8] = sum[8]&0x3f | 0x80
	text := hex.EncodeToString(sum[:16])
	return fmt.Sprintf("%s-%s-%s-%s-%s", text[:8], text[8:12], text[12:16], text[16:20], text[20:])
}

// Groups of the cast.
var (
	CapsuleAdminGroup   = GUID("group/capsuleAdminGroup")
	CapsuleDevGroup     = GUID("group/capsuleDevGroup")
	CapsuleStagingGroup = GUID("group/capsuleStagingGroup")
	CapsuleGroup        = GUID("group/capsuleGroup")
)

// domain is the one of the cast's user principal names.
const domain = "example.onmicrosoft.com"

// people is the register of personas, common to all directories.
type people struct {
	mu     sync.Mutex
	byName map[string]Persona
}

func newPeople() *people {
	p := &people{byName: map[string]Persona{}}
	for _, persona := range cast() {
		p.put(persona)
	}
	return p
}

// put stores a persona, completing what was left out.
func (p *people) put(persona Persona) Persona {
	if persona.Kind == "" {
		persona.Kind = member
	}
	if persona.OID == "" {
		persona.OID = GUID("object/" + persona.Name)
	}
	if persona.Kind == member && persona.UPN == "" {
		persona.UPN = persona.Name + "@" + domain
	}
	if persona.Kind == member && persona.UniqueName == "" {
		persona.UniqueName = persona.UPN
	}
	if persona.Kind == application && persona.AppID == "" {
		persona.AppID = GUID("application/" + persona.Name)
	}
	if persona.DisplayName == "" {
		persona.DisplayName = persona.Name
	}
	if persona.Groups == nil {
		persona.Groups = []string{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byName[persona.Name] = persona
	return persona
}

func (p *people) get(name string) (Persona, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	persona, ok := p.byName[name]
	if !ok {
		return Persona{}, fmt.Errorf("no persona %q", name)
	}
	return persona, nil
}

// search returns the persona that the test is true of.
func (p *people) search(test func(Persona) bool) (Persona, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(p.byName)) {
		if test(p.byName[name]) {
			return p.byName[name], true
		}
	}
	return Persona{}, false
}

func (p *people) all() map[string]Persona {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.byName)
}

// manyGroups is a list of n group ids that begins with the given ones.
func manyGroups(n int, first ...string) []string {
	groups := slices.Clone(first)
	for i := len(groups); i < n; i++ {
		groups = append(groups, GUID(fmt.Sprintf("group/filler-%d", i)))
	}
	return groups
}

// cast are the personas every directory knows from the start.
func cast() []Persona {
	hour := int64(3600)
	ended := int64(-60)
	dev := "capsule-user-dev@" + domain
	owners := []string{CapsuleDevGroup, CapsuleGroup}
	return []Persona{
		{Name: "capsule-admin", Groups: []string{CapsuleAdminGroup}},
		{Name: "capsule-user-dev", Groups: owners},
		{Name: "capsule-user-staging", Groups: []string{CapsuleStagingGroup, CapsuleGroup}},
		{Name: "stranger"},
		{Name: "mixed-case", UPN: "Mixed.Case@Example.OnMicrosoft.com", Groups: owners},
		{Name: "guest", Kind: guest, UniqueName: dev, Email: dev, IDP: "https://sts.windows.net/" + GUID("directory/home") + "/"},
		{Name: "personal-guest", Kind: personalGuest, UniqueName: "live.com#" + dev, Email: dev, IDP: "live.com"},
		{Name: "service-principal", Kind: application, Secret: "service-principal-secret", Groups: owners},
		{Name: "managed-identity", Kind: application, Groups: owners},
		{Name: "workload-identity", Kind: application, Groups: owners},
		{Name: "groups-0"},
		{Name: "groups-5", Groups: manyGroups(5, owners...)},
		{Name: "groups-200", Groups: manyGroups(200, owners...)},
		{Name: "overage", Groups: manyGroups(250, owners...)},
		{Name: "overage-principal", Kind: application, Secret: "overage-principal-secret", Groups: manyGroups(250, owners...)},
		{Name: "pop", Groups: owners, Mint: MintRequest{PoP: true}},
		{Name: "nonce", Groups: owners, Mint: MintRequest{Header: map[string]any{"nonce": "AQABAAAAAAD"}, CorruptSignature: true, Audience: "00000003-0000-0000-c000-000000000000"}},
		{Name: "arm", Groups: owners, Mint: MintRequest{Audience: "https://management.core.windows.net/"}},
		{Name: "spn", Groups: owners, Mint: MintRequest{Audience: "spn:" + Audience}},
		{Name: "v2", Groups: owners, Mint: MintRequest{Version: v2}},
		{Name: "other-directory", Groups: owners, Mint: MintRequest{TID: GUID("directory/other")}},
		{Name: "expired", Groups: owners, Mint: MintRequest{LifetimeSeconds: &ended}},
		{Name: "future", Groups: owners, Mint: MintRequest{NotBeforeSeconds: &hour}},
	}
}
