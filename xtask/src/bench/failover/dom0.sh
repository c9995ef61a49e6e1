# SPDX-License-Identifier: MIT OR Apache-2.0
# What the failover benchmark does in dom0, after these are set: PLAN, a line "COLUMN MONITOR ROW NUMBER CLASS LIMIT" for each repetition, where LIMIT are
# the seconds after which it is given up, or for which what must not fail over lasts; NODE, dom0 of the one host, or a or b of two. A
# web server in g1 and one in g2, an address that leads to one of them, and a client. Of two hosts a has g1, the client, and all that is done and measured; b
# has g2, and ends when a is gone. Of each repetition a line
#   @result COLUMN ROW NUMBER T0 TOLD KNEW ANSWERED LOST CAUSE SOURCE
# with times in microseconds since 1970 by dom0's clock, "-" for what did not happen; SOURCE is "record" if T0 is of the guest's own, else "other". Or, after TRIES of which none counts,
#   @refused COLUMN ROW NUMBER: WHY
. /lab/scenarios/lib.sh
SERVICE=10.0.9.1
RUN=/run/bench
HOOK=/etc/vesper/hooks.d/failed.d/50-pacemaker
PROBES=4
TRIES=3

two_hosts() { [ $NODE != dom0 ]; }
# The guests of this host.
case $NODE in dom0) mine="1 2" ;; a) mine=1 ;; b) mine=2 ;; esac

# --- the network: a link of its own to each guest, and the service's address, which both guests have and dom0 routes to one of them
prepare_dom0() {
  mkdir -p $RUN /etc/xen/scripts
  chmod 777 $RUN
  cat > /etc/xen/scripts/vif-bench << 'END_OF_FILE'
#!/bin/sh
if [ "$1" = online ]; then
  ip addr add $(xenstore-read $XENBUS_PATH/ip)/24 dev $vif
  ip link set $vif up
  xenstore-write $XENBUS_PATH/hotplug-status connected
fi
END_OF_FILE
  chmod 755 /etc/xen/scripts/vif-bench
  for n in $mine; do echo "vif = [ 'ip=10.0.$n.254,script=vif-bench' ]" >> /etc/xen/g$n.cfg; done
  cat > /etc/vesper/vesper.toml << 'END_OF_FILE'
[attach]
all = true
[[rule]]
guests = ["g*"]
probes = ["panic", "oom", "signal:exit names=web", "progress:stopped names=web"]
[[rule.service]]
name = "web"
process = "web"
END_OF_FILE
  # As Xen's best practices have it: a guest that spins does not keep dom0 from its work.
  xl sched-credit2 -d Domain-0 -w 512 || fail "the scheduler"
  stop_daemon
  # As on a dom0 that is no lab, vesperd has the root in which Pacemaker is: a hook need not go there first.
  for dir in /etc/vesper /var/lib/vesper /usr/lib/vesper/probes; do
    mkdir -p $dir /cluster$dir
    mount -o bind $dir /cluster$dir || fail "$dir"
  done
  cp $(command -v vesperd) /cluster/usr/sbin/vesperd
  VESPERD="chroot /cluster vesperd"
  start_daemon
  touch $RUN/events $RUN/asked $RUN/alerts
  chmod 666 $RUN/alerts
  vesper events --follow --json 2> /dev/null | failover stamp >> $RUN/events &
  # The last of the pipeline, which ends when the first does.
  listener=$!
  [ $NODE != b ] || return
  failover ask $SERVICE >> $RUN/asked &
  client=$!
}

# Over the cable to the other host also requests go to the guest there.
prepare_cable() {
  # When the address leads to no guest of a, it leads to b: also when g1's end of its link went away with g1.
  [ $NODE = b ] || { ip route add 10.0.2.0/24 via 10.0.7.2 && ip route add $SERVICE/32 via 10.0.7.2 metric 100; } || fail "the way to b"
  echo 1 > /proc/sys/net/ipv4/ip_forward
}
online() { in_cluster crm_mon -1 | grep -q "Online: .* $1 "; }

