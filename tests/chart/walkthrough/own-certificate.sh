# The same with a certificate of one's own, in a Secret that the admin makes.
helm upgrade --install capsule-proxy ./charts/kube-tenant-proxy -n capsule-system \
  --set service.type=LoadBalancer --set service.port=443 --set options.oidcUsernameClaim=unique_name --set "options.ignoredUserGroups[0]=$CAPSULE_ADMIN_GROUP_ID" \
  --set "options.additionalSANs[0]=capsule-proxy.caas.fr" --set service.annotations."service\.beta\.kubernetes\.io/azure-dns-label-name"=capsule-proxy --set options.generateCertificates=false
