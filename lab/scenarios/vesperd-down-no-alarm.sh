# SPDX-License-Identifier: MIT OR Apache-2.0
# vesperd is down, hangs, or is killed and started again and again: a monitor of a healthy guest says 0, and soon.
#: guests=2 cluster alone xen=4.17 limit=400
expect_status 0 /lab/cluster/setup agents
# When xl is asked, it is noted.
asked=/run/xl-asked
rm /cluster/usr/local/sbin/xl
cat > /cluster/usr/local/sbin/xl << END
#!/bin/sh
cat /proc/uptime >> $asked
exec /usr/lib/xen-4.17/bin/xl "\$@"
END
chmod 755 /cluster/usr/local/sbin/xl

# slowest ACTION: of five. An agent that asks nobody (meta-data) says how slow this machine is now.
slowest() {
  worst=0
  for round in 1 2 3 4 5; do
    from=$(now_ms)
    agent $1 g1 > $OUT 2>&1 || { status=$?; cat $OUT; fail "status $status from $1"; }
    took=$(($(now_ms) - from))
    [ $took -le $worst ] || worst=$took
  done
}
# healthy WHAT LIMIT ASKED: what a monitor may take beside what an agent takes anyhow, and how many of the five ask xl.
healthy() {
  slowest meta-data
  base=$worst
  : > $asked
  slowest monitor
  note "$1: worst time of a monitor: $worst ms; of an agent that asks nobody: $base ms"
  [ $worst -le $((base + $2)) ] || fail "$worst ms, at most $2 ms more than $base are wanted"
  expect_equal "times that xl was asked" $(wc -l < $asked) $3
}
healthy "vesperd answers" 1000 0
stop_daemon
healthy "vesperd is down" 2000 5
start_daemon
kill -STOP $(daemon)
healthy "vesperd hangs" 3500 5
: > $asked
from=$(now_ms)
expect_status 0 agent monitor g1
expect_equal "times that xl was asked" $(wc -l < $asked) 1
fell_back=$(($(awk 'NR == 1 { print int($1 * 1000) }' $asked) - from))
note "it fell back to xl after $fell_back ms"
[ $fell_back -le $((base + 2000)) ] || fail "at most 2000 ms more than $base are wanted"
xl pause 2
expect_status 0 agent monitor g2
xl unpause 2
kill -CONT $(daemon)
wait_for 30 "vesperd's answer" vesper list
healthy "vesperd goes on" 1000 0
for round in 1 2 3 4 5; do
  stop_daemon -KILL
  expect_status 0 agent monitor g1
  start_daemon
  expect_status 0 agent monitor g1
done
check_works 1
