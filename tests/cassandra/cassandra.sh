#!/usr/bin/env bash
# Runs real Apache Cassandra nodes on loopback for tests (a stand-in for ScyllaDB:
# same CQL v4 wire protocol). Needs JDK 17 and Maven; nothing else.
#
#   cassandra.sh resolve            download the jars (Maven)
#   cassandra.sh up [N]             start N nodes (default 1) on 127.0.0.1..N, wait for CQL
#   cassandra.sh down               stop every node, by the pid each wrote
#   cassandra.sh wipe               down, then delete the nodes' data
#   cassandra.sh start-node I       start node I again on its old data
#   cassandra.sh stop-node I        SIGTERM (clean drain)
#   cassandra.sh kill-node I        SIGKILL (a crash)
#   cassandra.sh pause-node I       SIGSTOP (a hang);  resume-node I  SIGCONT
#   cassandra.sh status             one line per node
#   cassandra.sh env                prints CQL_NODES=host:port,... for the tests
#   cassandra.sh serve              one node for its caller: free ports, a temporary folder; prints
#                                   CQL_NODES=… and ends it, and the folder, when its input ends
#
# Settings (environment):
#   CQL_HOME   where data and logs live          (default: <repo>/target/cassandra)
#   CQL_LIB    where the jars live               (default: $CQL_HOME/lib)
#   CQL_PORT   native protocol port, every node  (default: 9042)
#   CQL_STORAGE_PORT  internode port             (default: 7000)
#   CQL_HEAP   -Xmx per node                     (default: 512m)
#   CQL_START_TIMEOUT  seconds to wait per node  (default: 120)
#   CQL_COMMITLOG_SYNC periodic|batch            (default: periodic)
#   CQL_JAVA_OPTS  extra JVM flags; for short functional tests
#              "-Dcassandra.unsafesystem=true -XX:TieredStopAtLevel=1" starts faster
#              (no fsync of system tables, no optimizing compiler: not for timings)
set -euo pipefail

[[ $# -gt 0 ]] || { sed -n '2,28p' "${BASH_SOURCE[0]}"; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CQL_HOME=${CQL_HOME:-$here/../../target/cassandra}
CQL_PORT=${CQL_PORT:-9042}
CQL_STORAGE_PORT=${CQL_STORAGE_PORT:-7000}
CQL_HEAP=${CQL_HEAP:-512m}
CQL_START_TIMEOUT=${CQL_START_TIMEOUT:-120}
CQL_COMMITLOG_SYNC=${CQL_COMMITLOG_SYNC:-periodic}
CQL_CLUSTER=${CQL_CLUSTER:-opencredits-test}
mkdir -p "$CQL_HOME"
CQL_HOME=$(cd "$CQL_HOME" && pwd)
lib=${CQL_LIB:-$CQL_HOME/lib}

die() { echo "cassandra.sh: $*" >&2; exit 1; }

# JDK 17 is the newest that Cassandra 5.0 supports; prefer it over a newer default.
find_java() {
  local c
  for c in "${CQL_JAVA_HOME:-}" /usr/lib/jvm/java-17-openjdk-* /usr/lib/jvm/temurin-17-* "${JAVA_HOME:-}"; do
    if [[ -n $c && -x $c/bin/java ]]; then echo "$c/bin/java"; return; fi
  done
  command -v java || die "no java found (apt-get install openjdk-17-jre-headless)"
}

node_dir() { echo "$CQL_HOME/node$1"; }
node_ip() { echo "127.0.0.$1"; }

# Evenly spaced Murmur3 tokens: one token per node makes start-up and ownership predictable.
node_token() { # index, count
  case "$2:$1" in
    1:1) echo 0 ;;
    2:1) echo -9223372036854775808 ;; 2:2) echo 0 ;;
    3:1) echo -9223372036854775808 ;; 3:2) echo -3074457345618258603 ;; 3:3) echo 3074457345618258602 ;;
    *) die "1 to 3 nodes" ;;
  esac
}

node_pid() { # prints the pid only while it really is this node's JVM
  local pidfile pid
  pidfile=$(node_dir "$1")/pid
  [[ -s $pidfile ]] || return 1
  pid=$(<"$pidfile")
  grep -qzxF -- "-Dopencredits.node=$(node_dir "$1")" "/proc/$pid/cmdline" 2>/dev/null || return 1
  echo "$pid"
}

# A port that the kernel also hands to outgoing connections can be taken, or even connect to itself
# while we poll it, before the node binds it.
check_ports() {
  local low p
  low=$(cut -f1 /proc/sys/net/ipv4/ip_local_port_range)
  for p in "$CQL_PORT" "$CQL_STORAGE_PORT"; do
    ((p < low)) || die "port $p lies in the kernel's ephemeral range (from $low); choose a lower one"
  done
}

