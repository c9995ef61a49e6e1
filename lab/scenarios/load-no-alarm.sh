# SPDX-License-Identifier: MIT OR Apache-2.0
# Two minutes in which dom0 has no CPU, memory or disk to spare, vesperd is last in the queue and at times does not run at all, and one guest has work:
# nothing is said to have failed, and Pacemaker does nothing.
#: guests=2 cluster alone xen=4.17 limit=900
start_cluster g1 g2
link_push
guest --send 1 "while :; do :; done"
renice -n 19 -p $(daemon)
note "CPU"
load=
for n in 1 2 3; do
  sh -c 'while :; do :; done' &
  load="$load $!"
done
note "disk"
sh -c 'while :; do dd if=/dev/zero of=/cluster/load bs=1M count=64 conv=fsync; done' > /dev/null 2>&1 &
load="$load $!"
note "memory: all but 160 MiB"
free=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) - 160 }' /proc/meminfo)
mkdir /tmp/load
mount -t tmpfs -o size=100% load /tmp/load
dd if=/dev/zero of=/tmp/load/load bs=1M count=$free || fail "memory"
grep -E 'MemAvailable|SwapTotal' /proc/meminfo
until_=$(($(cut -d. -f1 /proc/uptime) + 120))
while [ $(cut -d. -f1 /proc/uptime) -lt $until_ ]; do
  kill -STOP $(daemon)
  sleep 4
  kill -CONT $(daemon)
  sleep 6
done
kill $load
umount /tmp/load
rm -f /cluster/load
wait_for 60 "vesperd's answer" vesper list
sleep 15
expect_no_alarm "under load"
for guest in 1 2; do expect_equal "domid of g$guest" "$(xl domid g$guest)" $guest; done
check_works 2
