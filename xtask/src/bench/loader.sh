# SPDX-License-Identifier: MIT OR Apache-2.0
# What the loader benchmark does in dom0. Lines that begin with "@" are figures, in nanoseconds or counts.
ROUNDS=${ROUNDS:-15}
MODULE=/lab/modules/mib.ko
DAEMON=$(cat /run/vesperd.pid)

# How often the daemon's threads slept and were woken again.
wakeups() { cat /proc/$DAEMON/task/*/status | awk '/^voluntary_ctxt_switches/ { n += $2 } END { print n }'; }
in_guest() { guest 1 "/lab/timed insmod /lab/mib.ko && rmmod mib"; }
through_vesper() { /lab/timed vesper insmod 1 $MODULE && vesper rmmod 1 mib > /dev/null; }

# The emulator translates a program anew for each address it is loaded at, which no CPU does: both sides without random
# addresses (busybox, the guest's insmod, has a fixed one anyway).
echo 0 > /proc/sys/kernel/randomize_va_space
guest 1 "echo 0 > /proc/sys/kernel/randomize_va_space" || exit 1
in_guest > /dev/null && through_vesper > /dev/null || exit 1
round=0
while [ $round -lt $ROUNDS ]; do
  peer=$(in_guest) || exit 1
  ours=$(through_vesper) || exit 1
  echo "@pair $peer $ours"
  round=$((round + 1))
done
sleep 5
before=$(wakeups)
sleep 60
echo "@wakeups $(($(wakeups) - before))"
