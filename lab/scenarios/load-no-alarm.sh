# SPDX-License-Identifier: MIT OR Apache-2.0
# Two minutes in which dom0 has no CPU, memory or disk to spare, vesperd is last in the queue and at times does not run at all, and one guest has work:
# nothing is said to have failed, and Pacemaker does nothing.
#: guests=2 cluster alone xen=4.17 limit=900
start_cluster g1 g2
link_push
guest --send 1 "while :; do :; done"
load_host
sleep 120
unload_host
wait_for 60 "vesperd's answer" vesper list
sleep 15
expect_no_alarm "under load"
for guest in 1 2; do expect_equal "domid of g$guest" "$(xl domid g$guest)" $guest; done
check_works 2
