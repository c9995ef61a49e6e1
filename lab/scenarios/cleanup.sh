# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that crashed and is preserved, and that Pacemaker may not touch: after crm_resource --cleanup it is found failed again, with its cause.
#: cluster alone xen=4.17 limit=900
start_cluster g1
expect_status 0 in_cluster crm_resource --resource g1 --meta --set-parameter is-managed --parameter-value false
guest --send 1 'echo c > /proc/sysrq-trigger'
wait_for 60 "the monitor that fails" cluster_shows "g1 .*monitor.*vesper: guest g1: guest-panic: "
for round in 1 2; do
  expect_status 0 in_cluster crm_resource --cleanup --resource g1
  wait_for 60 "the fault, again" cluster_shows "g1 .*vesper: guest g1: guest-panic: .*sysrq triggered crash"
done
expect_status 0 in_cluster crm_resource --resource g1 --meta --delete-parameter is-managed
wait_for 240 "another domain of that name" sh -c 'id=$(xl domid g1) && [ $id -gt 1 ]'
wait_for 120 "g1 in state Started" cluster_shows "g1.*Started"
