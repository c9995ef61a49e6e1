# SPDX-License-Identifier: MIT OR Apache-2.0
# vesperd is down, hangs, or is killed and started again and again: a monitor of a healthy guest says 0, and soon.
#: guests=2 cluster alone xen=4.17 limit=400
expect_status 0 /lab/cluster/setup agents
# healthy WHAT LIMIT: five monitors; the slowest is noted.
healthy() {
  worst=0
  for round in 1 2 3 4 5; do
    from=$(now_ms)
    expect_status 0 agent monitor g1
    took=$(($(now_ms) - from))
    [ $took -le $worst ] || worst=$took
  done
  note "$1: worst time of a monitor: $worst ms"
  [ $worst -le $2 ] || fail "$worst ms, at most $2 are wanted"
}
healthy "vesperd answers" 2000
stop_daemon
healthy "vesperd is down" 3000
start_daemon
kill -STOP $(daemon)
healthy "vesperd hangs" 4000
xl pause 2
expect_status 0 agent monitor g2
xl unpause 2
kill -CONT $(daemon)
wait_for 30 "vesperd's answer" vesper list
healthy "vesperd goes on" 2000
for round in 1 2 3 4 5; do
  stop_daemon -KILL
  expect_status 0 agent monitor g1
  start_daemon
  expect_status 0 agent monitor g1
done
check_works 1
