# SPDX-License-Identifier: MIT OR Apache-2.0
# vesperd is killed at 20 moments around an event: it is told once and acted on once, or twice where the second daemon
# could not know that the hook had ended, which it says.
#: limit=900
hooks=/etc/vesper/hooks.d/process-killed.d
mkdir -p $hooks
cat > $hooks/10-note << 'END'
#!/bin/sh
pid=$(sed 's/.*"subject":"pid=\([0-9]*\)".*/\1/')
echo "$pid again=$VESPER_AGAIN fault=$VESPER_FAULT" >> /tmp/acted
END
chmod 755 $hooks/10-note
touch /tmp/acted
expect_status 0 vesper probe 1 signal -- names=sleep
acted() { grep -q "^$1 " /tmp/acted; }
pids=
for moment in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  guest 1 'rm -f /tmp/pid'
  guest --send 1 "sleep 1000 & p=\$!; echo \$p > /tmp/pid; $named; usleep 200000; kill -9 \$p"
  usleep $((moment * 60000))
  stop_daemon -KILL
  start_daemon
  wait_for 30 "the device to be connected again" connected 1
  pid=$(guest 1 'cat /tmp/pid')
  wait_for 30 "event of process $pid to be acted on" acted $pid
  pids="$pids $pid"
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
note "acted on twice: $(cut -d' ' -f1 /tmp/acted | sort | uniq -d | wc -l) of 20"
rm -r /etc/vesper/hooks.d
expect_status 0 vesper unprobe 1 signal
check_works 1
