# SPDX-License-Identifier: MIT OR Apache-2.0
# Two sides one protocol version apart: both take the smaller. A backend that names no version is refused with words.
back=/local/domain/0/backend/vesper/1/0
attach_with() { # changes the backend's nodes before the guest sees them
  expect_status 0 vesper detach 1
  xl pause 1
  vesper attach 1 > $OUT 2>&1 &
  client=$!
  wait_for 10 "the nodes of attach" xenstore-exists $back/version
  "$@"
  xl unpause 1
}
attach_with xenstore-write $back/version 2
wait $client
expect_equal "the status of attach to a daemon one version ahead" $? 0
expect_equal "the version that the frontend took" "$(xenstore-read /local/domain/1/device/vesper/0/version)" 1
check_works 1
mark_log 1
attach_with xenstore-rm $back/version
expect_log 1 "the backend names no protocol version"
wait $client
status=$?
[ $status -ne 0 ] || fail "attached without a protocol version"
note "attach ended with $status"
vesper detach 1
expect_status 0 vesper attach 1
check_works 1
