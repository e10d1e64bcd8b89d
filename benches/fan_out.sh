#!/usr/bin/env bash
# What a list over all namespaces costs through the proxy, which asks in each namespace of the user, against the one
# label query by which somebody who may read the whole cluster finds the same objects.
#
#   benches/fan_out.sh                 5 000 ConfigMaps in 1 000 namespaces, ten of them the user's: a hundredth; four minutes
#   OBJECTS=50000 benches/fan_out.sh   the same with 50 000: one minute more
#
# ROUNDS (5) alternating rounds of SECONDS_EACH (4) for each figure; the table has the medians, and the rates of all rounds
# behind them. NAMESPACES (1000). WRITES (0) changes of another object per second, since no real cluster stands still.
# Needs wrk. How to read it: the ratio of the rates within one run is the measure. The label query reads every object of
# the cluster and grows with it; the proxy's list grows with what is the user's, and costs ten requests instead of one.
# "CPU" is of the proxy and of the API server, for one list of the client. "leg" is one namespace's list as the user,
# asked of the API server directly, in the form in which the proxy asks for nine of ten: ten of them are what the proxy
# cannot go below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
objects=${OBJECTS:-5000} namespaces=${NAMESPACES:-1000} rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-4} writes=${WRITES:-0}
. benches/bed.sh
start_bed
user=$(user_token user-0@example.org)
admin=$(mint '{"persona": "capsule-admin"}')

# The controllers would put a ConfigMap of their own into each namespace; both sides shall list the same.
until kubectl get clusterrole admin -o name >/dev/null && [[ $(kubectl get clusterrole admin -o 'jsonpath={.rules}') == *configmaps* ]]; do sleep 0.2; done
curl -sS -X POST "$(fact control)/controllers/stop" >/dev/null
world() {
    python3 - "$1" "$namespaces" "$objects" <<'PY'
import json, sys
part, namespaces, objects = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def create(path, thing): print(path, json.dumps(thing), sep="\t")
for n in range(namespaces):
    tenant, namespace = f"t{n // 10}", f"t{n // 10}-{n % 10}"
    if part == "tenants" and n % 10 == 0:
        create("/apis/capsule.clastix.io/v1beta2/tenants", {"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant",
            "metadata": {"name": tenant}, "spec": {"owners": [{"kind": "User", "name": f"user-{n // 10}@example.org"}]}})
    if part == "namespaces":
        create("/api/v1/namespaces", {"metadata": {"name": namespace, "labels": {"capsule.clastix.io/tenant": tenant}}})
    if part == "objects":
        for o in range(n, objects, namespaces):
            create(f"/api/v1/namespaces/{namespace}/configmaps", {"data": {"k": "v" * 500},
                "metadata": {"name": f"c{o // namespaces}", "labels": {"tenant": tenant}}})
PY
}
for part in tenants namespaces objects; do world $part | create_all "$admin"; done
start_proxy

direct="$server/api/v1/configmaps?labelSelector=tenant%3Dt0"
through="https://localhost:$port/api/v1/configmaps"
items() { curl -sSk -H "Authorization: Bearer $1" "$2" | python3 -c 'import json,sys; print(len(json.load(sys.stdin).get("items", [])))'; }
expected=$((10 * (objects / namespaces)))
for _ in $(seq 60); do [[ $(items "$user" "$through") != "$expected" ]] || break; sleep 1; done
[[ $(items "$user" "$through") = "$expected" && $(items "$admin" "$direct") = "$expected" ]] ||
    { echo "direct $(items "$admin" "$direct") items, through the proxy $(items "$user" "$through"), not $expected"; exit 1; }
# A leg is pinned to the version of the list it is a part of: to one of now.
leg() {
    local version
    version=$(curl -sSk -H "Authorization: Bearer $user" "$through" | python3 -c 'import json,sys; print(json.load(sys.stdin)["metadata"]["resourceVersion"])')
    echo "$server/api/v1/namespaces/t0-3/configmaps?resourceVersion=$version&resourceVersionMatch=Exact"
}

if ((writes > 0)); then
    (while sleep "$(bc -l <<<"1/$writes")"; do
        curl -sSk -o "$dir/write.out" -X PATCH -H "Authorization: Bearer $admin" -H "Content-Type: application/merge-patch+json" \
            "$server/api/v1/namespaces/t1-0" -d '{"metadata":{"annotations":{"at":"'"$RANDOM$RANDOM"'"}}}'
    done) & jobs_to_end+=("$!")
fi

cat >"$dir/raw.lua" <<'LUA'
done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format("raw %d %d %d %d %d\n", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
LUA
# figure NAME CLIENTS TOKEN URL: one line in the file of figures.
figure() {
    local before after
    before=$(ticks_of_both)
    wrk -t1 -c"$2" -d"${seconds}s" --timeout 60s -s "$dir/raw.lua" -H "Authorization: Bearer $3" -H "Accept: application/json" "$4" >"$dir/wrk.out"
    after=$(ticks_of_both)
    echo "$1 $2 $(sed -n 's/^raw //p' "$dir/wrk.out") $before $after" >>"$dir/figures"
}
for _ in $(seq "$rounds"); do
    for clients in 1 16; do
        figure direct $clients "$admin" "$direct"
        figure proxy $clients "$user" "$through"
        figure leg $clients "$user" "$(leg)"
    done
done

echo "$expected of $objects ConfigMaps, 10 of $namespaces namespaces, $writes writes/s; medians of $rounds rounds of $seconds s"
python3 - "$dir/figures" <<'PY'
import statistics, sys
figures = {}
for line in open(sys.argv[1]):
    name, clients, *numbers = line.split()
    requests, duration, p50, p99, errors, *ticks = map(int, numbers)
    requests = max(requests, 1)
    figures.setdefault((int(clients), name), []).append((requests / duration * 1e6, p50 / 1e3, p99 / 1e3,
        (ticks[2] - ticks[0]) * 10 / requests, (ticks[3] - ticks[1]) * 10 / requests, errors))
print(f"{'clients':>7} {'':<7} {'lists/s':>8} {'ratio':>6} {'p50 ms':>8} {'p99 ms':>8} {'CPU proxy':>10} {'API server':>11}  rates of all rounds")
for (clients, name), rounds in figures.items():
    rate, p50, p99, proxy, server, _ = map(statistics.median, zip(*rounds))
    direct = statistics.median(round[0] for round in figures[clients, "direct"])
    ratio = f"{rate / direct:.2f}x" if name == "proxy" else ""
    errors = sum(round[5] for round in rounds)
    print(f"{clients:>7} {name:<7} {rate:>8.0f} {ratio:>6} {p50:>8.2f} {p99:>8.2f}", f"{proxy:>7.2f} ms" if name == "proxy" else " " * 10,
        f"{server:>8.2f} ms ", " ".join(f"{round[0]:.0f}" for round in rounds), f"{errors} ERRORS" if errors else "")
PY
