# SPDX-License-Identifier: MIT OR Apache-2.0
# What the record benchmark does in dom0. "@alone LOCAL EXPORTED": nanoseconds of a pair with nobody reading; "@read …": with
# `vesper tail` reading.
PAIRS=${PAIRS:-60}
fail() { echo "FAILED: $*"; exit 1; }
pairs() {
  guest 1 "echo $PAIRS > /sys/module/cost/parameters/run" || fail "run"
  guest 1 "cat /sys/module/cost/parameters/pairs" | sed "s/^/@$1 /"
}
guest 1 "insmod /lab/bench/cost.ko" || fail "cost.ko"
sleep 1
pairs alone
vesper tail 1/cost --format raw --follow > /dev/null &
tail=$!
sleep 2
pairs read
kill $tail
guest 1 "rmmod cost"
