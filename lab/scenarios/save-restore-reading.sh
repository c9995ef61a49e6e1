# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest with live exports is saved and restored: its channels are there again, counts go on.
#: alone limit=300 memory=256
stop_daemon
start_daemon --auto-attach
wait_for 30 "the device" connected g1
expect_status 0 vesper probe g1 numbers -- rate=1000
sleep 1
xl save g1 /tmp/g1.save || fail "xl save"
xl restore /tmp/g1.save || fail "xl restore"
rm -f /tmp/g1.save
wait_for 60 "the restored guest's device" connected g1
listed() { vesper channels g1 --json | grep -q '"name":"numbers"'; }
wait_for 20 "the channel" listed
id=$(xl domid g1)
cat /run/vesper/$id/numbers/cpu0 | count-numbers > /tmp/counted &
sleep 2
expect_status 0 vesper unprobe g1 numbers
wait
cat /tmp/counted
grep -q 'repeated=0 torn=0$' /tmp/counted || fail "torn or repeated"
eval "$(head -n 1 /tmp/counted)"
[ $received -gt 500 ] || fail "only $received records"
