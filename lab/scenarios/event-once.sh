# SPDX-License-Identifier: MIT OR Apache-2.0
# vesperd is killed at every step between seeing an event and having acted on it, at 20 moments at least: the event is told once and acted on once, or
# twice where the second daemon could not know that the hook had ended, which it says.
#: limit=900
hooks=/etc/vesper/hooks.d/process-killed.d
mkdir -p $hooks
# It takes its time before it acts and after that, so that each step can be hit.
cat > $hooks/10-note << 'END'
#!/bin/sh
pid=$(sed 's/.*"subject":"pid=\([0-9]*\)".*/\1/')
usleep 150000
echo "$pid again=$VESPER_AGAIN fault=$VESPER_FAULT" >> /tmp/acted
usleep 150000
END
chmod 755 $hooks/10-note
touch /tmp/acted
expect_status 0 vesper probe 1 signal -- names=sleep
journal=/var/lib/vesper/events
acted() { grep -q "^$1 " /tmp/acted; }
# The fault's number, once it is in the journal.
fault_of() { cat $journal/*.log | grep '"entry":"event"' | grep "\"subject\":\"pid=$1\"" | sed -n 's/.*"fault":\([0-9]*\).*/\1/p' | head -n 1; }
has_entry() { cat $journal/*.log | grep "\"entry\":\"$1\"" | grep -q "\"fault\":$2[,}]"; }
# step PID: how far the daemon that is dead now had come.
step() {
  fault=$(fault_of $1)
  if [ -z "$fault" ]; then echo nothing
  elif has_entry acted $fault; then echo all
  elif has_entry hook $fault; then echo hook-ended
  elif acted $1; then echo acted
  else echo seen; fi
}
# One event from the moment at which the guest is told to make it.
begin() {
  guest 1 'rm -f /tmp/pid'
  guest --send 1 "sleep 1000 & p=\$!; echo \$p > /tmp/pid; $named; usleep 200000; kill -9 \$p"
  from=$(now_ms)
}
begin
pid=$(guest 1 'cat /tmp/pid')
wait_for 30 "event of process $pid to be acted on" acted $pid
until [ $(step $pid) = all ]; do usleep 10000; done
whole=$(($(now_ms) - from))
note "all is done after $whole ms"
pids= steps= moment=0
missing() { for step in nothing seen acted all; do case " $steps " in *" $step "*) ;; *) echo $step ;; esac; done; }
# More moments than 20 if a step was not hit by then.
while [ $moment -lt 20 ] || { [ -n "$(missing)" ] && [ $moment -lt 60 ]; }; do
  moment=$((moment + 1))
  begin
  after=$((whole * (moment % 20 + 4) / 30))
  usleep $((after * 1000))
  stop_daemon -KILL
  pid=$(guest 1 'cat /tmp/pid')
  at=$(step $pid)
  start_daemon
  wait_for 30 "the device to be connected again" connected 1
  wait_for 30 "event of process $pid to be acted on" acted $pid
  note "killed $after ms after the word to the guest: $at"
  pids="$pids $pid" steps="$steps $at"
done
# A hook that is run twice is so at once.
sleep 2
cat /tmp/acted
expect_status 0 vesper events g1 --json
for pid in $pids; do
  expect_equal "events of process $pid" $(grep -c "\"subject\":\"pid=$pid\"" $OUT) 1
  times=$(grep -c "^$pid " /tmp/acted)
  again=$(grep -c "^$pid again=1" /tmp/acted)
  [ $times -eq 1 ] || [ $times -eq 2 -a $again -ge 1 ] || fail "acted $times times on process $pid, $again of them said so"
done
for step in nothing seen acted hook-ended all; do note "killed at step $step: $(echo $steps | tr ' ' '\n' | grep -cx $step) times"; done
expect_equal "steps that were not hit" "$(missing)" ""
note "acted on twice: $(cut -d' ' -f1 /tmp/acted | sort | uniq -d | wc -l) of $moment"
rm -r /etc/vesper/hooks.d
expect_status 0 vesper unprobe 1 signal
check_works 1
