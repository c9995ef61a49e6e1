# SPDX-License-Identifier: MIT OR Apache-2.0
# What the failover benchmark does in dom0, after these are set: CAP and HOLD, the seconds after which a repetition is given up, and for which
# what must not fail over lasts; PLAN, a line "COLUMN MONITOR ROW NUMBER CLASS" for each repetition. A cluster of one node, a web server in g1 and
# one in g2, an address that leads to one of them, and a client. Of each repetition a line
#   @result COLUMN ROW NUMBER T0 TOLD KNEW ANSWERED LOST CAUSE SOURCE
# with times in microseconds since 1970 by dom0's clock, "-" for what did not happen; SOURCE says whose word T0 is. Or, after TRIES of which none counts,
#   @refused COLUMN ROW NUMBER: WHY
. /lab/scenarios/lib.sh
SERVICE=10.0.9.1
RUN=/run/bench
PROBES=4
TRIES=3

# --- the network: a link of its own to each guest, and the service's address, which both guests have and dom0 routes to one of them
prepare_dom0() {
  mkdir -p $RUN /etc/xen/scripts
  chmod 777 $RUN
  insmod /lab/bench/xen-netback.ko || fail "xen-netback"
  cat > /etc/xen/scripts/vif-bench << 'END_OF_FILE'
#!/bin/sh
if [ "$1" = online ]; then
  ip addr add $(xenstore-read $XENBUS_PATH/ip)/24 dev $vif
  ip link set $vif up
  xenstore-write $XENBUS_PATH/hotplug-status connected
fi
END_OF_FILE
  chmod 755 /etc/xen/scripts/vif-bench
  for n in 1 2; do echo "vif = [ 'ip=10.0.$n.254,script=vif-bench' ]" >> /etc/xen/g$n.cfg; done
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
  stop_daemon
  start_daemon
  touch $RUN/events $RUN/asked $RUN/alerts
  chmod 666 $RUN/alerts
  vesper events --follow --json 2> /dev/null | failover stamp >> $RUN/events &
  # The last of the pipeline, which ends when the first does.
  listener=$!
  failover ask $SERVICE >> $RUN/asked &
  client=$!
}

# --- guests
# renew N: another domain of that guest.
renew() {
  xl destroy g$1 2> /dev/null
  wait_for 60 "the end of g$1" sh -c "! xl domid g$1"
  : > /var/log/xen/console/guest-g$1.log
  xl create -q /etc/xen/g$1.cfg || fail "xl create g$1"
}
probes_in() { [ "$(vesper status g$1 --json | grep -o '"state":"in"' | grep -c .)" = $PROBES ]; }
answers() { timeout 1 failover ask 10.0.$1.1 | grep -q " g$1\$"; }
# set_up N: its network and its web server, and the probes that the rule wants.
set_up() {
  guest --wait g$1 || fail "g$1 does not come up"
  guest g$1 "ip link set lo up; ip link set eth0 up; ip addr add 10.0.$1.1/24 dev eth0; ip addr add $SERVICE/32 dev eth0
    pidof web || { /lab/bench/web serve g$1 < /dev/null > /dev/null 2>&1 & }" > $OUT 2>&1
  wait_for 60 "the web server in g$1" answers $1
  wait_for 90 "the probes in g$1" probes_in $1
}

