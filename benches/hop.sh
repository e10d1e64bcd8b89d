#!/usr/bin/env bash
# What the hop through the proxy costs, against the API server itself and (where installed) nginx in between.
# A table of requests per second, latency and the proxy's CPU time per request; ratios within one run are the measure.
#
#   benches/hop.sh [SECONDS]        each figure takes SECONDS, 5 by default. Needs wrk; h2load and nginx if there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:-5}
. benches/bed.sh
start_bed

# A hundred tenants of ten namespaces.
python3 - >"$dir/world.json" <<'PY'
import json, sys
items = []
for t in range(100):
    items.append({"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant", "metadata": {"name": f"t{t}"},
                  "spec": {"owners": [{"kind": "User", "name": f"user-{t}@example.org"}]}})
for t in range(100):
    for n in range(10):
        items.append({"apiVersion": "v1", "kind": "Namespace",
                      "metadata": {"name": f"t{t}-{n}", "labels": {"capsule.clastix.io/tenant": f"t{t}"}}})
# Besides the one that every namespace has of its own: fifty of about a thousand.
for t in range(10):
    for n in range(5):
        items.append({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v" * 500},
                      "metadata": {"name": f"c{n}", "namespace": f"t0-{t}", "labels": {"tenant": "t0"}}})
json.dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout)
PY
kubectl create -f "$dir/world.json" >/dev/null

dev=$(user_token user-0@example.org)
admin=$(mint '{"persona": "capsule-admin"}')
start_proxy

if command -v nginx >/dev/null; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -keyout "$dir/nginx.key" -out "$dir/nginx.crt" 2>/dev/null
    cat >"$dir/nginx.conf" <<NGINX
daemon off; worker_processes 1; pid $dir/nginx.pid; error_log $dir/nginx.err;
events { worker_connections 1024; }
http {
  access_log $dir/nginx.access; client_body_temp_path $dir/n1; proxy_temp_path $dir/n2; fastcgi_temp_path $dir/n3;
  uwsgi_temp_path $dir/n4; scgi_temp_path $dir/n5;
  upstream api { server ${server#https://}; keepalive 64; }
  server {
    listen 127.0.0.1:$((port + 3)) ssl http2; ssl_certificate $dir/nginx.crt; ssl_certificate_key $dir/nginx.key;
    keepalive_requests 1000000;
    location / { proxy_pass https://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_ssl_session_reuse on; proxy_buffering off; }
  }
}
NGINX
    nginx -c "$dir/nginx.conf" -p "$dir" 2>/dev/null & jobs_to_end+=("$!")
    sleep 0.5
    nginx=$(pgrep -P $! | head -1)
fi

[[ -z ${ONLY_START:-} ]] || { echo "dir=$dir proxy=$proxy port=$port server=$server"; echo "$dev" >"$dir/dev.token"; echo "$admin" >"$dir/admin.token"; wait "$proxy"; }

# figure NAME TOKEN URL CONNECTIONS [PID]
figure() {
    local before=0 after=0 out
    [[ -z ${5:-} ]] || before=$(ticks "$5")
    out=$(wrk -t1 -c"$4" -d"${seconds}s" --latency -H "Authorization: Bearer $2" -H "Accept: application/json" "$3")
    [[ -z ${5:-} ]] || after=$(ticks "$5")
    awk -v name="$1" -v c="$4" -v ticks=$((after - before)) '
        /50%/ {p50=$2} /99%/ {p99=$2} /requests in/ {n=$1} /Requests\/sec/ {rate=$2} /Non-2xx/ {bad=$0}
        END {printf "%-22s %3d  %8.0f/s  p50 %-8s p99 %-8s", name, c, rate, p50, p99
             if (ticks) printf "  CPU %.0f us", ticks * 10000 / n
             print bad}' <<<"$out"
}
get=/api/v1/namespaces/t0-0/configmaps/c0
names=$(printf 't0-%d,' 0 1 2 3 4 5 6 7 8 9)
select="/api/v1/namespaces?labelSelector=kubernetes.io%2Fmetadata.name+in+%28${names%,}%29"
# The reader's label query against ten lists as the user.
everywhere="/api/v1/configmaps?labelSelector=tenant%3Dt0"
# Twice, so that a busy moment shows.
for _ in 1 2; do
    for c in 1 16; do
        figure "GET direct" "$dev" "$server$get" $c
        [[ -z ${nginx:-} ]] || figure "GET nginx" "$dev" "https://localhost:$((port + 3))$get" $c "$nginx"
        figure "GET proxy" "$dev" "https://localhost:$port$get" $c "$proxy"
        figure "list direct" "$admin" "$server$select" $c
        figure "list proxy" "$dev" "https://localhost:$port/api/v1/namespaces" $c "$proxy"
        figure "list -A direct" "$admin" "$server$everywhere" $c
        figure "list -A proxy" "$dev" "https://localhost:$port$everywhere" $c "$proxy"
    done
done