# --- guests
# renew N: another domain of that guest.
renew() {
  xl destroy g$1 2> /dev/null
  wait_for 60 "the end of g$1" sh -c "! xl domid g$1"
  xl create -q /etc/xen/g$1.cfg || fail "xl create g$1"
}
probes_in() { [ "$(vesper status g$1 --json | grep -o '"state":"in"' | grep -c .)" = $PROBES ]; }
answers() { timeout 1 failover ask 10.0.$1.1 | grep -q " g$1\$"; }
# set_up N: its network and its web server, and the probes that the rule wants.
set_up() {
  guest --wait g$1 || fail "g$1 did not come up"
  guest g$1 "ip link set lo up; ip link set eth0 up; ip addr add 10.0.$1.1/24 dev eth0; ip addr add $SERVICE/32 dev eth0
    ip route replace default via 10.0.$1.254
    pidof web || { /lab/bench/web serve g$1 < /dev/null > /dev/null 2>&1 & }" > $OUT 2>&1
  wait_for 60 "the web server in g$1" answers $1
  wait_for 90 "the probes in g$1" probes_in $1
}

# --- the cluster
prepare_node() {
  cat > /cluster/usr/local/sbin/web-address << 'END_OF_FILE'
#!/bin/sh
# start|stop|status GUEST: the service's address leads to that guest.
way="10.0.9.1/32 via 10.0.${2#g}.1"
case $1 in
start) exec ip route replace $way ;;
stop) ip route del $way 2> /dev/null; exit 0 ;;
status) ip route show 10.0.9.1 | grep -q "via 10.0.${2#g}.1 " ;;
esac
END_OF_FILE
  cat > /cluster/usr/local/sbin/note-alert << 'END_OF_FILE'
#!/bin/sh
echo "$CRM_alert_timestamp_epoch $CRM_alert_timestamp_usec $CRM_alert_rsc $CRM_alert_task $CRM_alert_interval $CRM_alert_rc $CRM_alert_desc" >> /run/bench/alerts
END_OF_FILE
  mkdir -p /cluster/usr/lib/ocf/resource.d/bench
  cat > /cluster/usr/lib/ocf/resource.d/bench/address << 'END_OF_FILE'
