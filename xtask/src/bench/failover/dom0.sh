# SPDX-License-Identifier: MIT OR Apache-2.0
# What the failover benchmark does in dom0, after PLAN is set (a line "COLUMN MONITOR ROW NUMBER CLASS" for each repetition): a cluster of one
# node, a web server in g1 and one in g2, an address that leads to one of them, and a client. Of each repetition a line
#   @result COLUMN ROW NUMBER T0 TOLD KNEW ANSWERED LOST CAUSE SOURCE
# with times in microseconds since 1970 by dom0's clock, "-" for what did not happen; SOURCE says whose word T0 is.
. /lab/scenarios/lib.sh
CAP=${CAP:-60}
HOLD=${HOLD:-30}
SERVICE=10.0.9.1
RUN=/run/bench
PROBES=4

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
  failover ask $SERVICE >> $RUN/asked &
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
operations() { # ID INTERVAL
  echo "<operations><op id='$1-start' name='start' interval='0' timeout='180s'/><op id='$1-stop' name='stop' interval='0' timeout='120s'/>
    <op id='$1-monitor' name='monitor' interval='$2' timeout='60s'/>
    <op id='$1-asyncmon' name='asyncmon' interval='0' timeout='60s' on-fail='restart'/></operations>"
}
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

# --- faults
typed() { guest --send g1 "$1"; }
fault() {
  case $1 in
  panic-destroy | panic-preserve) typed 'echo c > /proc/sysrq-trigger' ;;
  panic-10) typed 'echo 10 > /proc/sys/kernel/panic; echo c > /proc/sysrq-trigger' ;;
  oom) typed 'kill -USR1 $(pidof web)' ;;
  sigterm) typed 'kill -TERM $(pidof web)' ;;
  sigkill) typed 'kill -KILL $(pidof web)' ;;
  sigsegv) typed 'kill -SEGV $(pidof web)' ;;
  frozen) typed /lab/freeze ;;
  spinning) vesper insmod g1 $KO/frozen.ko --timeout 2 > /dev/null 2>&1 & ;;
  xl-destroy) xl destroy g1 ;;
  paused) xl pause g1 ;;
  load) hogs=; for n in 1 2 3 4; do sh -c 'while :; do :; done' & hogs="$hogs $!"; done ;;
  *) fail "no fault $1" ;;
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
since() { tail -n +$(($2 + 1)) $RUN/$1; }
lines() { wc -l < $RUN/$1; }
# Of the service's failure or g1's, which the daemon tells of; of an operation that failed; of an answer of g2.
first_told() { since events $events | grep '"name":"g1"' | grep -m 1 '"failed":"'; }
first_known() {
  since alerts $alerts | awk '($4 == "asyncmon" || $4 == "monitor" && $5 > 0) && $6 != 0 && $6 != 190 { printf "%.0f\n", $1 * 1000000 + $2; exit }'
}
first_answer() { since asked $asked | awk '$3 == "g2" { print $2; exit }'; }
repetition() { # ROW NUMBER CLASS
  case $1 in panic-preserve) begin preserve ;; *) begin destroy ;; esac
  # Wherever between two monitors.
  usleep $(($(od -An -N2 -tu2 /dev/urandom) * 10000000 / 65536))
  events=$(lines events) alerts=$(lines alerts) asked=$(lines asked)
  was=$(xl domid g1) broken=$(leaves $1) limit=$CAP
  [ $3 != must-not ] || limit=$HOLD
  t0=$(failover now) source=command
  fault $1
  until [ $(($(failover now) - t0)) -gt $((limit * 1000000)) ]; do
    [ -z "$(first_answer)" ] || break
    usleep 300000
  done
  ended $1
  sleep 1
  told=$(first_told) knew=$(first_known) answered=$(first_answer)
  if [ $3 = event ] && [ -n "$told" ] && [ -n "$(field error_ns "$told")" ]; then
    source=record
    t0=$(micros "$(field time "$told")")
  fi
  lost=$(since asked $asked | awk -v from=$t0 -v to=${answered:--} '$2 < from { next } to != "-" && $2 >= to { exit } $3 == "-" { n++ } END { print n + 0 }')
  cause=no
  in_cluster crm_mon -1rfA > $OUT 2>&1
  ! grep -v 'Simulated failure' $OUT | grep -qE "vesper-fault-[a-z0-9]+[[:space:]]*: .|returned '[a-z ]+' \(" || cause=yes
  told=${told%% *}
  echo "@result $COLUMN $1 $2 $t0 ${told:--} ${knew:--} ${answered:--} $lost $cause $source"
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
