# SPDX-License-Identifier: MIT OR Apache-2.0
# Pacemaker moves a guest, live, from one dom0 to another and back (docs/pacemaker.md, "Two nodes"): it is the same boot, its probe goes on in it, and nothing
# is said to have failed on either side. Then it panics where it is, and the push of that host fails it.
#: hosts=2 guest=pvh cluster alone xen=4.17 limit=900
# Of the other one.
case $NODE in a) address=10.0.7.2 ;; b) address=10.0.7.1 ;; esac
# The guest is on a; on b is what it needs to be there.
[ $NODE = a ] || xl destroy g1
stop_daemon
start_daemon --auto-attach
expect_status 0 /lab/cluster/setup agents
# In place of ssh and sshd, which this disk has not: xl says `ssh HOST xl migrate-receive`.
printf '#!/bin/bash\nexec 3<>/dev/tcp/%s/7000\ncat <&3 &\ncat >&3\nwait\n' $address > /cluster/usr/local/sbin/ssh
printf '#!/bin/sh\nexec chroot /cluster env PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin xl migrate-receive\n' > /tmp/receive
chmod 755 /cluster/usr/local/sbin/ssh /tmp/receive
nc -ll -p 7000 -e /tmp/receive &
link_push
online() { in_cluster crm_mon -1 | grep -q "Online: .* $1 "; }
if [ $NODE = b ]; then
  wait_for 300 "a" ping -c 1 -W 2 10.0.7.1
  expect_status 0 /lab/cluster/setup
  while ping -c 1 -W 20 10.0.7.1 > /dev/null; do sleep 2; done
  exit
fi
wait_for 30 "the device of g1" connected g1
expect_status 0 vesper probe g1 panic
boot=$(vesper status g1 --json | grep -o '"boot_id":"[0-9a-f]*"')
[ -n "$boot" ] || fail "no boot id"
expect_status 0 /lab/cluster/setup
wait_for 300 "b in the cluster" online b
add_guests g1
expect_status 0 in_cluster crm_resource --resource g1 --meta --set-parameter migration-threshold --parameter-value 1
expect_status 0 in_cluster crm_resource --resource g1 --meta --set-parameter allow-migrate --parameter-value true
for op in migrate_to migrate_from; do
  expect_status 0 in_cluster cibadmin --modify --scope resources --xml-text "<primitive id='g1'><operations><op id='g1-$op' name='$op' interval='0'
    timeout='180s'/></operations></primitive>"
done

note "to b"
expect_status 0 in_cluster crm_resource --resource g1 --move --node b
expect_status 0 in_cluster crm_resource --wait --timeout 300s
wait_for 60 "g1 on b" cluster_shows "g1.*Started b"
xl domid g1 && fail "g1 is still here"
expect_status 0 vesper --json events g1
expect_text '"end":"saved"'
expect_no_alarm "on a"

note "and back"
expect_status 0 in_cluster crm_resource --resource g1 --move --node a
expect_status 0 in_cluster crm_resource --wait --timeout 300s
wait_for 60 "g1 on a" cluster_shows "g1.*Started a"
expect_status 0 in_cluster crm_resource --resource g1 --clear
wait_for 60 "the device of g1" connected g1
expect_equal "boot" "$(vesper status g1 --json | grep -o '"boot_id":"[0-9a-f]*"')" "$boot"
expect_status 0 vesper channels g1
expect_text panic
# A monitor of the guest as it is now.
sleep 12
expect_no_alarm "on a, again"
check_works g1

note "a panic: it goes to b, and does not come back"
guest --send g1 'echo c > /proc/sysrq-trigger'
wait_for 30 "the push" grep -q 'failed g1 on a' /var/log/vesperd.log
wait_for 60 "the cause" cluster_shows "vesper-fault-g1 .*guest-panic at .*sysrq triggered crash"
wait_for 180 "g1 on b" cluster_shows "g1.*Started b"
