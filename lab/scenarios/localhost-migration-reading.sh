# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest with live exports migrates to the host it is on: its channels are there again, counts go on, and nothing that it had written is lost.
# 100 records a second: with 1,000, and so as many interrupts, 3 of 4 guests ended in a triple fault as soon as Xen logged dirty pages, the last two with
# registers of the hypervisor's (cs e008), which is QEMU's software SVM. With 100, and without a probe, none of 6.
#: guest=pvh alone limit=300 memory=256
stop_daemon
start_daemon --auto-attach
wait_for 30 "the device" connected g1
expect_status 0 vesper probe g1 numbers -- rate=100
cat /run/vesper/1/numbers/cpu0 | count-numbers > /tmp/before &
reader=$!
sleep 5
xl migrate -s "" g1 "xl migrate-receive" || fail "xl migrate"
wait_for 60 "the restored guest's device" connected g1
listed() { vesper channels g1 --json | grep -q '"name":"numbers"'; }
wait_for 20 "the channel" listed
id=$(xl domid g1)
cat /run/vesper/$id/numbers/cpu0 | count-numbers > /tmp/counted &
second=$!
sleep 5
expect_status 0 vesper unprobe g1 numbers
wait $reader; wait $second
cat /tmp/before /tmp/counted
for file in /tmp/before /tmp/counted; do grep -q 'repeated=0 torn=0$' $file || fail "torn or repeated"; done
eval "$(head -n 1 /tmp/before)"; had=$next
[ $had -gt 300 ] || fail "only $had records before"
eval "$(head -n 1 /tmp/counted)"
[ $first -le $had ] || fail "records $had to $first are missing"
[ $received -gt 300 ] || fail "only $received records"
