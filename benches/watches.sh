#!/usr/bin/env bash
# What an open watch costs the proxy, and how soon it tells its client what has changed.
#
#   benches/watches.sh                 all three tables; ten minutes
#   benches/watches.sh memory          resident memory per idle watch, nginx beside it where it is installed
#   benches/watches.sh latency         from the API server's answer to a change until the frame is at the client
#   benches/watches.sh crowd           ten thousand idle watches through one process, and one change that concerns all
#
# WATCHES (2000) for the memory, CROWD (10000). A hundred users take turns, each the owner of a Tenant with two namespaces.
# How to read it: the memory is what the process has grown by, per watch, after every user was seen once; each row has a
# process of its own. "narrowed" watches are of namespaces, as the reader, each a stream upstream; "forwarded" ones of
# ConfigMaps in a namespace, as the user; "all namespaces" is put together from two. Latencies move with the load of the
# machine; p99 is of all frames of all changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what=${1:-all} watches=${WATCHES:-2000} crowd=${CROWD:-10000} users=100
# Two for each watch that has its own connection to nginx.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
. benches/bed.sh
load=$(cargo bench --locked --profile "$profile" --bench watches --no-run --message-format=json |
    python3 -c 'import json,sys
for line in sys.stdin:
    made = json.loads(line)
    if made.get("target", {}).get("name") == "watches" and made.get("executable"): print(made["executable"])')
start_bed
mint '{"persona": "capsule-admin"}' >"$dir/admin.token"
admin=$(cat "$dir/admin.token")
until [[ $(kubectl get clusterrole admin -o 'jsonpath={.rules}') == *configmaps* ]]; do sleep 0.2; done
world() {
    python3 - "$1" "$users" <<'PY'
import json, sys
for t in range(int(sys.argv[2])):
    if sys.argv[1] == "tenants":
        print("/apis/capsule.clastix.io/v1beta2/tenants", json.dumps({"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant",
            "metadata": {"name": f"t{t}"}, "spec": {"owners": [{"kind": "User", "name": f"user-{t}@example.org"}]}}), sep="\t")
    else:
        for n in range(2):
            print("/api/v1/namespaces", json.dumps({"metadata": {"name": f"t{t}-{n}", "labels": {"capsule.clastix.io/tenant": f"t{t}"}}}), sep="\t")
PY
}
for part in tenants namespaces; do world $part | create_all "$admin"; done
python3 - "$(fact capsule.group)" "$users" <<'PY' >"$dir/mint.json"
import json, sys
print(json.dumps([{"claims": {"upn": f"user-{n}@example.org", "groups": [sys.argv[1]]}, "lifetimeSeconds": 86400} for n in range(int(sys.argv[2]))]))
PY
curl -sS --cacert "$entra_ca" "${entra}control/mint" -d "@$dir/mint.json" |
    python3 -c 'import json,sys; print(*(made["token"] for made in json.load(sys.stdin)), sep="\n")' >"$dir/tokens"
last=$(sed -n '$p' "$dir/tokens")
# Until the operator has bound the last owner, and nothing moves any more.
until curl -sf --cacert "$server_ca" -H "Authorization: Bearer $last" "$server/api/v1/namespaces/t$((users - 1))-1/configmaps" >/dev/null; do sleep 0.2; done
sleep 2
curl -sS -X POST "$(fact control)/operator/pause?webhook=serve" >/dev/null

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -addext basicConstraints=critical,CA:FALSE -keyout "$dir/nginx.key" -out "$dir/nginx.crt" 2>/dev/null

# measure SERVER PID ARGUMENTS…
measure() {
    sed -n '/-BEGIN CERT/,/-END CERT/p' "$dir"/proxy.out "$dir/nginx.crt" "$server_ca" >"$dir/ca.crt"
    "$load" --server "$1" --pid "$2" --ca "$dir/ca.crt" --tokens "$dir/tokens" --api "${server#https://}" --admin "$dir/admin.token" --everybody "$(fact capsule.group)" "${@:3}"
}

# through_proxy ARGUMENTS…: through a proxy of its own.
through_proxy() {
    LOG=error start_proxy
    measure "localhost:$port" "$proxy" "$@"
    stop_proxy
}

through_nginx() {
    local nginx worker port=$((20000 + RANDOM % 10000))
    command -v nginx >/dev/null || return 0
    cat >"$dir/nginx.conf" <<NGINX
daemon off; worker_processes 1; worker_rlimit_nofile $(ulimit -n); pid $dir/nginx.pid; error_log $dir/nginx.err;
events { worker_connections $(ulimit -n); }
http {
  access_log off; client_body_temp_path $dir/n1; proxy_temp_path $dir/n2; fastcgi_temp_path $dir/n3; uwsgi_temp_path $dir/n4; scgi_temp_path $dir/n5;
  server {
    listen 127.0.0.1:$port ssl http2; ssl_certificate $dir/nginx.crt; ssl_certificate_key $dir/nginx.key; keepalive_requests 1000000;
    location / { proxy_pass $server; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_ssl_session_reuse on; proxy_buffering off; proxy_read_timeout 2h; }
  }
}
NGINX
    nginx -c "$dir/nginx.conf" -p "$dir" 2>/dev/null & nginx=$!
    jobs_to_end+=("$nginx")
    until worker=$(pgrep -P "$nginx"); do kill -0 "$nginx"; sleep 0.1; done
    : >>"$dir/proxy.out"
    measure "localhost:$port" "$worker" "$@"
    kill "$nginx"
    wait "$nginx" || true
}

how="allowWatchBookmarks=true&timeoutSeconds=7200&watch=1"
forwarded="/api/v1/namespaces/t{n}-0/configmaps?$how" narrowed="/api/v1/namespaces?$how" everywhere="/api/v1/configmaps?$how"
if [[ $what == all || $what == memory ]]; then
    for shared in 0 100; do
        on=$([[ $shared == 0 ]] && echo HTTP/1.1 || echo HTTP/2)
        through_nginx idle --name "nginx, $on" --path "$forwarded" --watches "$watches" --shared $shared
        through_proxy idle --name "forwarded, $on" --path "$forwarded" --watches "$watches" --shared $shared
        through_proxy idle --name "narrowed, $on" --path "$narrowed" --watches "$watches" --shared $shared
    done
    through_proxy idle --name "all namespaces, HTTP/2" --path "$everywhere" --watches "$watches" --shared 100
fi
if [[ $what == all || $what == latency ]]; then
    echo "a thousand watches of fifty machines (410 and anew)"
    through_proxy latency
    echo "a thousand watches of fifty humans"
    through_proxy latency --path "/api/v1/namespaces?watch=1"
fi
if [[ $what == all || $what == crowd ]]; then
    for shared in 100 0; do
        on=$([[ $shared == 0 ]] && echo HTTP/1.1 || echo HTTP/2)
        through_proxy idle --name "crowd, narrowed, $on" --path "$narrowed" --watches "$crowd" --shared $shared --changes
        kubectl delete rolebinding -n t1-0 bench-0 bench-2 >/dev/null
    done
fi
