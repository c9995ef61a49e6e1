# SPDX-License-Identifier: MIT OR Apache-2.0
# A service of the guest is stopped, goes on, ends, is there again, and does not run for a while: each is told once. One that
# never was is not gone.
#: limit=240
# busybox under another name, since a shell has its own processes.
begin() {
  guest 1 "/tmp/busybox-served $* > /dev/null 2>&1 & echo \$! > /tmp/pid"
  wait_for 10 "the service" guest 1 'grep -q busybox-served /proc/$(cat /tmp/pid)/comm'
}
guest 1 'cp /bin/busybox /tmp/busybox-served'
begin "sh -c 'while :; do :; done'"
expect_status 1 vesper probe 1 progress
expect_text "names="
expect_status 0 vesper probe 1 progress -- names=absent,busybox-served seconds=3
start_tail /tmp/tail 1/progress
expect_line 10 /tmp/tail '"item":"started"'
guest 1 'kill -STOP $(cat /tmp/pid)'
expect_line 3 /tmp/tail '"event":"stopped"' '"comm":"busybox-served"' "\"pid\":$(guest 1 'cat /tmp/pid')" '"processes":1'
sleep 4
guest 1 'kill -CONT $(cat /tmp/pid)'
expect_line 3 /tmp/tail '"event":"again"' '"comm":"busybox-served"'
guest 1 'kill -9 $(cat /tmp/pid); rm /tmp/pid'
expect_line 3 /tmp/tail '"event":"gone"' '"comm":"busybox-served"'
begin sleep 1000
expect_line 10 /tmp/tail '"event":"stalled"' '"seconds":3' nanosleep
guest 1 'kill $(cat /tmp/pid)'
told() { grep -c "\"event\":\"$1\"" /tmp/tail; }
gone_twice() { [ $(told gone) = 2 ]; }
wait_for 3 "the end of the second" gone_twice
sleep 1
expect_equal "stopped, stalled, again, gone" "$(told stopped) $(told stalled) $(told again) $(told gone)" "1 1 2 2"
! grep -q absent /tmp/tail || fail "one that never was is told of"
# Else its connection is one of the daemon's descriptors in the scenario that comes next.
kill $tail_pid
expect_status 0 vesper events 1
expect_text "process-stuck" "busybox-served"
expect_status 0 vesper unprobe 1 progress
