# SPDX-License-Identifier: MIT OR Apache-2.0
# Every process of the guest is stopped: probes go in, what they record is read, they come out.
#: alone core
guest --send 1 /lab/freeze
sleep 2
guest --limit 5 1 true 2> /dev/null && fail "the guest still answers"
expect_status 0 vesper probe 1 numbers -- count=1000
sleep 1
vesper tail 1/numbers --format json > /tmp/tail || fail "status $? from vesper tail"
expect_equal "records" "$(grep -c '"item":"record"' /tmp/tail)" 1000
expect_status 0 vesper alive 1
expect_status 0 vesper unprobe 1 numbers
expect_status 0 vesper channels 1 --json
expect_text '"channels":[]'
