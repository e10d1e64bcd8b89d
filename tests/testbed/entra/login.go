package entra

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// logins are the device codes that wait for their approval, and the refresh tokens given out.
type logins struct {
	mu      sync.Mutex
	serial  int
	devices map[string]*device
	refresh map[string]grant
}

// device is one login by device code.
type device struct {
	tid      string
	userCode string
	scope    string
	client   string
	persona  string
	declined bool
	ends     time.Time
}

// grant is what a refresh token stands for.
type grant struct {
	persona string
	scope   string
	client  string
}

func newLogins() *logins {
	return &logins{devices: map[string]*device{}, refresh: map[string]grant{}}
}

func (l *logins) next() int {
	l.serial++
	return l.serial
}

// deviceCode starts a login by device code.
func (s *Server) deviceCode(d *directory, w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	d.mu.Lock()
	approver := d.approver
	d.mu.Unlock()
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	serial := s.logins.next()
	code := GUID(fmt.Sprintf("device/%s/%d", d.tid, serial))
	login := &device{
		tid:      d.tid,
		userCode: strings.ToUpper(encodeUserCode(code)),
		scope:    scopeOf(r),
		client:   r.Form.Get("client_id"),
		persona:  approver,
		ends:     time.Now().Add(15 * time.Minute),
	}
	s.logins.devices[code] = login
	verification := s.URL + "devicelogin"
	answer(w, r, map[string]any{
		"device_code":      code,
		"user_code":        login.userCode,
		"verification_uri": verification,
		"verification_url": verification,
		"expires_in":       900,
		"interval":         1,
		"message":          fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", verification, login.userCode),
	})
}

// encodeUserCode makes the nine characters a person types.
func encodeUserCode(code string) string {
	return strings.ReplaceAll(code, "-", "")[:9]
}

// scopeOf reads what is asked for: scopes of the v2.0 endpoint, or the resource of the v1.0 one.
func scopeOf(r *http.Request) string {
	if resource := r.Form.Get("resource"); resource != "" {
		return resource + "/.default"
	}
	return r.Form.Get("scope")
}

// approve lets a persona answer a device code. Without a code the latest open login of the directory is meant.
func (s *Server) approve(tid, userCode, persona string, decline bool) error {
	if !decline {
		if _, err := s.people.get(persona); err != nil {
			return err
		}
	}
	s.logins.mu.Lock()
	defer s.logins.mu.Unlock()
	var latest *device
	for _, login := range s.logins.devices {
		open := login.persona == "" && !login.declined
		switch {
		case userCode != "" && login.userCode == userCode:
			latest = login
		case userCode == "" && open && login.tid == tid && (latest == nil || login.ends.After(latest.ends)):
			latest = login
		}
	}
	if latest == nil {
		return fmt.Errorf("no login waits for code %q", userCode)
	}
	latest.persona, latest.declined = persona, decline
	return nil
}

// token is the token endpoint.
func (s *Server) token(d *directory, w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", err.Error())
		return
	}
	switch grantType := r.Form.Get("grant_type"); grantType {
	case "urn:ietf:params:oauth:grant-type:device_code", "device_code":
		s.tokenForDevice(d, w, r)
	case "refresh_token":
		s.tokenForRefresh(d, w, r)
	case "client_credentials":
		s.tokenForApplication(d, w, r)
	case "password":
		s.tokenForPassword(d, w, r)
	default:
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type '"+grantType+"'.")
	}
}

