# SPDX-License-Identifier: MIT OR Apache-2.0
# What the page "Pacemaker" says under "Undoing it": the resources go, the guests and the service in them stay as they are.
#: guests=2 cluster alone xen=4.17 limit=600
start_cluster g1 g2
add_service web g1 g2
link_push
before="$(xl domid g1) $(xl domid g2)"
cp /run/control /tmp/control
expect_status 0 in_cluster crm_attribute --type crm_config --name stop-orphan-resources --update false
for resource in web g1 g2; do
  expect_status 0 in_cluster cibadmin --delete --xml-text "<primitive id='$resource'/>"
  expect_status 0 in_cluster attrd_updater -n vesper-fault-$resource -D
done
rm /etc/vesper/hooks.d/failed.d/50-pacemaker
expect_status 0 in_cluster crm_resource --refresh
expect_status 0 in_cluster crm_resource --wait --timeout 60s
expect_status 0 in_cluster crm_attribute --type crm_config --name stop-orphan-resources --delete
expect_status 0 in_cluster crm_resource --wait --timeout 60s
sleep 10
expect_status 0 in_cluster crm_mon -1rf
expect_no_text web g1 g2
expect_equal domids "$(xl domid g1) $(xl domid g2)" "$before"
cmp /run/control /tmp/control || fail "the service was stopped: $(cat /run/control)"
check_works 1
