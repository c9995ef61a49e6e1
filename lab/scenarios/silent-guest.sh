# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that never answers costs its own commands and nothing else.
#: guests=2
xl pause 1
vesper insmod 1 $KO/answer.ko --timeout 8 > /tmp/silent 2>&1 &
client=$!
usleep 300000
check_works 2
kill -0 $client || fail "the command for the silent guest ended too early"
wait $client
expect_equal "the status for the silent guest" $? 5
cat /tmp/silent
check_works 2
xl unpause 1
note "the guest is back"
wait_for 30 "guest 1 to take commands" vesper insmod 1 $KO/busy.ko busy=0
guest 1 'echo 0 > /sys/module/busy/parameters/busy'
expect_status 0 vesper rmmod 1 busy
vesper rmmod 1 answer && note "the load that had timed out had gone through"
check_works 1
