# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest panics: Pacemaker is told at once, long before its next monitor, with the cause; it starts the guest anew, and what ran in it in the other
# guest, which is left alone.
#: guests=2 cluster alone xen=4.17 limit=900
start_cluster g1 g2
add_service web g1 g2
link_push
# By fail-resource, and nothing else.
chmod -x /cluster/usr/sbin/crm_resource
second=$(xl domid g2)
from=$(now_ms)
guest --send 1 'echo c > /proc/sysrq-trigger'
until grep -q 'failed g1 on dom0: guest-panic' /var/log/vesperd.log; do
  [ $(($(now_ms) - from)) -lt 30000 ] || fail "the hook did not fail g1 within 30 s"
  usleep 50000
done
note "the hook had told Pacemaker after $(($(now_ms) - from)) ms"
for resource in g1 web; do
  wait_for 30 "the cause" in_cluster attrd_updater -n vesper-fault-$resource -Q
  expect_status 0 in_cluster attrd_updater -n vesper-fault-$resource -Q
  expect_text "guest-panic at " "sysrq triggered crash"
  expect_equal "pushes of $resource" $(grep -c "failed $resource on dom0: guest-panic" /var/log/vesperd.log) 1
done
wait_for 60 "its start in the other guest" grep -q "start g2 web" /run/control
wait_for 30 "the failure in crm_mon" cluster_shows "g1 asyncmon on dom0 returned 'error'"
wait_for 180 "another domain of that name" sh -c "id=\$(xl domid g1) && [ \$id -gt $second ]"
wait_for 180 "g1 in state Started" cluster_shows "g1.*Started"
expect_status 0 in_cluster crm_mon -1rfA
expect_no_text "g2: migration-threshold"
expect_equal "domid of g2" "$(xl domid g2)" $second
expect_equal "pushes" "$(pushes)" 1