#!/bin/sh
# For the columns without VESPER: the service's address leads to the guest of the parameter `guest`, or to that of this one of two hosts.
case $(uname -n) in a) guest=g1 ;; b) guest=g2 ;; *) guest=$OCF_RESKEY_guest ;; esac
case $1 in
start | stop) exec /usr/local/sbin/web-address $1 $guest ;;
monitor) /usr/local/sbin/web-address status $guest || exit 7 ;;
meta-data) echo '<resource-agent name="address"><version>1.1</version><parameters><parameter name="guest" unique="0" required="0"><content type="string"/></parameter></parameters>
<actions><action name="start" timeout="20s"/><action name="stop" timeout="20s"/><action name="monitor" timeout="20s"/></actions></resource-agent>' ;;
*) exit 3 ;;
esac
END_OF_FILE
  chmod 755 /cluster/usr/local/sbin/* /cluster/usr/lib/ocf/resource.d/bench/address
}
prepare_cluster() {
  in_cluster crm_attribute --type crm_config --name maintenance-mode --update true || fail "crm_attribute"
  # Else Pacemaker does one thing after the other on a machine that is as busy as an emulated one: the guest first, and then the service.
  in_cluster crm_attribute --type crm_config --name load-threshold --update 0% || fail "crm_attribute"
  in_cluster cibadmin --create --scope configuration --xml-text "<alerts><alert id='watch' path='/usr/local/sbin/note-alert'>
    <select><select_resources/></select></alert></alerts>" || fail "the alert"
}
# The resources of $COLUMN in place of others, of which nothing is remembered. In maintenance.
load_column() {
  replace constraints "<constraints/>"
  replace resources "<resources/>"
  refresh
  replace resources "$(resources)"
  replace constraints "$(constraints)"
  in_cluster crm_verify --live-check || fail "crm_verify"
  loaded=$COLUMN
}
replace() { in_cluster cibadmin --replace --scope $1 --xml-text "$2" || fail "$1"; }
refresh() { in_cluster crm_resource --refresh > $OUT 2>&1 || { cat $OUT; fail "refresh"; }; idle; }
resources() {
  echo "<resources>"
  if [ $COLUMN = vesper ]; then
    for g in g1 g2; do echo "<primitive id='$g' class='ocf' provider='vesper' type='guest'>$(about_guest $g $g)</primitive>"; done
    # Of two hosts, b: what fails once on a goes there.
    echo "<primitive id='web' class='ocf' provider='vesper' type='service'>$(! two_hosts || threshold web)<instance_attributes id='web-p'>
      <nvpair id='web-g' name='guests' value='g1 g2'/><nvpair id='web-c' name='control' value='/usr/local/sbin/web-address'/>
      </instance_attributes>$(operations web $MONITOR)</primitive>"
  elif two_hosts; then
    echo "<clone id='vms'><primitive id='vm' class='ocf' provider='heartbeat' type='Xen'>$(threshold vm)$(about_guest vm vm)</primitive></clone>
      <primitive id='web' class='ocf' provider='bench' type='address'/>"
  else
    # One failure is enough: else the guest would be started anew, and the service with it, in its old place.
    for g in g1 g2; do echo "<primitive id='$g' class='ocf' provider='heartbeat' type='Xen'>$(threshold $g)$(about_guest $g $g)</primitive>"; done
    for n in 1 2; do
      echo "<primitive id='web$n' class='ocf' provider='bench' type='address'><instance_attributes id='web$n-p'>
        <nvpair id='web$n-g' name='guest' value='g$n'/></instance_attributes></primitive>"
    done
  fi
  echo "</resources>"
}
threshold() { echo "<meta_attributes id='$1-m'><nvpair id='$1-t' name='migration-threshold' value='1'/></meta_attributes>"; }
# about_guest RESOURCE FILE
about_guest() {
  echo "<instance_attributes id='$1-p'><nvpair id='$1-x' name='xmfile' value='/etc/xen/$2.cfg'/>
    <nvpair id='$1-s' name='shutdown_timeout' value='30'/></instance_attributes>$(operations $1 $MONITOR)"
}
constraints() {
  echo "<constraints>"
  case $COLUMN in
  vesper)
    # Each guest has its host, and the other one is not even asked.
    ! two_hosts || echo "<rsc_location id='l1' rsc='g1' node='a' score='INFINITY' resource-discovery='exclusive'/>
      <rsc_location id='l2' rsc='g2' node='b' score='INFINITY' resource-discovery='exclusive'/>"
    ;;
  *)
    if two_hosts; then
      echo "<rsc_colocation id='c1' rsc='web' with-rsc='vms' score='INFINITY'/><rsc_order id='o1' first='vms' then='web' kind='Mandatory'/>"
    else
      for n in 1 2; do
        echo "<rsc_colocation id='c$n' rsc='web$n' with-rsc='g$n' score='INFINITY'/><rsc_order id='o$n' first='g$n' then='web$n' kind='Mandatory'/>"
      done
      echo "<rsc_colocation id='c12' rsc='web2' with-rsc='web1' score='-INFINITY'/>"
    fi
    ;;
  esac
  ! two_hosts || echo "<rsc_location id='lw' rsc='web' node='a' score='10'/>"
  echo "</constraints>"
}
push_or_not() {
  mkdir -p ${HOOK%/*}
  if [ $COLUMN = vesper ]; then ln -sf /usr/lib/vesper/hooks/push $HOOK; else rm -f $HOOK; fi
}
from_g1() { [ "$(tail -n 3 $RUN/asked | grep -c ' g1$')" = 3 ]; }
idle() { in_cluster crm_resource --wait --timeout 180s || fail "the cluster does not come to rest"; }

# begin ON_CRASH: both guests well, the service in g1, nothing under way. $broken: what the repetition before left (guest, web, nothing), $was: the
# domain that it broke.
begin() {
  # Of two hosts both stop it, so that b's address leads nowhere, whatever comes next.
  if two_hosts && [ -n "$loaded" ]; then
    in_cluster crm_resource --resource web --meta --set-parameter target-role --parameter-value Stopped || fail "target-role"
    idle
  fi
  rm -f $HOOK
  in_cluster crm_attribute --type crm_config --name maintenance-mode --update true || fail "maintenance"
  # An operation that maintenance ended midway may be waited for until its history is forgotten, below.
  in_cluster crm_resource --wait --timeout 60s || note "the cluster does not say that it is at rest"
  now_=$(xl domid g1 2> /dev/null)
  if [ "$(sed -n 's/^on_crash = "\(.*\)"/\1/p' /etc/xen/g1.cfg)" != $1 ]; then
    sed -i "s/^on_crash = .*/on_crash = \"$1\"/" /etc/xen/g1.cfg
    renew 1
  elif [ "$broken" = guest ] && { [ -z "$now_" ] || [ "$now_" = "$was" ]; }; then
    renew 1
  fi
  set_up 1
  two_hosts || set_up 2
  for n in 1 2; do ip route del $SERVICE/32 via 10.0.$n.1 2> /dev/null; done
  rm -rf /run/resource-agents/vesper
  if [ "$loaded" = vesper ]; then for r in g1 g2 web; do in_cluster attrd_updater -n vesper-fault-$r -D; done; fi
  [ "$loaded" = $COLUMN ] || load_column
  refresh
  ! two_hosts || in_cluster crm_resource --resource web --meta --delete-parameter target-role || fail "target-role"
  in_cluster crm_attribute --type crm_config --name maintenance-mode --update false || fail "maintenance"
  idle
  wait_for 60 "answers of g1" from_g1
  note "all is well, the service runs in g1"
  push_or_not
}

