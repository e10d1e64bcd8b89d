#!/usr/bin/env bash
# How much memory the proxy takes while a list of 100 MB is filtered by rules and streams through it.
#
#   benches/filter_memory.sh           60 000 StorageClasses of about 1.9 kB; five minutes, most of them to create those
#
# OBJECTS (60000); ROWS: a pattern of the rows wanted. Three users may list StorageClasses of which a Tenant allows one by name and others by label, which
# no selector can say: all, every second one, one of a hundred. Each row has a proxy of its own, which has answered one
# small list before ("idle"). Above it, over all clients of the row: the largest VmRSS of samples 20 ms apart, and VmHWM,
# the kernel's own high-water mark, which it updates now and then. "slow" clients read 20 MB/s each, so that it shows
# whether the proxy gathers what they do not take. "as himself" is a list that the proxy does not read: what streaming
# costs without a filter.
# How to read it: JSON and Tables hold one item, so the goal is less than 30 MB for one client, whatever the length of the
# list. What is kept of a protobuf list is held until its length is known: up to 4 MiB, beyond that it comes in JSON ("protobuf
# or JSON", what client-go asks for); who takes nothing else gets up to 64 MiB of it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
objects=${OBJECTS:-60000}
. benches/bed.sh
start_bed
admin=$(mint '{"persona": "capsule-admin"}')
python3 - "$objects" <<'PY' | create_all "$admin"
import json, sys
def create(path, thing): print(path, json.dumps(thing), sep="\t")
for who in ("all", "half", "few"):
    create("/apis/capsule.clastix.io/v1beta2/tenants", {"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant",
        "metadata": {"name": who}, "spec": {"storageClasses": {"allowed": ["c0"], "matchLabels": {who: "x"}},
        "owners": [{"kind": "User", "name": f"{who}@example.org",
            "proxySettings": [{"kind": "StorageClasses", "operations": ["List"]}]}]}})
for n in range(int(sys.argv[1])):
    labels = {"all": "x"} | ({"half": "x"} if n % 2 else {}) | ({"few": "x"} if n % 100 == 1 else {})
    create("/apis/storage.k8s.io/v1/storageclasses", {"provisioner": "bench.example.com/none",
        "metadata": {"name": f"c{n}", "labels": labels, "annotations": {"bench.example.com/about": f"class {n} " * 60}}})
PY

classes=/apis/storage.k8s.io/v1/storageclasses
json=application/json table='application/json;as=Table;g=meta.k8s.io;v=v1' protobuf=application/vnd.kubernetes.protobuf
printf '%-40s %7s %9s %9s %9s %9s %8s %9s  %s\n' list clients 'read MB' 'sent MB' 'idle MB' 'VmRSS' 'VmHWM' 's' 'CPU s'
# row NAME TOKEN ACCEPT CLIENTS [BYTES PER SECOND]
row() {
    [[ $1 =~ ${ROWS:-.} ]] || return 0
    start_proxy
    curl -sSk -o /dev/null -H "Authorization: Bearer $2" "https://localhost:$port/api/v1/namespaces"
    sleep 0.5
    python3 - "$proxy" "$1" "$2" "$3" "$4" "https://localhost:$port$classes" "${5:-}" "${sizes[$3]}" <<'PY'
import os, subprocess, sys, time
pid, name, token, accept, clients, url, rate, read = sys.argv[1:]
def memory(key):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(key + ":"): return int(line.split()[1]) * 1024 / 1e6
def cpu():
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
# Sets VmHWM back to what is resident now (proc(5), clear_refs).
open(f"/proc/{pid}/clear_refs", "w").write("5")
idle, before, start, most = memory("VmRSS"), cpu(), time.monotonic(), 0
curls = [subprocess.Popen(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", *(["--limit-rate", rate] if rate else []),
    "-H", f"Authorization: Bearer {token}", "-H", f"Accept: {accept}", url], stdout=subprocess.PIPE, text=True) for _ in range(int(clients))]
while any(curl.poll() is None for curl in curls):
    most = max(most, memory("VmRSS"))
    time.sleep(0.02)
took = time.monotonic() - start
said = [curl.stdout.read().split() + [curl.returncode] for curl in curls]
sent = max(int(size) for _, size, _ in said) / 1e6
bad = {f"HTTP {status}" + (f", curl {code}" if code else "") for status, _, code in said if status != "200" or code}
print(f"{name:<40} {clients:>7} {read:>9} {sent:>9.1f} {idle:>9.1f} {'+%.1f' % (most - idle):>9} {'+%.1f' % (memory('VmHWM') - idle):>8} {took:>9.1f}  {cpu() - before:.1f}",
    *sorted(bad), flush=True)
PY
    stop_proxy
}
# What the API server sends of each form, in MB.
declare -A sizes
either=$protobuf,$json
for accept in "$json" "$table" "$protobuf" "$either"; do
    sizes[$accept]=$(curl -sSk -o /dev/null -w '%{size_download}' -H "Authorization: Bearer $admin" -H "Accept: $accept" "$server$classes" | awk '{printf "%.1f", $1 / 1e6}')
done
all=$(user_token all@example.org) half=$(user_token half@example.org) few=$(user_token few@example.org)
for clients in 1 8; do
    row "JSON, as himself" "$admin" "$json" "$clients"
    row "JSON, all kept" "$all" "$json" "$clients"
    row "JSON, all kept, slow" "$all" "$json" "$clients" 20M
    row "JSON, half kept" "$half" "$json" "$clients"
    row "JSON, 1 of 100 kept" "$few" "$json" "$clients"
    row "Table, all kept" "$all" "$table" "$clients"
    row "Table, 1 of 100 kept" "$few" "$table" "$clients"
    row "protobuf or JSON, all kept" "$all" "$either" "$clients"
    row "protobuf or JSON, half kept" "$half" "$either" "$clients"
    row "protobuf, all kept" "$all" "$protobuf" "$clients"
    row "protobuf, half kept" "$half" "$protobuf" "$clients"
    row "protobuf, 1 of 100 kept" "$few" "$protobuf" "$clients"
done