cmd_resolve() {
  local stamp=$lib/.stamp want
  want=$(sha256sum "$here/pom.xml" | cut -d' ' -f1)
  if [[ ! -f $stamp || $(<"$stamp") != "$want" ]]; then
    rm -rf "$lib"
    mvn -B -q -ntp -f "$here/pom.xml" ${CQL_M2:+-Dmaven.repo.local="$CQL_M2"} \
      dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$lib"
    # Other platforms' native libraries are never loaded here.
    rm -f "$lib"/*-osx-*.jar "$lib"/*-windows-*.jar "$lib"/*kqueue*.jar "$lib"/*macos*.jar
    echo "$want" >"$stamp"
  fi
}

classpath() { # conf dir
  local jars
  jars=$(printf '%s\n' "$lib"/*.jar | LC_ALL=C sort | paste -sd: -)
  echo "$jars:$1"
}

write_conf() { # index, count
  local i=$1 n=$2 d ip
  d=$(node_dir "$i"); ip=$(node_ip "$i")
  mkdir -p "$d/conf" "$d/logs" "$d/tmp"
  local sync="commitlog_sync: periodic
commitlog_sync_period: 1000ms"
  [[ $CQL_COMMITLOG_SYNC == batch ]] && sync="commitlog_sync: batch"
  cat >"$d/conf/cassandra.yaml" <<YAML
cluster_name: $CQL_CLUSTER
num_tokens: 1
initial_token: $(node_token "$i" "$n")
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "$(node_ip 1):$CQL_STORAGE_PORT"
listen_address: $ip
storage_port: $CQL_STORAGE_PORT
rpc_address: $ip
start_native_transport: true
native_transport_port: $CQL_PORT
authenticator: AllowAllAuthenticator
authorizer: AllowAllAuthorizer
data_file_directories: ["$d/data"]
commitlog_directory: $d/commitlog
saved_caches_directory: $d/saved_caches
hints_directory: $d/hints
cdc_enabled: false
$sync
commitlog_segment_size: 16MiB
commitlog_total_space: 256MiB
commitlog_disk_access_mode: legacy
disk_access_mode: standard
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
memtable_allocation_type: heap_buffers
memtable_flush_writers: 1
key_cache_size: 8MiB
file_cache_size: 32MiB
networking_cache_size: 32MiB
concurrent_reads: 32
concurrent_writes: 32
concurrent_compactors: 1
compaction_throughput: 64MiB/s
auto_snapshot: false
incremental_backups: false
dynamic_snitch: false
hinted_handoff_enabled: true
max_hints_delivery_threads: 1
paxos_variant: v2
read_request_timeout: 5s
range_request_timeout: 10s
write_request_timeout: 5s
cas_contention_timeout: 5s
request_timeout: 10s
YAML
  cat >"$d/conf/logback.xml" <<'XML'
<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>${cassandra.logdir}/system.log</file>
    <encoder><pattern>%-5level [%thread] %date{ISO8601} %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
XML
}

jvm_args() { # index -> array JVM
  local i=$1 d
  d=$(node_dir "$i")
  JVM=(
    "-Dopencredits.node=$d"
    "-Xms$CQL_HEAP" "-Xmx$CQL_HEAP" -Xss256k
    -XX:+UseSerialGC
    -XX:MaxDirectMemorySize=256m -XX:+ExitOnOutOfMemoryError
    -XX:-UsePerfData
    "-javaagent:$(ls "$lib"/jamm-*.jar)"
    -Djdk.attach.allowAttachSelf=true
    -Dio.netty.tryReflectionSetAccessible=true
    -Dio.netty.allocator.useCacheForAllThreads=true
    -Dio.netty.allocator.maxOrder=11
    -Djna.nosys=true -Djava.io.tmpdir="$d/tmp" -Djna.tmpdir="$d/tmp"
    -Dlogback.configurationFile="$d/conf/logback.xml"
    -Dcassandra.logdir="$d/logs"
    -Dcassandra.config="file://$d/conf/cassandra.yaml"
    -Dcassandra.storagedir="$d"
    -Dcassandra.superuser_setup_delay_ms=0
    -Dcassandra.skip_wait_for_gossip_to_settle=0
    -Dcassandra.ring_delay_ms=2000
    -Dcassandra.triggers_dir="$d/tmp"
  )
  local x
  for x in java.base/jdk.internal.misc java.base/java.lang.ref java.base/sun.nio.ch \
    java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry \
    java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc \
    jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach; do
    JVM+=("--add-exports=$x=ALL-UNNAMED")
  done
  for x in java.base/java.io java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect \
    java.base/java.util java.base/sun.nio.ch java.base/jdk.internal.loader java.base/jdk.internal.ref \
    java.base/jdk.internal.reflect java.base/jdk.internal.math java.base/jdk.internal.module \
    java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal \
    jdk.compiler/com.sun.tools.javac; do
    JVM+=("--add-opens=$x=ALL-UNNAMED")
  done
  # shellcheck disable=SC2206
  JVM+=(${CQL_JAVA_OPTS:-})
}

launch() { # index
  local i=$1 d java cp fd
  d=$(node_dir "$i"); java=$(find_java)
  jvm_args "$i"
  cp=$(classpath "$d/conf")
  (
    # The node outlives this script: keep no descriptor of the caller's (a lock, a pipe) open in it.
    for fd in /proc/self/fd/*; do fd=${fd##*/}; ((fd > 2)) && eval "exec $fd>&-" 2>/dev/null; done
    exec setsid "$java" "${JVM[@]}" -cp "$cp" org.apache.cassandra.service.CassandraDaemon
  ) </dev/null >"$d/logs/stdout.log" 2>&1 &
  echo $! >"$d/pid"
}

