# SPDX-License-Identifier: MIT OR Apache-2.0
# vesperd is killed in the middle of a transfer and started again: the client learns that the outcome is unknown, the
# device is connected again, the next command works.
#: core alone
for delay in 400 300 200 500 150 600 100 700 50 800; do
  vesper insmod 1 $KO/big.ko --json > $OUT 2>&1 &
  client=$!
  usleep $((delay * 1000))
  stop_daemon -KILL
  wait $client
  status=$?
  cat $OUT
  start_daemon
  wait_for 30 "the device to be connected again" vesper status 1
  wait_for 30 "the device to be connected again" connected 1
  grep -q '"outcome-unknown"' $OUT && break
  note "killed $delay ms after the start was too late or too early: status $status"
  vesper rmmod 1 big
done
expect_text '"outcome-unknown"'
expect_equal "the interrupted client's status" $status 4
vesper rmmod 1 big && note "the load had gone through"
check_works 1
expect_status 0 vesper insmod 1 $KO/big.ko
expect_status 0 vesper rmmod 1 big
