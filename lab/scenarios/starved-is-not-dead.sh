# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest to which Xen gives hardly any CPU time misses beats, and is alive: that is what is said of it.
#: alone
# Beats every 50 ms, so that a pause of 150 ms is one too long.
expect_status 0 guest 1 "rmmod vesper_front && insmod /lib/modules/vesper_front.ko heartbeat_ms=50"
wait_for 30 "the device to be connected" connected 1
expect_status 0 vesper alive 1
# On one CPU with dom0, which has work and all of the weight. The guest has work, too, or it would beat and sleep. Who has a turn keeps it
# for 3 ms; at 1 % the guest pauses 300 ms for that.
xl vcpu-pin 0 all 0
xl vcpu-pin 1 all 0
guest --send 1 "while :; do :; done"
for n in 1 2 3; do sh -c 'while :; do :; done' & done
xl sched-credit2 -s -p Pool-0 -r 3000
xl sched-credit2 -d 0 -w 65535
xl sched-credit2 -d 1 -w 1 -c 1
starved=0
n=0
# 40 answers, or more until one of them says it.
while [ $n -lt 40 ] || [ $starved -eq 0 -a $n -lt 400 ]; do
  n=$((n + 1))
  vesper alive 1 > $OUT 2>&1
  status=$?
  [ $status -eq 0 ] || { cat $OUT; fail "status $status from: vesper alive 1, the ${n}th time"; }
  grep -q starved $OUT && starved=$((starved + 1))
done
note "starved $starved times of $n"
kill $(jobs -p)
[ $starved -gt 0 ] || fail "it was never said to be starved"
xl sched-credit2 -s -p Pool-0 -r 1000
xl sched-credit2 -d 0 -w 256
xl sched-credit2 -d 1 -w 256 -c 0
wait_for 10 "the guest to beat as before" sh -c 'vesper alive 1 | grep -q "its vCPUs beat"'