cql_open() { (exec 3<>"/dev/tcp/$(node_ip "$1")/$CQL_PORT") 2>/dev/null; }

wait_cql() { # index
  local i=$1 d deadline
  d=$(node_dir "$i"); deadline=$((SECONDS + CQL_START_TIMEOUT))
  until cql_open "$i"; do
    if ! kill -0 "$(<"$d/pid")" 2>/dev/null; then
      tail -n 30 "$d/logs/stdout.log" "$d/logs/system.log" >&2 2>/dev/null || true
      die "node $i died while starting"
    fi
    ((SECONDS < deadline)) || { tail -n 30 "$d/logs/system.log" >&2; die "node $i: no CQL after ${CQL_START_TIMEOUT}s"; }
    sleep 0.1
  done
}

cmd_up() {
  local n=${1:-1} i
  check_ports
  cmd_resolve
  for ((i = 1; i <= n; i++)); do
    node_pid "$i" >/dev/null && die "node $i already runs (cassandra.sh down)"
    (exec 3<>"/dev/tcp/$(node_ip "$i")/$CQL_PORT") 2>/dev/null && die "port $CQL_PORT on $(node_ip "$i") is taken"
  done
  # One after another: two nodes that join at the same moment can collide.
  for ((i = 1; i <= n; i++)); do
    write_conf "$i" "$n"; launch "$i"; wait_cql "$i"
  done
  echo "$n" >"$CQL_HOME/nodes"
  cmd_env
}

end_node() { # index, signal
  local pid
  pid=$(node_pid "$1") || return 0
  kill -CONT "$pid" 2>/dev/null || true
  kill "-$2" "$pid"
  local deadline=$((SECONDS + 30))
  while node_pid "$1" >/dev/null; do
    ((SECONDS < deadline)) || { kill -KILL "$pid" 2>/dev/null || true; }
    sleep 0.1
  done
  rm -f "$(node_dir "$1")/pid"
}

cmd_down() { local i; for i in 3 2 1; do end_node "$i" TERM; done; }
cmd_wipe() { cmd_down; rm -rf "$CQL_HOME"/node[123] "$CQL_HOME/nodes"; }

cmd_env() {
  local i out=""
  for i in 1 2 3; do [[ -f $(node_dir "$i")/pid ]] && out+="${out:+,}$(node_ip "$i"):$CQL_PORT"; done
  echo "CQL_NODES=$out"
}

cmd_status() {
  local i pid
  for i in 1 2 3; do
    [[ -d $(node_dir "$i") ]] || continue
    if pid=$(node_pid "$i"); then
      echo "node$i $(node_ip "$i"):$CQL_PORT pid $pid rss_kb $(awk '/VmRSS/{print $2}' "/proc/$pid/status") cql $(cql_open "$i" && echo up || echo down)"
    else
      echo "node$i stopped"
    fi
  done
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The caller holds our input open for as long as it lives, however it ends.
cmd_serve() {
  cmd_resolve
  CQL_HOME=$(mktemp -d "${TMPDIR:-/tmp}/cassandra.XXXXXX")
  trap 'cmd_wipe; rm -rf "$CQL_HOME"' EXIT
  while :; do
    CQL_PORT=$((10000 + RANDOM % 10000))
    CQL_STORAGE_PORT=$((CQL_PORT + 10000))
    if port_is_free "$CQL_PORT" && port_is_free "$CQL_STORAGE_PORT"; then break; fi
  done
  cmd_up 1
  cat >/dev/null
}

signal_node() { local pid; pid=$(node_pid "$1") || die "node $1 does not run"; kill "-$2" "$pid"; }

case "${1:-}" in
  resolve) cmd_resolve ;;
  up) cmd_up "${2:-1}" ;;
  down) cmd_down ;;
  wipe) cmd_wipe ;;
  start-node) node_pid "$2" >/dev/null && die "node $2 already runs"; launch "$2"; wait_cql "$2" ;;
  stop-node) end_node "$2" TERM ;;
  kill-node) end_node "$2" KILL ;;
  pause-node) signal_node "$2" STOP ;;
  resume-node) signal_node "$2" CONT ;;
  status) cmd_status ;;
  env) cmd_env ;;
  serve) cmd_serve ;;
  *) die "unknown command $1 (run it with none for help)" ;;
esac
