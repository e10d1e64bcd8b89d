# A load balancer on Azure, the certificate made by the chart.
helm upgrade --install capsule-proxy ./charts/kube-tenant-proxy -n capsule-system \
  --set service.type=LoadBalancer --set service.port=443 --set options.oidcUsernameClaim=unique_name --set "options.ignoredUserGroups[0]=$CAPSULE_ADMIN_GROUP_ID" \
  --set "options.additionalSANs[0]=capsule-proxy.francecentral.cloudapp.azure.com" --set service.annotations."service\.beta\.kubernetes\.io/azure-dns-label-name"=capsule-proxy
