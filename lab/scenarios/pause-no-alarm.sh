# SPDX-License-Identifier: MIT OR Apache-2.0
# Guests that are paused for longer than three monitors, saved, and restored: nothing is said to have failed, and Pacemaker does nothing.
#: guests=2 cluster alone xen=4.17 limit=900
start_cluster g1 g2
link_push

note "paused"
xl pause g1
sleep 35
expect_status 0 vesper alive g1
expect_text paused
xl unpause g1
wait_for 20 "its heartbeat" sh -c 'vesper alive g1 | grep -q "its vCPUs beat"'
expect_no_alarm "after a pause"

note "saved, and goes on"
xl save -c g1 /tmp/g1.save || fail "xl save -c"
wait_for 60 "the guest's device" connected g1
sleep 15
expect_no_alarm "after a checkpoint"
expect_equal "domid of g1" "$(xl domid g1)" 1

note "saved and restored by the operator, who takes it out of Pacemaker's hands meanwhile"
expect_status 0 in_cluster crm_resource --resource g1 --meta --set-parameter maintenance --parameter-value true
sleep 3
rm -f /tmp/g1.save
xl save g1 /tmp/g1.save || fail "xl save"
sleep 12
xl restore /tmp/g1.save || fail "xl restore"
wait_for 60 "the restored guest's device" connected g1
expect_status 0 in_cluster crm_resource --resource g1 --meta --delete-parameter maintenance
wait_for 60 "g1 in state Started" cluster_shows "g1.*Started"
sleep 15
expect_no_alarm "after a restore"
expect_equal "domid of g2" "$(xl domid g2)" 2
check_works g1
