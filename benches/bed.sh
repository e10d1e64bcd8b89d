# What the end-to-end benchmarks share: a test bed, the proxy before it, tokens, the CPU time of processes.
# Sourced from the root of the repository. Everything started is ended when the shell exits; KEEP=1 leaves the files.
# shellcheck shell=bash

profile=${PROFILE:-quick}
binary=${BINARY:-${CARGO_TARGET_DIR:-target}/$profile/kube-tenant-proxy}
dir=$(mktemp -d "${TMPDIR:-/tmp}/kube-tenant-proxy-bench.XXXXXX")
jobs_to_end=()

end() {
    for pid in "${jobs_to_end[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    [[ -n ${KEEP:-} ]] || rm -rf "$dir"
}
trap end EXIT

# Starts the test bed, with the roles of the chart and a configuration for the proxy. Sets `server`, `entra`, `ca` of
# both and `server_pid`, and KUBECONFIG for an administrator.
start_bed() {
    local testbed helm
    [[ -x $binary ]] || cargo build --locked --profile "$profile" --bin kube-tenant-proxy
    testbed=$(tests/testbed/build)
    helm=$(tests/tools/helm4)
    "$testbed" up --dir "$dir/bed" --audit=None >"$dir/bed.out" & bed=$!
    jobs_to_end+=("$bed")
    until grep -qs ^ready: "$dir/bed.out"; do kill -0 "$bed"; sleep 0.2; done
    export KUBECONFIG=$dir/bed/admin.kubeconfig PATH="$dir/bed/bin:$PATH"
    server=$(fact server) entra=$(fact entra.url) server_ca=$(fact caFile) entra_ca=$(fact entra.caFile)
    server_pid=$(pgrep -x -P "$bed" kube-apiserver)
    kubectl create namespace capsule-system >/dev/null
    "$helm" template capsule-proxy charts/kube-tenant-proxy -n capsule-system \
        -s templates/rbac.yaml -s templates/serviceaccount.yaml | kubectl apply -n capsule-system -f - >/dev/null
    kubectl -n capsule-system create token capsule-proxy --duration 6h >"$dir/token"
    python3 - "$server" "$server_ca" "$dir/token" "$dir/bed/testbed.json" "$dir" <<'PY'
import json, sys
server, ca, token, facts, out = sys.argv[1:]
json.dump({"apiVersion": "v1", "kind": "Config", "current-context": "x",
  "clusters": [{"name": "x", "cluster": {"server": server, "certificate-authority": ca}}],
  "users": [{"name": "x", "user": {"tokenFile": token}}],
  "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}]}, open(f"{out}/proxy.kubeconfig", "w"))
e = json.load(open(facts))["entra"]
json.dump({"authentication": {"jwt": [{"issuer": {"url": e["issuer"], "discoveryURL": e["discoveryURL"],
  "certificateAuthority": open(e["caFile"]).read(), "audiences": [e["audience"]]},
  "claimMappings": {"username": {"claims": ["upn", "oid"], "prefix": ""}, "groups": {"claim": "groups", "prefix": ""}},
  "upstream": "token"}]}}, open(f"{out}/config.yaml", "w"))
PY
}

# fact A.B: what testbed.json says.
fact() {
    python3 -c 'import json,sys; v=json.load(open(sys.argv[1]))
for key in sys.argv[2].split("."): v=v[key]
print(v)' "$dir/bed/testbed.json" "$1"
}

# mint JSON: a token of the test bed's Entra.
mint() {
    curl -sS --cacert "$entra_ca" "${entra}control/mint" -d "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin)["token"])'
}

# user_token NAME: that of a Capsule user.
user_token() {
    mint '{"claims": {"upn": "'"$1"'", "groups": ["'"$(fact capsule.group)"'"]}}'
}

# Starts a proxy; sets `proxy` (its process) and `port`.
start_proxy() {
    port=$((20000 + RANDOM % 10000))
    "$binary" serve --kubeconfig "$dir/proxy.kubeconfig" --config "$dir/config.yaml" --listening-port "$port" \
        --self-signed localhost,127.0.0.1 --probe-addr "127.0.0.1:$((port + 1))" --metrics-addr "127.0.0.1:$((port + 2))" \
        --zap-log-level "${LOG:-info}" >"$dir/proxy.out" 2>&1 & proxy=$!
    jobs_to_end+=("$proxy")
    until curl -sf "http://127.0.0.1:$((port + 1))/readyz" >/dev/null; do
        kill -0 "$proxy" || { cat "$dir/proxy.out"; exit 1; }
        sleep 0.2
    done
}

stop_proxy() {
    kill "$proxy"
    wait "$proxy" || true
}

# create_all TOKEN: creates what standard input has, one "path TAB object" a line, over eight connections. Much faster
# than kubectl, which sends one after the other.
create_all() {
    python3 <(cat <<'PY'
import http.client, itertools, ssl, sys, threading, time
host, ca, token = sys.argv[1].removeprefix("https://"), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=ca)
headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Accept": "application/vnd.kubernetes.protobuf, application/json"}
lines, lock, failed, made = sys.stdin.buffer, threading.Lock(), [], itertools.count()
def work():
    connection = http.client.HTTPSConnection(host, context=context)
    while not failed:
        with lock:
            line = lines.readline()
        if not line:
            return
        path, body = line.split(b"\t", 1)
        connection.request("POST", path.decode(), body, headers)
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 201:
            failed.append(f"{path.decode()}: {answer.status} {said[:300]}")
        next(made)
start = time.monotonic()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if failed: sys.exit(failed[0])
took, made = time.monotonic() - start, next(made)
print(f"created {made} objects in {took:.1f} s, {made / took:.0f}/s", file=sys.stderr)
PY
    ) "$server" "$server_ca" "$1"
}

# ticks PID: CPU time so far, in hundredths of a second.
ticks() {
    awk '{print $14 + $15}' "/proc/$1/stat"
}

# The same of the proxy and of the API server.
ticks_of_both() {
    echo "$(ticks "$proxy") $(ticks "$server_pid")"
}
