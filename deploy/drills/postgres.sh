#!/usr/bin/env bash
# The PostgreSQL drill: a database loses its site in full flow, goes on at the other one, and comes home.
#
# Three nodes on this machine, two sites and a relay; PostgreSQL runs on ext4 on the export of the site that serves. The client
# writes down each commit that was acknowledged to it. After the loss of the site, and again at home, every one of them must be
# there, with its content. Nothing outside a folder of its own is touched, and everything it starts ends with it.
#
#   sudo deploy/drills/postgres.sh
#
# Needs root (it mounts), /dev/fuse, nbdfuse (libnbd-bin), PostgreSQL (postgresql) and midspan and midspand in PATH.
#
#   MIDSPAN_BIN    folder of midspan and midspand
#   PG_BIN         folder of postgres and initdb; by default the newest in /usr/lib/postgresql
#   PG_USER        who runs PostgreSQL, which refuses root; by default postgres
#   DRILL_SECONDS  how long the client writes at each place; by default 4
#   DRILL_PORTS    three ports of 127.0.0.1 for the nodes; by default "17101 17102 17103"
#   DRILL_KEEP     set: the folder stays
set -euo pipefail

readonly group=drill workers=4 seconds=${DRILL_SECONDS:-4} user=${PG_USER:-postgres} limit=60
read -r -a ports <<<"${DRILL_PORTS:-17101 17102 17103}"
PATH=${MIDSPAN_BIN:+$(realpath "$MIDSPAN_BIN"):}$PATH:/usr/sbin:/sbin

say() { printf '%s  %s\n' "$(date -u +%T)" "$*"; }
die() { printf 'postgres.sh: %s\n' "$*" >&2; exit 1; }

# ---- What it needs ------------------------------------------------------------------------------------------------------

[[ $(id -u) == 0 ]] || die "it mounts file systems: run it as root"
[[ -e /dev/fuse ]] || die "there is no /dev/fuse: load the kernel module fuse"
for program in midspan midspand nbdfuse nbdinfo losetup mkfs.ext4 fsck.ext4 runuser setpriv pgrep; do
    command -v "$program" >/dev/null || die "there is no $program (Debian: libnbd-bin, mount, e2fsprogs, util-linux, procps; MIDSPAN_BIN for ours)"
done
pg=${PG_BIN:-$(find /usr/lib/postgresql -maxdepth 2 -name bin -type d 2>/dev/null | sort -V | tail -n 1)}
[[ -x $pg/postgres ]] || die "there is no PostgreSQL in /usr/lib/postgresql (Debian: postgresql): PG_BIN names another folder"
id "$user" >/dev/null 2>&1 || die "there is no user $user to run PostgreSQL: PG_USER names another one"

dir=$(mktemp -d "${TMPDIR:-/tmp}/midspan-drill.XXXXXX")
chmod 755 "$dir"
cd "$dir"
mkdir run
chown "$user" run
declare -A node=() fuse=() device=()
site="" mounted="" postmaster="" clients=()

# ---- The end, however it comes -----------------------------------------------------------------------------------------

clean() {
    local result=$? name
    set +e
    kill "${clients[@]}" 2>/dev/null
    if [[ $mounted ]]; then
        kill_postgres
        abandon
    fi
    for name in "${!node[@]}"; do kill -9 "${node[$name]}" 2>/dev/null; done
    wait 2>/dev/null
    cd /
    if [[ $result != 0 || ${DRILL_KEEP:-} ]]; then
        say "kept, with disks, configs and logs: $dir"
    else
        rm -rf "$dir"
    fi
    exit "$result"
}
trap clean EXIT
trap 'exit 130' INT TERM

# ---- Nodes -------------------------------------------------------------------------------------------------------------

config() { # NAME ID ROLE
    local name=$1 id=$2 role=$3 number=0 peer
    printf '[node]\nid = %s\nname = "%s"\nlisten = "127.0.0.1:%s"\napi = "%s.api"\njournal = "%s.journal"\nmemory = "128MiB"\n' \
        "$id" "$name" "${ports[id - 1]}" "$name" "$name"
    for peer in site-a relay site-b; do
        number=$((number + 1))
        [[ $peer == "$name" ]] ||
            printf '\n[[peer]]\nid = %s\nname = "%s"\naddress = "127.0.0.1:%s"\n' "$number" "$peer" "${ports[number - 1]}"
    done
    printf '\n[[group]]\nid = 1\nname = "%s"\nrole = "%s"\ninitial = "equal"\nsites = [1, 3]\nlanes = [{ id = 0, node = 2 }]\nring = "128MiB"\n' \
        "$group" "$role"
    [[ $role != relay ]] || return 0
    printf '\n[[group.volume]]\nid = 1\nname = "db"\npath = "%s.db"\n' "$name"
    printf '\n[nbd]\nlisten = ["unix:%s.nbd"]\n\n[[export]]\nname = "db"\nvolume = "%s/db"\n' "$name" "$group"
}

