# SPDX-License-Identifier: MIT OR Apache-2.0
# A process of the guest is killed: by which signal, and by whom; and that it has ended.
#: core
expect_status 0 vesper probe 1 signal -- names=sleep
start_tail /tmp/tail 1/signal
expect_line 10 /tmp/tail '"item":"started"'
guest 1 "sleep 100 & $named; kill -9 \$!"
expect_line 10 /tmp/tail '"event":"signal"' '"comm":"sleep"' '"sig":9' '"sender_comm":"sh"'
expect_line 10 /tmp/tail '"event":"exit"' '"comm":"sleep"' '"sig":9'
guest 1 'cat & usleep 300000; kill -15 $!'
sleep 1
! grep -q '"comm":"cat"' /tmp/tail || fail "a process that was not asked for"
kill $tail_pid
expect_status 0 vesper unprobe 1 signal
check_works 1
