# SPDX-License-Identifier: MIT OR Apache-2.0
# A daemon and a frontend one protocol version apart, each one the newer, and both of the next: they take the smaller,
# and a daemon that is replaced by an older or a newer one goes on. A backend that names no version is refused with words.
#: next alone limit=300
back=/local/domain/0/backend/vesper/1/0
front=/local/domain/1/device/vesper/0
now=/lib/modules/vesper_front.ko
next=/lab/next/vesper_front.ko

frontend() { # loads that module in place of the one that is in
  expect_status 0 guest 1 "rmmod vesper_front && insmod $1"
  wait_for 30 "a connection of $1" connected 1
}
daemon_instead() { # starts that program in place of the one that runs
  stop_daemon
  VESPERD=$1
  start_daemon
  wait_for 30 "a connection of $1" connected 1
}
agreed() { # both ends on that version, and a load and an unload go through
  expect_equal "the version that the frontend took" "$(xenstore-read $front/version)" $1
  expect_status 0 vesper status 1
  expect_text "protocol $1"
  check_works 1
}

agreed 1
note "this daemon, the next frontend"
frontend $next
agreed 1
note "the next daemon takes that connection over"
daemon_instead /lab/next/vesperd
agreed 1
note "the next daemon, this frontend"
frontend $now
expect_equal "the version that is offered" "$(xenstore-read $back/version)" 2
agreed 1
note "both are the next"
frontend $next
agreed 2
expect_status 0 vesper insmod 1 $KO/answer.ko
note "this daemon finds a connection of a version that it does not speak"
daemon_instead vesperd
wait_for 30 "a connection of version 1" sh -c "[ \$(xenstore-read $front/version) = 1 ]"
wait_for 30 "the connection" connected 1
expect_status 0 vesper rmmod 1 answer
agreed 1
frontend $now
agreed 1

note "a backend that names no version"
expect_status 0 vesper detach 1
mark_log 1
xl pause 1
vesper attach 1 > $OUT 2>&1 &
client=$!
wait_for 10 "the nodes of attach" xenstore-exists $back/version
xenstore-rm $back/version
xl unpause 1
expect_log 1 "the backend names no protocol version"
wait $client
status=$?
expect_equal "the status of that attach" $status 5
vesper detach 1
expect_status 0 vesper attach 1
agreed 1
