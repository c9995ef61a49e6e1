# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest is destroyed in the middle of a transfer: its command fails within a second, no zombie stays, nothing leaks,
# another guest does not notice.
#: guests=2 alone limit=180
check_works 2
vesper insmod 1 $KO/slowinit.ko seconds=60 > $OUT 2>&1 &
client=$!
sleep 2
xl destroy 1
gone=$(cut -d' ' -f1 /proc/uptime)
wait $client
expect_equal "the client's status" $? 3
ended=$(cut -d' ' -f1 /proc/uptime)
cat $OUT
echo "-- the client ended $(awk "BEGIN { print $ended - $gone }") s after xl destroy had returned"
awk "BEGIN { exit !($ended - $gone < 1.0) }" || fail "that is too late"
sleep 1
xl list
expect_equal "domains" "$(xl list | awk 'NR > 1 { print $1 }' | tr '\n' ' ')" "Domain-0 g2 "
xenstore-ls /local/domain/0/backend/vesper/1 2> /dev/null | grep . && fail "nodes of the destroyed guest's device are left"
expect_event g1 guest-gone '"failed":"guest"'
expect_status 3 vesper insmod 1 $KO/answer.ko
check_works 2
