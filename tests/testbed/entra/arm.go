package entra

import (
	"encoding/base64"
	"fmt"
	"net/http"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Cluster is what the resource manager tells about the managed cluster.
type Cluster struct {
	Name          string
	ResourceGroup string
	Server        string
	CA            []byte
}

// subscription is the one subscription there is.
var subscription = GUID("subscription")

// resourceManager imitates the two calls of Azure Resource Manager behind `az login` and `az aks get-credentials`.
func (s *Server) resourceManager() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /arm/tenants", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, map[string]any{"value": []any{map[string]any{"id": "/tenants/" + s.TenantID, "tenantId": s.TenantID, "displayName": "Example"}}})
	})
	mux.HandleFunc("GET /arm/subscriptions", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, map[string]any{"value": []any{s.subscription()}})
	})
	mux.HandleFunc("GET /arm/subscriptions/{subscription}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, s.subscription())
	})
	mux.HandleFunc("POST /arm/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ContainerService/managedClusters/{cluster}/listClusterUserCredential",
		func(w http.ResponseWriter, r *http.Request) {
			kubeconfig, err := s.Kubeconfig(r.PathValue("group"), r.PathValue("cluster"))
			if err != nil {
				refuse(w, http.StatusInternalServerError, "server_error", err.Error())
				return
			}
			answer(w, r, map[string]any{"kubeconfigs": []any{
				map[string]any{"name": "clusterUser", "value": base64.StdEncoding.EncodeToString(kubeconfig)},
			}})
		})
	return mux
}

func (s *Server) subscription() map[string]any {
	return map[string]any{
		"id": "/subscriptions/" + subscription, "subscriptionId": subscription, "tenantId": s.TenantID,
		"displayName": "Example", "state": "Enabled", "authorizationSource": "RoleBased", "managedByTenants": []any{},
	}
}

// Kubeconfig is the file that `az aks get-credentials` writes for a user: the exec plugin in the place of a credential.
func (s *Server) Kubeconfig(group, cluster string) ([]byte, error) {
	user := fmt.Sprintf("clusterUser_%s_%s", group, cluster)
	config := clientcmdapi.NewConfig()
	config.Clusters[cluster] = &clientcmdapi.Cluster{Server: s.Cluster.Server, CertificateAuthorityData: s.Cluster.CA}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
		APIVersion: "client.authentication.k8s.io/v1beta1",
		Command:    "kubelogin",
		Args: []string{
			"get-token", "--environment", "AzurePublicCloud", "--server-id", Audience,
			"--client-id", PublicClient, "--tenant-id", s.TenantID, "--login", "devicecode",
		},
		InstallHint:     "kubelogin is not installed which is required to connect to AAD enabled cluster.",
		InteractiveMode: clientcmdapi.IfAvailableExecInteractiveMode,
	}}
	config.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	config.CurrentContext = cluster
	return clientcmd.Write(*config)
}
