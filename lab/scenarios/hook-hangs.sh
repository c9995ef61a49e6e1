# SPDX-License-Identifier: MIT OR Apache-2.0
# A hook that never ends: it is killed after its time with all that it started, the next one runs; the daemon and another
# guest's hooks do not wait for it.
#: guests=2 alone
hooks=/etc/vesper/hooks.d/process-killed.d
mkdir -p $hooks
printf '[events]\nhook_timeout_s = 10\n' > /etc/vesper/vesper.toml
printf '#!/bin/sh\n[ $VESPER_NAME = g2 ] && exit\ntrap "" TERM\nsleep 1000 & echo $! > /tmp/child\nwait\nsleep 1000\n' > $hooks/10-hangs
printf '#!/bin/sh\necho $VESPER_NAME >> /tmp/acted\n' > $hooks/20-next
printf '#!/bin/sh\necho never >> /tmp/acted\n' > $hooks/30-writable
chmod 755 $hooks/10-hangs $hooks/20-next
chmod 777 $hooks/30-writable
stop_daemon
start_daemon
for dom in 1 2; do
  wait_for 30 "the device of guest $dom to be connected again" connected $dom
  expect_status 0 vesper probe $dom signal -- names=sleep
done
guest --send 1 "sleep 1000 & $named; kill -9 \$!"
wait_for 15 "the hook" test -s /tmp/child
begun=$(cut -d. -f1 /proc/uptime)
note "the daemon answers"
expect_status 0 vesper list
guest --send 2 "sleep 1000 & $named; kill -9 \$!"
wait_for 8 "the other guest's hook" grep -q '^g2$' /tmp/acted
! grep -q '^g1$' /tmp/acted || fail "the one behind it ran"
wait_for 20 "the next hook" grep -q '^g1$' /tmp/acted
took=$(($(cut -d. -f1 /proc/uptime) - begun))
[ $took -ge 8 ] || fail "killed after $took s"
! kill -0 $(cat /tmp/child) 2> /dev/null || fail "its child is still there"
expect_status 0 grep 'process-killed.d/' /var/log/vesperd.log
expect_text "10-hangs" "killed: it took longer than 10 s" "30-writable" "refused: it is writable by its group or by others"
! grep -q never /tmp/acted || fail "a hook that others may change ran"
check_works 1
