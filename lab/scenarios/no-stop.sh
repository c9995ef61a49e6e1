# SPDX-License-Identifier: MIT OR Apache-2.0
# A module that closes its channel without ending the export, and one whose init fails after it: noticed, read to the end,
# given back.
expect_status 0 vesper insmod 1 $KO/answer.ko
expect_status 0 vesper rmmod 1 answer
before=$(usage 1)
expect_status 0 vesper insmod 1 $KO/nostop.ko
start_tail /tmp/tail 1
expect_line 10 /tmp/tail '"channel":"nostop"' '"item":"raw"'
expect_status 0 vesper rmmod 1 nostop
expect_line 10 /tmp/tail '"channel":"nostop"' '"item":"ended"'
kill $tail_pid; wait $tail_pid 2> /dev/null
note "an init that fails after the export"
expect_status 1 vesper insmod 1 $KO/nostop.ko fail=1
gone() { vesper channels 1 --json | grep -qF '"channels":[]'; }
wait_for 5 "the end of the export" gone
sleep 1
expect_equal "what is in use" "$(usage 1)" "$before"
check_works 1
