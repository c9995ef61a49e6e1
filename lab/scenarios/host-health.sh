# SPDX-License-Identifier: MIT OR Apache-2.0
# dom0's own state as the node attribute #health-vesper: green; yellow after a machine check of which Xen tells; red when memory is gone.
#: cluster alone xen=4.17 limit=400
expect_status 0 /lab/cluster/setup
health() { in_cluster /usr/lib/vesper/host-health "$@"; }
shows() { in_cluster attrd_updater -n '#health-vesper' -Q | grep -q "value=\"$1\""; }
expect_status 0 health --print
expect_equal "dom0" "$(cat $OUT)" green
expect_status 0 health
wait_for 30 "the attribute" shows green

note "a machine check"
grep -E ' mce$|^ *MCE:' /proc/interrupts
in_cluster /usr/lib/xen-4.17/bin/xen-mceinj -t 0 -d 0 -p 0x1000 || note "xen-mceinj: status $?"
sleep 1
grep -E ' mce$|^ *MCE:' /proc/interrupts
expect_status 0 health
expect_text "yellow: machine checks: "
wait_for 30 "the attribute" shows yellow

note "no memory"
free=$(awk '$1 == "MemAvailable:" { available = $2 } $1 == "MemTotal:" { total = $2 } END { print int((available - total * 0.02) / 1024) }' /proc/meminfo)
mkdir /tmp/hog && mount -t tmpfs -o size=100% hog /tmp/hog
dd if=/dev/zero of=/tmp/hog/hog bs=1M count=$free || fail "memory"
expect_status 0 health
expect_text "red: memory: "
wait_for 30 "the attribute" shows red
umount /tmp/hog
