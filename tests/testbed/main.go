// Testbed is a Kubernetes control plane in one binary, for the end-to-end tests of kube-tenant-proxy.
//
// Called as kube-apiserver, etcd, kube-controller-manager or kubectl, by the name of the file or by the first argument,
// it is that component. Otherwise it starts them: see README.md.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	"kube-tenant-proxy/testbed/clients"
)

const usage = `usage:
  testbed up --dir DIR [--audit[=LEVEL]] [--azure] [--no-capsule] [--apiserver-arg=--FLAG=VALUE]... [--exit-with-stdin]
  testbed client informer|reflect|retrywatch|retry|list --kubeconfig FILE ...
  testbed kube-apiserver|etcd|kube-controller-manager|kubectl ...
`

func main() {
	if component(filepath.Base(os.Args[0])) {
		return
	}
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	name := os.Args[1]
	os.Args = os.Args[1:]
	if component(name) {
		return
	}
	var err error
	switch name {
	case "up":
		err = up(os.Args[1:])
	case "client":
		err = clients.Run(os.Args[1:])
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		os.Exit(1)
	}
}

// component runs the program of that name, if it is one of those inside, and says whether it was.
func component(name string) bool {
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kubectl":
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	default:
		return false
	}
	return true
}