start() { # NAME
    midspand --config "$1.toml" 2>>"$1.log" &
    node[$1]=$!
}

ask() { # NAME COMMAND...
    local name=$1
    shift
    midspan "$@" --socket "$name.api"
}

# Looks every 100 ms until a command succeeds.
until_it() { # WHAT COMMAND...
    local what=$1 end=$((SECONDS + limit))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || die "waited $limit s in vain: $what"
        sleep 0.1
    done
}

paired() { ask site-a status --check && ask site-b status --check && ask relay status --check; }

# ---- An export as a disk -----------------------------------------------------------------------------------------------

gone() { [[ ! -d /proc/$1 ]]; }

attach() { # NAME: its export becomes a disk
    site=$1
    mkdir -p "$site.fuse" "$site.tree"
    local uri="nbd+unix:///db?socket=$dir/$site.nbd"
    until_it "hosts should be served at $site" nbdinfo --size "$uri"
    nbdfuse "$site.fuse/disk" "$uri" 2>>"$site.fuse.log" &
    fuse[$site]=$!
    # How it ends behind a lost site is nobody's business.
    disown
    until_it "nbdfuse should show the export of $site" test -e "$site.fuse/disk"
    device[$site]=$(losetup --direct-io=on --find --show "$site.fuse/disk")
    mounted=$site
}

detach() { # in order
    umount "$site.tree"
    losetup --detach "${device[$site]}"
    # The kernel lets go of the device's file a moment after it was detached.
    until_it "the export of $site should be in use by nobody" umount "$site.fuse"
    until_it "nbdfuse should end at $site" gone "${fuse[$site]}"
    mounted=""
}

# Behind a lost site nothing can be written back: what is there is taken away lazily.
abandon() {
    umount --lazy "$site.tree" 2>/dev/null || true
    losetup --detach "${device[$site]}" 2>/dev/null || true
    umount --lazy "$site.fuse" 2>/dev/null || true
    kill "${fuse[$site]}" 2>/dev/null || true
    mounted=""
}

# ---- PostgreSQL --------------------------------------------------------------------------------------------------------

as_user() { runuser -u "$user" -- "$@"; }

# As a child of this shell: the shell knows when it is gone.
start_postgres() {
    mount -t ext4 "${device[$site]}" "$site.tree"
    [[ -d $site.tree/data ]] || {
        chown "$user" "$site.tree"
        as_user "$pg/initdb" --pgdata "$site.tree/data" --auth trust --encoding UTF8 --locale C >initdb.log
    }
    setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups "$pg/postgres" -D "$site.tree/data" -k "$dir/run" \
        -c listen_addresses= -c max_wal_size=128MB >>"$site.postgres.log" 2>&1 &
    postmaster=$!
    until_it "PostgreSQL should serve at $site, see $dir/$site.postgres.log" "$pg/pg_isready" -h "$dir/run"
}

stop_postgres() {
    kill -s INT "$postmaster"
    wait "$postmaster"
}

# On a lost disk it cannot even end by itself.
kill_postgres() {
    local children
    [[ $postmaster ]] || return 0
    children=$(pgrep --parent "$postmaster" || true)
    # shellcheck disable=SC2086
    kill -9 "$postmaster" $children 2>/dev/null || true
    wait "$postmaster" 2>/dev/null || true
}

sql() { as_user "$pg/psql" -h "$dir/run" -d postgres -qAtX -v ON_ERROR_STOP=1 "$@"; }

# A client: one commit after the other; what was acknowledged is written down after its acknowledgement.
client() { # NUMBER
    local first=$(($(tail -n 1 "acknowledged.$1" 2>/dev/null || echo 0) + 1000000))
    seq "$first" $((first + 900000)) |
        sed "s/.*/INSERT INTO kept VALUES ($1, &, md5('$1:&'));\n\\\\echo &/" |
        sql >>"acknowledged.$1" 2>>clients.log || true
}

write() {
    local number
    clients=()
    for ((number = 1; number <= workers; number++)); do
        client "$number" &
        clients+=($!)
    done
    as_user "$pg/pgbench" -h "$dir/run" -n -c 2 -T 600 postgres >>pgbench.log 2>&1 &
    clients+=($!)
}