func (s *Server) tokenForDevice(d *directory, w http.ResponseWriter, r *http.Request) {
	code := r.Form.Get("device_code")
	if code == "" {
		code = r.Form.Get("code")
	}
	s.logins.mu.Lock()
	login, known := s.logins.devices[code]
	var state device
	if known {
		state = *login
		if state.persona != "" {
			delete(s.logins.devices, code)
		}
	}
	s.logins.mu.Unlock()
	switch {
	case !known || state.tid != d.tid:
		refuse(w, http.StatusBadRequest, "bad_verification_code", "AADSTS70000: The provided device code is not valid.")
	case state.declined:
		refuse(w, http.StatusBadRequest, "authorization_declined", "AADSTS70019: The end user denied the authorization request.")
	case time.Now().After(state.ends):
		refuse(w, http.StatusBadRequest, "expired_token", "AADSTS70020: The provided value for the input parameter 'device_code' is not valid. This device code has expired.")
	case state.persona == "":
		refuse(w, http.StatusBadRequest, "authorization_pending", "AADSTS70016: OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
	default:
		s.respond(d, w, r, grant{persona: state.persona, scope: state.scope, client: state.client})
	}
}

func (s *Server) tokenForRefresh(d *directory, w http.ResponseWriter, r *http.Request) {
	s.logins.mu.Lock()
	given, known := s.logins.refresh[r.Form.Get("refresh_token")]
	s.logins.mu.Unlock()
	if !known {
		refuse(w, http.StatusBadRequest, "invalid_grant", "AADSTS700082: The refresh token has expired due to inactivity.")
		return
	}
	if scope := scopeOf(r); scope != "" {
		given.scope = scope
	}
	s.respond(d, w, r, given)
}

func (s *Server) tokenForApplication(d *directory, w http.ResponseWriter, r *http.Request) {
	client := r.Form.Get("client_id")
	if client == "" {
		client, _, _ = r.BasicAuth()
	}
	persona, known := s.people.search(func(p Persona) bool { return p.AppID == client && client != "" })
	if !known {
		refuse(w, http.StatusBadRequest, "unauthorized_client", fmt.Sprintf("AADSTS700016: Application with identifier '%s' was not found in the directory '%s'.", client, d.tid))
		return
	}
	asserted := r.Form.Get("client_assertion") != ""
	if !asserted && r.Form.Get("client_secret") != persona.Secret {
		refuse(w, http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
		return
	}
	s.respond(d, w, r, grant{persona: persona.Name, scope: scopeOf(r), client: client})
}

func (s *Server) tokenForPassword(d *directory, w http.ResponseWriter, r *http.Request) {
	name := r.Form.Get("username")
	persona, known := s.people.search(func(p Persona) bool { return strings.EqualFold(p.UPN, name) && name != "" })
	if !known {
		refuse(w, http.StatusBadRequest, "invalid_grant", "AADSTS50034: The user account does not exist in the directory.")
		return
	}
	s.respond(d, w, r, grant{persona: persona.Name, scope: scopeOf(r), client: r.Form.Get("client_id")})
}

// respond hands out the tokens of a login.
func (s *Server) respond(d *directory, w http.ResponseWriter, r *http.Request, given grant) {
	persona, err := s.people.get(given.persona)
	if err != nil {
		refuse(w, http.StatusBadRequest, "invalid_grant", err.Error())
		return
	}
	request := MintRequest{TID: d.tid, Persona: given.persona, Audience: resource(given.scope)}
	if persona.Kind != application {
		request.Claims = map[string]any{"appid": given.client}
	}
	access, err := s.Mint(request)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "server_error", err.Error())
		return
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	_ = json.Unmarshal(access.Claims, &claims) // A persona with a raw payload has no expiry to tell.
	lifetime := max(claims.Exp-time.Now().Unix(), 0)
	body := map[string]any{
		"token_type":     "Bearer",
		"scope":          given.scope,
		"resource":       resource(given.scope),
		"expires_in":     lifetime,
		"ext_expires_in": lifetime,
		"expires_on":     claims.Exp,
		"access_token":   access.Token,
	}
	if persona.Kind != application {
		if err := s.addSession(d, body, persona, given); err != nil {
			refuse(w, http.StatusInternalServerError, "server_error", err.Error())
			return
		}
	}
	answer(w, r, body)
}

// addSession adds what only a person gets: an id token, a refresh token and the account's id.
func (s *Server) addSession(d *directory, body map[string]any, persona Persona, given grant) error {
	_, issuerV2 := d.issuers()
	id, err := s.Mint(MintRequest{
		TID: d.tid, Persona: persona.Name, Version: v2, Audience: given.client,
		Claims: map[string]any{"iss": issuerV2, "aud": given.client, "preferred_username": persona.UPN, "tid": d.tid, "groups": nil},
	})
	if err != nil {
		return err
	}
	s.logins.mu.Lock()
	refresh := fmt.Sprintf("0.refresh-%s-%d", GUID(persona.Name)[:8], s.logins.next())
	s.logins.refresh[refresh] = given
	s.logins.mu.Unlock()
	info, err := json.Marshal(map[string]any{"uid": persona.OID, "utid": d.tid})
	if err != nil {
		return err
	}
	body["id_token"], body["refresh_token"], body["client_info"] = id.Token, refresh, encode(info)
	body["foci"] = "1"
	return nil
}

// resource reads the audience out of the scopes: the one that is no OpenID scope, without its last part.
func resource(scope string) string {
	for _, one := range strings.Fields(scope) {
		if cut := strings.LastIndexByte(one, '/'); cut > 0 {
			return one[:cut]
		}
	}
	return Audience
}

// instance answers the question whether this is a cloud to be trusted.
func (s *Server) instance(w http.ResponseWriter, r *http.Request) {
	host := strings.TrimSuffix(strings.TrimPrefix(s.URL, "https://"), "/")
	answer(w, r, map[string]any{
		"tenant_discovery_endpoint": s.URL + s.TenantID + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []any{map[string]any{"preferred_network": host, "preferred_cache": host, "aliases": []string{host}}},
	})
}

// realm says that an account's password is checked here and not by a federated service.
func (s *Server) realm(w http.ResponseWriter, r *http.Request) {
	answer(w, r, map[string]any{
		"ver": "1.0", "account_type": "Managed", "domain_name": domain,
		"cloud_instance_name": "microsoftonline.com", "cloud_audience_urn": "urn:federation:MicrosoftOnline",
	})
}
