# SPDX-License-Identifier: MIT OR Apache-2.0
# What is meant to be is not pushed: Pacemaker's own stop (also one that destroys), an operator's shutdown and reboot, and whatever happens in maintenance.
#: guests=2 cluster alone xen=4.17 limit=1200
start_cluster g1 g2
link_push

note "Pacemaker stops a guest that does not hear"
xl pause g1
expect_status 0 in_cluster crm_resource --resource g1 --meta --set-parameter target-role --parameter-value Stopped
wait_for 180 "the end of g1" sh -c '! xl domid g1'
wait_for 60 "g1 in state Stopped" cluster_shows "g1.*Stopped"
expect_equal "pushes after a stop" "$(pushes)" 0
expect_status 0 in_cluster crm_resource --resource g1 --meta --delete-parameter target-role
wait_for 240 "g1 in state Started" cluster_shows "g1.*Started"

# another_domain HOW: of g2, and up again for Pacemaker.
another_domain() {
  wait_for 180 "g2 under another domid" sh -c "id=\$(xl domid g2) && [ \$id -gt $before ]"
  wait_for 120 "g2 in state Started" cluster_shows "g2.*Started"
  guest --wait g2 || fail "g2 did not come up"
  expect_equal "pushes after $1" "$(pushes)" 0
}
note "an operator reboots from within"
before=$(xl domid g2)
guest --send g2 reboot
another_domain "a reboot"

note "an operator reboots from dom0"
before=$(xl domid g2)
xl reboot g2 || fail "xl reboot"
another_domain "xl reboot"

note "an operator shuts down, and Pacemaker, which wants it to run, starts it"
before=$(xl domid g2)
xl shutdown g2 || fail "xl shutdown"
another_domain "xl shutdown"

note "maintenance"
expect_status 0 in_cluster crm_attribute --type crm_config --name maintenance-mode --update true
sleep 3
xl destroy g1
wait_for 60 "the hook's word" grep -q "g1 is not in Pacemaker's hands now" /var/log/vesperd.log
expect_equal "pushes in maintenance" "$(pushes)" 0
expect_status 0 in_cluster crm_mon -1rf
expect_no_text "g1 asyncmon"
