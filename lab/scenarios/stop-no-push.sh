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

note "an operator reboots"
before=$(xl domid g2)
guest --send g2 reboot
wait_for 180 "g2 under another domid" sh -c "id=\$(xl domid g2) && [ \$id -gt $before ]"
sleep 5
expect_equal "pushes after a reboot" "$(pushes)" 0

note "maintenance"
expect_status 0 in_cluster crm_attribute --type crm_config --name maintenance-mode --update true
wait_for 60 "a monitor no more" sleep 3
xl destroy g1
wait_for 60 "the hook's word" grep -q "g1 is not in Pacemaker's hands now" /var/log/vesperd.log
expect_equal "pushes in maintenance" "$(pushes)" 0
expect_status 0 in_cluster crm_mon -1rf
expect_no_text "g1 asyncmon"
