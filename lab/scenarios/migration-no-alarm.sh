# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that is a resource migrates to the host it is on, three times: nothing is said to have failed, and Pacemaker does nothing.
#: guest=pvh cluster alone xen=4.17 limit=900
start_cluster g1
link_push
for round in 1 2 3; do
  before=$(xl domid g1)
  xl migrate -s '' g1 'xl migrate-receive' || fail "xl migrate"
  wait_for 60 "the migrated guest's device" connected g1
  [ "$(xl domid g1)" -gt $before ] || fail "it is the same domain"
  # A monitor of the guest as it is now.
  sleep 12
  expect_no_alarm "after migration $round"
done
expect_status 0 vesper channels g1
expect_text panic
check_works g1