# A kernel that a panic starts; it finds no root and reboots.
load_crash_kernel() {
  guest g1 '/lab/kexec-load /lab/vmlinuz "console=hvc0 vesper.crash-kernel nr_cpus=1 reset_devices panic=-1" && grep -q 1 /sys/kernel/kexec_crash_loaded' > $OUT 2>&1 ||
    doubt "no crash kernel in g1: $(cat $OUT)"
}

# --- faults
typed() { guest --send g1 "$1"; }
is_paused() { case $(xl list g1 | awk 'NR == 2 { print $5 }') in *p*) ;; *) return 1 ;; esac; }
# fault ROW: its status says whether the row's command was given and, where nothing in the guest ends, whether it is as the row says.
fault() {
  case $1 in
  panic-destroy | panic-preserve | panic-kdump | panic-two-hosts) typed 'echo c > /proc/sysrq-trigger' ;;
  panic-10) typed 'echo 10 > /proc/sys/kernel/panic; echo c > /proc/sysrq-trigger' ;;
  oom) typed 'kill -USR1 $(pidof web)' ;;
  sigterm) typed 'kill -TERM $(pidof web)' ;;
  sigkill) typed 'kill -KILL $(pidof web)' ;;
  sigsegv) typed 'kill -SEGV $(pidof web)' ;;
  frozen) typed /lab/freeze ;;
  # The module's init does not come back: what insmod says is shown if g1 answers all the same.
  spinning) { vesper insmod g1 $KO/frozen.ko --timeout 2; echo "insmod: status $?"; } & ;;
  xl-destroy) xl destroy g1 ;;
  paused) xl pause g1 && is_paused ;;
  load)
    hogs=; for n in 1 2 3 4; do sh -c 'while :; do :; done' & hogs="$hogs $!"; done
    kill -0 $hogs
    ;;
  load-hour) typed 'while :; do :; done &' && load_host ;;
  *) echo "no fault $1"; return 1 ;;
  esac
}
# ended ROW: what it did for a while is over.
ended() {
  case $1 in
  paused) xl unpause g1 ;;
  load) kill $hogs ;;
  load-hour) unload_host ;;
  esac
}
leaves() { case $1 in oom | sig*) echo web ;; paused | load) echo nothing ;; *) echo guest ;; esac; }

