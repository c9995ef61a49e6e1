# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest migrates to the host it is on, idle and with a command under way: its modules are still known, the device
# connects again by itself. PVH: Debian's Xen is built without shadow page tables, which the migration of a running PV
# guest needs (it fails there with or without VESPER).
#: guest=pvh alone limit=400
stop_daemon
start_daemon --auto-attach
wait_for 30 "the device" connected g1
expect_status 0 vesper insmod g1 $KO/answer.ko answer=5
round() {
  xl migrate -s '' g1 'xl migrate-receive' || fail "xl migrate"
  wait_for 60 "the migrated guest's device" connected g1
  xl list
}
note "idle"
round
expect_status 0 vesper list
expect_text answer
expect_equal "the parameter in the guest" "$(guest g1 'cat /sys/module/answer/parameters/answer')" 5
expect_status 0 vesper rmmod g1 answer
check_works g1
note "with a load under way"
vesper insmod g1 $KO/slowinit.ko seconds=30 > $OUT 2>&1 &
client=$!
sleep 2
round
wait $client
status=$?
cat $OUT
[ $status -ne 0 ] || fail "the command of a guest that went away ended well"
listed() { vesper list --json | grep -q '"slowinit"'; }
wait_for 90 "the late module in the list" listed
expect_status 0 vesper rmmod g1 slowinit
check_works g1