# --- the cluster
prepare_cluster() {
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
# For the columns without VESPER: the service's address leads to the guest of the parameter `guest`.
case $1 in
start | stop) exec /usr/local/sbin/web-address $1 $OCF_RESKEY_guest ;;
monitor) /usr/local/sbin/web-address status $OCF_RESKEY_guest || exit 7 ;;
meta-data) echo '<resource-agent name="address"><version>1.1</version><parameters><parameter name="guest" unique="0" required="1"><content type="string"/></parameter></parameters>
<actions><action name="start" timeout="20s"/><action name="stop" timeout="20s"/><action name="monitor" timeout="20s"/></actions></resource-agent>' ;;
*) exit 3 ;;
esac
END_OF_FILE
  chmod 755 /cluster/usr/local/sbin/* /cluster/usr/lib/ocf/resource.d/bench/address
  in_cluster crm_attribute --type crm_config --name maintenance-mode --update true || fail "crm_attribute"
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
  for g in g1 g2; do
    if [ $COLUMN = vesper ]; then
      echo "<primitive id='$g' class='ocf' provider='vesper' type='guest'>"
    else
      # One failure is enough: else the guest would be started anew, and the service with it, in its old place.
      echo "<primitive id='$g' class='ocf' provider='heartbeat' type='Xen'>
        <meta_attributes id='$g-m'><nvpair id='$g-t' name='migration-threshold' value='1'/></meta_attributes>"
    fi
    echo "<instance_attributes id='$g-p'><nvpair id='$g-x' name='xmfile' value='/etc/xen/$g.cfg'/>
      <nvpair id='$g-s' name='shutdown_timeout' value='30'/></instance_attributes>$(operations $g $MONITOR)</primitive>"
  done
  if [ $COLUMN = vesper ]; then
    echo "<primitive id='web' class='ocf' provider='vesper' type='service'><instance_attributes id='web-p'>
      <nvpair id='web-g' name='guests' value='g1 g2'/><nvpair id='web-c' name='control' value='/usr/local/sbin/web-address'/>
      </instance_attributes>$(operations web $MONITOR)</primitive>"
  else
    for n in 1 2; do
      echo "<primitive id='web$n' class='ocf' provider='bench' type='address'><instance_attributes id='web$n-p'>
        <nvpair id='web$n-g' name='guest' value='g$n'/></instance_attributes></primitive>"
    done
  fi
  echo "</resources>"
}
constraints() {
  echo "<constraints>"
  [ $COLUMN = vesper ] || echo "<rsc_colocation id='c1' rsc='web1' with-rsc='g1' score='INFINITY'/><rsc_order id='o1' first='g1' then='web1' kind='Mandatory'/>
    <rsc_colocation id='c2' rsc='web2' with-rsc='g2' score='INFINITY'/><rsc_order id='o2' first='g2' then='web2' kind='Mandatory'/>
    <rsc_colocation id='c12' rsc='web2' with-rsc='web1' score='-INFINITY'/>"
  echo "</constraints>"
}
push_or_not() {
  if [ $COLUMN = vesper ]; then link_push; else rm -f /etc/vesper/hooks.d/failed.d/50-pacemaker; fi
}
from_g1() { [ "$(tail -n 3 $RUN/asked | grep -c ' g1$')" = 3 ]; }
idle() { in_cluster crm_resource --wait --timeout 180s || fail "the cluster does not come to rest"; }

# begin ON_CRASH: both guests well, the service in g1, nothing under way. $broken: what the repetition before left (guest, web, nothing), $was: the
# domain that it broke.
begin() {
  rm -f /etc/vesper/hooks.d/failed.d/50-pacemaker
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
  set_up 2
  ip route del $SERVICE/32 2> /dev/null
  rm -rf /run/resource-agents/vesper
  if [ "$loaded" = vesper ]; then for r in g1 g2 web; do in_cluster attrd_updater -n vesper-fault-$r -D; done; fi
  [ "$loaded" = $COLUMN ] || load_column
  refresh
  in_cluster crm_attribute --type crm_config --name maintenance-mode --update false || fail "maintenance"
  idle
  wait_for 60 "answers of g1" from_g1
  note "all is well, the service runs in g1"
  push_or_not
}

# A kernel that a panic starts; it finds no root and reboots.
load_crash_kernel() {
  guest g1 '/lab/kexec-load /lab/vmlinuz "console=hvc0 vesper.crash-kernel nr_cpus=1 reset_devices panic=-1" && grep -q 1 /sys/kernel/kexec_crash_loaded' > $OUT 2>&1 ||
    { cat $OUT; fail "no crash kernel in g1"; }
}

# --- faults
typed() { guest --send g1 "$1"; }
is_paused() { case $(xl list g1 | awk 'NR == 2 { print $5 }') in *p*) ;; *) return 1 ;; esac; }
# fault ROW: its status says whether the row's command was given and, where nothing in the guest ends, whether it is as the row says.
fault() {
  case $1 in
  panic-destroy | panic-preserve | panic-kdump) typed 'echo c > /proc/sysrq-trigger' ;;
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
  *) echo "no fault $1"; return 1 ;;
  esac
}
# ended ROW: what it did for a while is over.
ended() {
  case $1 in
  paused) xl unpause g1 ;;
  load) kill $hogs ;;
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
  awk -v class=$1 '(class == "must-not" || $3 == "g1" || $3 == "web" || $3 == "web1") && ($4 == "asyncmon" || $4 == "monitor" && $5 > 0) &&
    $6 != 0 && $6 != 190 { printf "%.0f\n", $1 * 1000000 + $2; exit }' $RUN/alerts
}
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
  ! grep -qv ' g1$' $RUN/fresh || doubt "before the fault not all answers were of g1" || return
  [ ! -s $RUN/alerts ] || doubt "before the fault Pacemaker had: $(cat $RUN/alerts)" || return
  [ -z "$(first_told)" ] || doubt "before the fault vesperd had: $(first_told)"
}
attempt() { # ROW NUMBER CLASS
  case $1 in panic-preserve) begin preserve ;; *) begin destroy ;; esac
  [ $1 != panic-kdump ] || load_crash_kernel
  was=$(xl domid g1) broken=nothing limit=$CAP
  [ $3 != must-not ] || limit=$HOLD
  at_rest || return
  broken=$(leaves $1) t0=$(failover now) source=command
  fault $1 > $RUN/said 2>&1 || { ended $1; doubt "no fault: $(cat $RUN/said)"; return; }
  until [ $(($(failover now) - t0)) -gt $((limit * 1000000)) ]; do
    [ -z "$(first_answer)" ] || break
    usleep 300000
  done
  over=$(failover now)
  ended $1
  sleep 1
  told=$(first_told) knew=$(first_known $3) answered=$(first_answer)
  watching || return
  # Nobody has started the web server in g1 again, whatever has become of g1.
  [ $3 = must-not ] || is_silent 1 || doubt "g1 answers after the fault: $(cat $RUN/said)" || return
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
repetition() { # ROW NUMBER CLASS
  for try in $(seq $TRIES); do ! attempt "$@" || return 0; done
  echo "@refused $COLUMN $1 $2: $why"
}

/lab/cluster/setup > /tmp/cluster-setup 2>&1 &
cluster=$!
sed -i 's/^on_crash = .*/on_crash = "destroy"/' /etc/xen/g1.cfg /etc/xen/g2.cfg
prepare_dom0
renew 2
renew 1
set_up 1
set_up 2
wait $cluster || { cat /tmp/cluster-setup; fail "the cluster"; }
prepare_cluster
broken=nothing loaded=
echo "$PLAN" | while read -r COLUMN MONITOR row number class; do
  [ -z "$row" ] || repetition $row $number $class < /dev/null || exit 1
done
