# SPDX-License-Identifier: MIT OR Apache-2.0
# What the kick benchmark does in dom0. Figures, all by the CPU's counter:
#   @sent WHEN, @came WHEN     of the bare event channel, in order, while our reader waits beside
#   @ours TICKS                urgent record → reader's code in the daemon's place
#   @tail TICKS, @file TICKS   urgent record → a program behind `vesper tail`; → one that reads the file below /run/vesper
#   @khz N                     steps of the counter in a millisecond
ROUNDS=${ROUNDS:-150}
fail() { echo "FAILED: $*"; cat /tmp/*.out /tmp/errors 2> /dev/null | tail -n 20; exit 1; }
wait_for() { # SECONDS COMMAND…
  until_=$(($(cut -d. -f1 /proc/uptime) + $1)); shift
  until "$@" > /dev/null 2>&1; do [ $(cut -d. -f1 /proc/uptime) -lt $until_ ] || fail "not within time: $*"; usleep 200000; done
}
echo 0 > /proc/sys/kernel/randomize_va_space
# A guest that reads the same counter as dom0: without this Xen emulates it.
xl destroy 1
wait_for 20 sh -c '! xl domid g1'
echo 'tsc_mode = "native"' >> /etc/xen/g1.cfg
log=/var/log/xen/console/guest-g1.log
: > $log
xl create -q /etc/xen/g1.cfg || fail "xl create"
DOM=$(xl domid g1)
wait_for 90 grep -q '^@agent up' $log
wait_for 60 vesper attach $DOM
guest $DOM "insmod /lab/bench/bell.ko" || fail "bell.ko"
PORT=$(guest $DOM "cat /sys/module/bell/parameters/port")
wait_for 20 test -e /run/vesper/$DOM/bell/cpu0

# Outside of the daemon.
{ vesper tail $DOM/bell --format raw --follow | arrive records $ROUNDS > /tmp/tail.out; } &
tail=$!
arrive records $ROUNDS < /run/vesper/$DOM/bell/cpu0 > /tmp/file.out &
file=$!
sleep 3
guest --send $DOM "echo $ROUNDS > /sys/module/bell/parameters/ring"
wait_for 60 grep -q '^@khz' /tmp/file.out
# The pipeline ends when the tail next writes.
wait_for 30 grep -q '^@khz' /tmp/tail.out
kill $tail 2> /dev/null
sed -n 's/^@on-its-way/@tail/p' /tmp/tail.out
sed -n 's/^@on-its-way/@file/p' /tmp/file.out

# In the daemon's place.
kill $(cat /run/vesperd.pid)
sleep 1
bench-reader kick $DOM bell $ROUNDS > /tmp/ours.out 2> /tmp/errors &
ours=$!
arrive event $DOM $PORT $ROUNDS > /tmp/bare.out 2>> /tmp/errors &
bare=$!
wait_for 60 grep -q '^@waiting' /tmp/ours.out
wait_for 10 grep -q '^@waiting' /tmp/bare.out
sleep 2
guest --send $DOM "echo $ROUNDS > /sys/module/bell/parameters/ring"
wait_for 60 sh -c "! kill -0 $bare"
wait_for 60 sh -c "! kill -0 $ours"
wait $bare || fail "the bare event channel"
wait $ours || fail "our reader"
grep '^@came\|^@khz' /tmp/bare.out
grep '^@ours' /tmp/ours.out
guest $DOM "cat /sys/module/bell/parameters/sent" | sed 's/^/@sent /'