# --- a repetition
micros() {
  fraction_=${1#*.}
  echo "$(date -u -D '%Y-%m-%dT%H:%M:%S' -d "${1%.*}" +%s)$(echo ${fraction_%Z} | cut -c1-6)"
}
# Of the service's failure or g1's, which the daemon tells of; of the record of that fault, which a later document may bring; of an operation
# that failed; of an answer of g2.
of_g1() { grep '"name":"g1"' $RUN/events; }
first_told() { of_g1 | grep -m 1 '"failed":"'; }
record() { of_g1 | grep "\"fault\":$(field fault "$told")," | grep -m 1 '"error_ns":'; }
first_known() { # CLASS
  awk -v class=$1 '(class == "must-not" || $3 ~ /^(g1|vm|web|web1)$/) && ($4 == "asyncmon" || $4 == "monitor" && $5 > 0) &&
    $6 != 0 && $6 != 190 { printf "%.0f\n", $1 * 1000000 + $2; exit }' $RUN/alerts
}
# When the last request was sent that g1 answered: it was well then.
last_answer() { awk '$3 == "g1" && $1 > last { last = $1 } END { printf "%.0f\n", last }' $RUN/asked; }
first_answer() { awk '$3 == "g2" { print $2; exit }' $RUN/asked; }
# lost FROM TO: requests that were sent between them and got no answer. A line is written when a request is over: not in the order of sending.
lost() { awk -v from=$1 -v to=$2 '$1 >= from && $1 < to && $3 == "-" { n++ } END { print n + 0 }' $RUN/asked; }

# doubt WHY: the attempt does not count.
doubt() {
  why=$(printf %s "$*" | tr '\n' ' ')
  note "does not count: $why"
  return 1
}
watching() { kill -0 $listener $client 2> /dev/null || doubt "the client or vesper events has ended"; }
# is_silent N: whether the web server of that guest, asked at the guest's own address, does not answer.
is_silent() {
  timeout 1 failover ask 10.0.$1.1 > $RUN/direct
  grep -q ' -$' $RUN/direct && ! grep -q " g$1\$" $RUN/direct
}
# Waits for somewhere between two monitors, and then sees that all is as it was: nothing has failed, nothing is under way, and g1 has the service.
at_rest() {
  : > $RUN/events
  : > $RUN/alerts
  usleep $(($(od -An -N2 -tu2 /dev/urandom) * 10000000 / 65536))
  : > $RUN/asked
  sleep 1
  cp $RUN/asked $RUN/fresh
  watching || return
  [ $(wc -l < $RUN/fresh) -ge 10 ] || doubt "of 20 requests in a second there are $(wc -l < $RUN/fresh)" || return
  # Two machines on the host's two CPUs are too slow for some requests.
  if two_hosts; then least=10; else least=$(wc -l < $RUN/fresh); fi
  ! grep -q ' g2$' $RUN/fresh && [ $(grep -c ' g1$' $RUN/fresh) -ge $least ] || doubt "before the fault there was: $(cut -d' ' -f3 $RUN/fresh)" || return
  [ ! -s $RUN/alerts ] || doubt "before the fault Pacemaker had: $(cat $RUN/alerts)" || return
  [ -z "$(first_told)" ] || doubt "before the fault vesperd had: $(first_told)"
}
attempt() { # ROW NUMBER CLASS LIMIT
  case $1 in panic-preserve) begin preserve ;; *) begin destroy ;; esac
  [ $1 != panic-kdump ] || load_crash_kernel || return
  ! two_hosts || { online b && answers 2; } || doubt "g2, on b, does not answer" || return
  was=$(xl domid g1) broken=nothing
  at_rest || return
  broken=$(leaves $1) t0=$(failover now) source=other
  fault $1 > $RUN/said 2>&1 || { ended $1; doubt "no fault: $(cat $RUN/said)"; return; }
  until [ $(($(failover now) - t0)) -gt $(($4 * 1000000)) ]; do
    [ -z "$(first_answer)" ] || break
    usleep 300000
  done
  over=$(failover now)
  ended $1
  sleep 1
  told=$(first_told) knew=$(first_known $3) answered=$(first_answer)
  watching || return
  # Nobody has started the web server in g1 again, whatever has become of g1.
  if [ $3 != must-not ]; then
    is_silent 1 || doubt "g1 answers after the fault: $(cat $RUN/said)" || return
    # What the command takes until the fault is there is not the fault's time.
    last=$(last_answer)
    [ $last -le $t0 ] || t0=$last
  fi
  if [ $3 = event ]; then
    # What vesperd misses in its own column is a result.
    [ -n "$told" ] || [ $COLUMN = vesper ] || doubt "vesperd tells of no failure" || return
    [ $1 = xl-destroy ] || for n in 1 2 3 4 5 6; do
      found=$(record)
      [ -z "$found" ] || { source=record t0=$(micros "$(field time "$found")"); break; }
      sleep 1
    done
  fi
  lost=$(lost $t0 ${answered:-$over})
  cause=no
  in_cluster crm_mon -1rfA > $OUT 2>&1
  ! grep -v 'Simulated failure' $OUT | grep -qE "vesper-fault-[a-z0-9]+[[:space:]]*: .|returned '[a-z ]+' \(" || cause=yes
  told=${told%% *}
  echo "@result $COLUMN $1 $2 $t0 ${told:--} ${knew:--} ${answered:--} $lost $cause $source"
}
repetition() { # ROW NUMBER CLASS LIMIT
  for try in $(seq $TRIES); do ! attempt "$@" || return 0; done
  echo "@refused $COLUMN $1 $2: $why"
}

