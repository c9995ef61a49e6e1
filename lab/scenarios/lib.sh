# SPDX-License-Identifier: MIT OR Apache-2.0
# What scenarios use. A failed expectation says what was wanted and what was seen, and ends the scenario.
OUT=/tmp/scenario-output
KO=/lab/modules

fail() { echo "FAILED: $*"; exit 1; }
note() { echo "-- $*"; }

# expect_status STATUS COMMAND…: runs it; its output is shown and kept for expect_text.
expect_status() {
  wanted=$1; shift
  echo "\$ $*"
  "$@" > $OUT 2>&1
  got=$?
  cat $OUT
  [ $got -eq $wanted ] || fail "status $got and not $wanted from: $*"
}
# expect_text TEXT…: the last output holds each.
expect_text() { for text in "$@"; do grep -qF -e "$text" $OUT || fail "no \"$text\" in the output above"; done; }
expect_no_text() { for text in "$@"; do ! grep -qF -e "$text" $OUT || fail "\"$text\" in the output above"; done; }
# expect_equal WHAT GOT WANTED
expect_equal() { [ "$2" = "$3" ] || fail "$1 is \"$2\" and not \"$3\""; echo "-- $1: $2"; }

# now_ms: milliseconds since dom0 was booted, in steps of ten. Read once: two reads would not be of the same second.
now_ms() { read up_ idle_ < /proc/uptime; echo $((${up_%.*}${up_#*.} * 10)); }

# wait_for SECONDS WHAT COMMAND…: until the command succeeds.
wait_for() {
  seconds=$1; what=$2; shift 2
  until_=$(($(cut -d. -f1 /proc/uptime) + seconds))
  until "$@" > /dev/null 2>&1; do
    [ $(cut -d. -f1 /proc/uptime) -lt $until_ ] || fail "$what: not within $seconds s"
    usleep 200000
  done
}

# mark_log DOM remembers where the guest's console log ends; new_log DOM prints what came since.
mark_log() { guest-log $1 | wc -l > /tmp/log-mark.$1; }
new_log() { guest-log $1 | tail -n +$(($(cat /tmp/log-mark.$1) + 1)); }
log_has() { new_log $1 | grep -qF -e "$2"; }
expect_log() { wait_for 15 "\"$2\" in the console log of guest $1" log_has "$1" "$2"; echo "-- guest $1 said: $2"; }

# The guest's own word on a module: whether its kernel has it.
has_module() { guest $1 "grep -q '^$2 ' /proc/modules"; }
expect_module() { has_module $1 $2 || fail "guest $1 has no module $2"; }
expect_no_module() { ! has_module $1 $2 || fail "guest $1 has module $2"; }

# check_works DOM: a load and an unload go through; used after each mishap.
check_works() {
  expect_status 0 vesper insmod $1 $KO/answer.ko answer=7
  expect_status 0 vesper rmmod $1 answer
}

# The daemon of this dom0: its process, and how it is started anew (more options as arguments; $VESPERD: another one).
daemon() { cat /run/vesperd.pid; }
start_daemon() {
  ${VESPERD:-vesperd} "$@" >> /var/log/vesperd.log 2>&1 &
  echo $! > /run/vesperd.pid
  wait_for 15 "vesperd's answer" vesper list
}
stop_daemon() {
  pid_=$(daemon)
  kill ${1:--TERM} $pid_
  wait_for 15 "the end of vesperd" sh -c "! kill -0 $pid_"
}
# connected DOM: whether VESPER's device of the guest is connected on both sides.
connected() {
  id_=$(domid $1) || return 1
  [ "$(xenstore-read /local/domain/0/backend/vesper/$id_/0/state)" = 4 ] &&
    [ "$(xenstore-read /local/domain/$id_/device/vesper/0/state)" = 4 ]
}
domid() { case $1 in *[!0-9]*) xl domid $1 ;; *) echo $1 ;; esac; }

# For a guest's shell, behind `sleep N &`: until the new process has the name of its program, which a busy machine lets wait.
named='until [ "$(cat /proc/$!/comm)" = sleep ]; do usleep 50000; done'

# What must come back to where it was: active grants and event channels of a guest, xenstore nodes of its device, the
# daemon's descriptors. One line.
usage() {
  xl dmesg -c > /dev/null
  xl debug-keys g
  grants_=$(xl dmesg | awk -v guest="d$1" '/grant-table for remote/ { mine = ($0 ~ "remote " guest "[ (]") } mine && /^\(XEN\) *\[0x/ { n++ } END { print n + 0 }')
  ports_=$(lsevtchn $1 2> /dev/null | grep -c .)
  own_=$(lsevtchn 0 2> /dev/null | grep -c .)
  nodes_=$(xenstore-ls /local/domain/$1/device/vesper 2> /dev/null | grep -c .)
  back_=$(xenstore-ls /local/domain/0/backend/vesper 2> /dev/null | grep -c .)
  # The connection of the command before may not be closed yet.
  files_=
  until now_=$(ls /proc/$(daemon)/fd | grep -c .) && [ "$files_" = $now_ ]; do files_=$now_; usleep 500000; done
  echo "grants=$grants_ ports=$ports_ dom0-ports=$own_ nodes=$nodes_ backend-nodes=$back_ descriptors=$files_"
}

# What guests record. start_tail FILE ARGUMENT…: `vesper tail` in the background, as JSON, into FILE.
start_tail() {
  tail_=$1; shift
  vesper tail --follow --format json "$@" > $tail_ 2> $tail_.err &
  tail_pid=$!
}
# has_line FILE TEXT…: one line of the file holds all of them.
has_line() {
  found_=$(cat $1); shift
  for text_ in "$@"; do found_=$(printf '%s\n' "$found_" | grep -F -e "$text_") || return 1; done
}
# expect_line SECONDS FILE TEXT…: within that time.
expect_line() {
  limit_=$1; file_=$2; shift 2
  until_=$(($(cut -d. -f1 /proc/uptime) + limit_))
  until has_line $file_ "$@"; do
    if [ $(cut -d. -f1 /proc/uptime) -ge $until_ ]; then
      tail -n 20 $file_ | cut -c1-600; cat $file_.err 2> /dev/null
      fail "no line with $* within $limit_ s"
    fi
    usleep 50000
  done
  echo "-- seen: $*"
}
# field NAME LINE…: the number or word that a JSON line has under that name.
field() { name_=$1; shift; printf '%s\n' "$*" | sed -n "s/.*\"$name_\":\"\\{0,1\\}\\([^,\"}]*\\).*/\\1/p" | head -n 1; }
# written: records that the channels of guest 1 were given, those that found no room included, by the guest's own count.
written() { vesper channels 1 --json | grep -o '"records":[0-9]*' | cut -d: -f2 | awk '{ n += $1 } END { print n + 0 }'; }
# refused: those of them that found no room.
refused() { vesper channels 1 --json | grep -o '"dropped":[0-9]*' | cut -d: -f2 | awk '{ n += $1 } END { print n + 0 }'; }

# Pacemaker in dom0 (scenarios that need `cluster`, after /lab/cluster/setup): in_cluster COMMAND…
in_cluster() { chroot /cluster env PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
# agent ACTION GUEST: the guest's agent, as a recurring operation.
agent() {
  in_cluster env OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE=$2 OCF_RESKEY_xmfile=/etc/xen/$2.cfg OCF_RESKEY_CRM_meta_interval=10000 \
    OCF_RESKEY_CRM_meta_timeout=60000 /usr/lib/ocf/resource.d/${AGENT:-vesper/guest} $1
}
# operations ID INTERVAL: of a resource. Their time is for an emulated machine.
operations() {
  echo "<operations><op id='$1-start' name='start' interval='0' timeout='180s'/><op id='$1-stop' name='stop' interval='0' timeout='120s'/>
    <op id='$1-monitor' name='monitor' interval='$2' timeout='60s'/>
    <op id='$1-asyncmon' name='asyncmon' interval='0' timeout='60s' on-fail='restart'/></operations>"
}
# add_guests NAME…: guests as resources of the cluster; they run already.
add_guests() {
  for name_ in "$@"; do
    in_cluster cibadmin --create --scope resources --xml-text "<primitive id='$name_' class='ocf' provider='vesper' type='guest'>
      <instance_attributes id='$name_-p'><nvpair id='$name_-x' name='xmfile' value='/etc/xen/$name_.cfg'/>
      <nvpair id='$name_-s' name='shutdown_timeout' value='30'/></instance_attributes>
      $(operations $name_ 10s)</primitive>" || fail "cibadmin"
    wait_for 120 "resource $name_ in state Started" cluster_shows "$name_.*Started"
  done
}
# add_service NAME GUEST…: a service that may be in these guests as a resource; what is to be done about it, /run/control has.
add_service() {
  service_=$1; shift
  printf '#!/bin/sh\necho "$@" >> /run/control\n' > /cluster/usr/local/sbin/control
  chmod 755 /cluster/usr/local/sbin/control
  in_cluster cibadmin --create --scope resources --xml-text "<primitive id='$service_' class='ocf' provider='vesper' type='service'>
    <instance_attributes id='$service_-p'><nvpair id='$service_-g' name='guests' value='$*'/>
    <nvpair id='$service_-c' name='control' value='/usr/local/sbin/control'/></instance_attributes>
    $(operations $service_ 10s)</primitive>" || fail "cibadmin"
  wait_for 120 "resource $service_ in state Started" cluster_shows "$service_.*Started"
}
# load_host: dom0 has no CPU, memory or disk to spare, and vesperd is last in the queue and at times does not run at all; until unload_host.
load_host() {
  # Each of its threads: a priority is a thread's.
  for thread_ in /proc/$(daemon)/task/*; do renice 19 -p ${thread_##*/} || fail "renice"; done
  load_=
  for n_ in 1 2 3; do
    sh -c 'while :; do :; done' &
    load_="$load_ $!"
  done
  sh -c 'while :; do dd if=/dev/zero of=/cluster/load bs=1M count=64 conv=fsync; done' > /dev/null 2>&1 &
  load_="$load_ $!"
  # All memory but 160 MiB.
  free_=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) - 160 }' /proc/meminfo)
  mkdir -p /tmp/load
  mount -t tmpfs -o size=100% load /tmp/load
  dd if=/dev/zero of=/tmp/load/load bs=1M count=$free_ || fail "memory"
  grep -E 'MemAvailable|SwapTotal' /proc/meminfo
  while :; do
    kill -STOP $(daemon)
    sleep 4
    kill -CONT $(daemon)
    sleep 6
  done &
  load_="$load_ $!"
}
unload_host() {
  kill $load_
  kill -CONT $(daemon)
  umount /tmp/load
  rm -f /cluster/load
}
# start_cluster NAME…: guests that are attached by themselves and have the probe panic become resources of a cluster.
start_cluster() {
  stop_daemon
  start_daemon --auto-attach
  for name_ in "$@"; do
    wait_for 30 "the device of guest $name_" connected $name_
    expect_status 0 vesper probe $name_ panic
  done
  expect_status 0 /lab/cluster/setup
  add_guests "$@"
}
cluster_shows() { in_cluster crm_mon -1rfA | grep -q -e "$1"; }
# pushes: how often the hook has failed a guest.
pushes() { grep -c 'failed g[12] on dom0' /var/log/vesperd.log; }
# expect_no_alarm WHEN: nothing has failed, by vesperd's word, the hook's and Pacemaker's.
expect_no_alarm() {
  expect_status 0 vesper --json events
  expect_no_text '"failed":' '"severity":"error"' '"severity":"fatal"'
  expect_equal "pushes $1" "$(pushes)" 0
  expect_status 0 in_cluster crm_mon -1rfA
  expect_no_text "Failed Resource Actions" "fail-count"
}
# link_push: vesperd's hook for all that fails.
link_push() {
  mkdir -p /etc/vesper/hooks.d/failed.d
  printf '#!/bin/sh\nexec chroot /cluster /usr/lib/vesper/hooks/push\n' > /etc/vesper/hooks.d/failed.d/50-pacemaker
  chmod 755 /etc/vesper/hooks.d/failed.d/50-pacemaker
}
# expect_event GUEST KIND TEXT…: vesperd has told such an event of the guest.
expect_event() {
  guest_=$1 kind_=$2; shift 2
  wait_for 15 "event $kind_ with $*" told_event "$@"
  note "event: $kind_ $*"
}
told_event() { vesper --json events $guest_ > $OUT 2>&1 && has_line $OUT "\"event\":\"$kind_\"" "$@"; }