# Ends the sessions of the clients, as an administrator would, and waits for them.
hush() {
    until_it "the clients should end" sh_hush
    wait "${clients[@]}" || true
    clients=()
}

sh_hush() {
    sql -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    sleep 0.2
    [[ -z $(jobs -rp | grep -Fx "$(printf '%s\n' "${clients[@]}")") ]]
}

# Every acknowledged commit is there by content; pgbench's books balance; tables and indexes are whole.
verify() {
    local number acknowledged missing sums
    {
        echo "CREATE TEMP TABLE told (worker int, id bigint);"
        for ((number = 1; number <= workers; number++)); do
            echo "\\copy told FROM PROGRAM 'sed \"s/^/$number\\t/\" $dir/acknowledged.$number'"
        done
        echo "SELECT count(*), count(*) FILTER (WHERE kept.body IS DISTINCT FROM md5(told.worker || ':' || told.id)) FROM told LEFT JOIN kept USING (worker, id);"
    } >verify.sql
    IFS='|' read -r acknowledged missing < <(sql -f "$dir/verify.sql") ||
        die "PostgreSQL at $site cannot say what it holds, see $dir/$site.postgres.log"
    say "at $site: $acknowledged commits acknowledged, lost: $missing"
    [[ $missing == 0 ]] || die "$missing acknowledged commits are missing at $site"
    ((acknowledged > 0)) || die "nothing was acknowledged"
    last=$acknowledged
    sums=$(sql -c "SELECT count(DISTINCT sum) FROM (SELECT sum(abalance) FROM pgbench_accounts UNION ALL SELECT sum(bbalance) FROM pgbench_branches UNION ALL SELECT sum(tbalance) FROM pgbench_tellers UNION ALL SELECT sum(delta) FROM pgbench_history) AS books")
    [[ $sums == 1 ]] || die "the books of pgbench do not balance at $site"
    PGOPTIONS="-c client_min_messages=warning" as_user "$pg/pg_amcheck" -h "$dir/run" --install-missing --heapallindexed postgres ||
        die "tables or indexes are damaged at $site"
    say "at $site: pgbench's books balance, tables and indexes are whole"
}

# ---- The drill ---------------------------------------------------------------------------------------------------------

config site-a 1 primary >site-a.toml
config relay 2 relay >relay.toml
config site-b 3 secondary >site-b.toml
midspan config check site-a.toml relay.toml site-b.toml >/dev/null
for name in site-a relay site-b; do midspan volume create "$name.journal" --size 160MiB >/dev/null; done
for name in site-a site-b; do
    midspan volume create "$name.db" --size 512MiB >/dev/null
    midspan site format --config "$name.toml" >/dev/null
done
midspan relay format --config relay.toml >/dev/null
for name in relay site-b site-a; do start "$name"; done
until_it "the sites should be paired" paired
say "two sites and a relay run: paired"

attach site-a
mkfs.ext4 -q "${device[$site]}"
start_postgres
sql -c "CREATE TABLE kept (worker int, id bigint, body text, PRIMARY KEY (worker, id))"
as_user "$pg/pgbench" -h "$dir/run" -i -q -s 1 postgres >pgbench.log 2>&1
write
sleep "$seconds"

say "site-a is lost in full flow"
kill -9 "${node[site-a]}"
wait "${node[site-a]}" 2>/dev/null || true
unset "node[site-a]"
sleep 0.2
kill_postgres
wait "${clients[@]}" || true
clients=()
abandon

said=$(ask site-b takeover "$group" --yes)
printf '%s\n' "$said" | sed 's/^/    /'
[[ $said == *"answered writes lost: 0"* ]] || die "the takeover does not say that nothing is lost"
attach site-b
start_postgres
verify
write
sleep "$seconds"

say "site-a comes back while the database goes on"
start site-a
until_it "the sites should be paired again" paired
say "paired again: $(ask site-b events "$group" --output json | grep -o 'round [0-9]* ended after [0-9]* ms' | tail -n 1)"
hush
verify
stop_postgres || die "PostgreSQL does not stop at site-b"
detach

ask site-b failback "$group" --yes | sed 's/^/    /'
attach site-a
start_postgres
verify
write
sleep 1
hush
verify
stop_postgres || die "PostgreSQL does not stop at site-a"
umount "$site.tree"
fsck.ext4 -f -n "${device[$site]}" >fsck.log 2>&1 || die "fsck finds something at site-a, see $dir/fsck.log"
mount -t ext4 "${device[$site]}" "$site.tree"
detach
say "home again: $last commits were acknowledged, and each of them is there"