if [ $NODE = b ]; then
  xl destroy g1
  sed -e 's/g1/g2/' -e 's/1"$/2"/' /etc/xen/g1.cfg > /etc/xen/g2.cfg
fi
# As both hosts call theirs.
! two_hosts || ln -s g$mine.cfg /etc/xen/vm.cfg
for n in $mine; do sed -i 's/^on_crash = .*/on_crash = "destroy"/' /etc/xen/g$n.cfg; done
NODE=$NODE /lab/cluster/setup agents || fail "the disk"
prepare_node
if two_hosts; then prepare_cable; fi
# b is in the cluster when it is ready.
if [ $NODE != b ]; then NODE=$NODE /lab/cluster/setup > /tmp/cluster-setup 2>&1 & cluster=$!; fi
prepare_dom0
for n in $mine; do renew $n; done
for n in $mine; do set_up $n; done
if [ $NODE = b ]; then
  NODE=b /lab/cluster/setup || fail "the cluster"
  misses=0
  while [ $misses -lt 6 ]; do
    if online a; then misses=0; else misses=$((misses + 1)); fi
    sleep 10
  done
  exit 0
fi
wait $cluster || { cat /tmp/cluster-setup; fail "the cluster"; }
! two_hosts || wait_for 400 "b in the cluster" online b
prepare_cluster
broken=nothing loaded=
echo "$PLAN" | while read -r COLUMN MONITOR row number class limit; do
  [ -z "$row" ] || repetition $row $number $class $limit < /dev/null || exit 1
done
