# SPDX-License-Identifier: MIT OR Apache-2.0
# The page "Pacemaker" on a dom0 with systemd: the package is installed, its units run within what they forbid themselves, corosync and Pacemaker are
# started by theirs; the package is upgraded; a hook that the daemon is restarted under is run again; a guest panics, and the push fails it. systemd is process 1 of a PID namespace whose root is the cluster's disk.
#: guests=2 cluster package alone xen=4.17 limit=900
stop_daemon
expect_status 0 /lab/cluster/setup agents
cat > /tmp/start-systemd << 'END'
mount -t proc proc /cluster/proc
mount -t xenfs xenfs /cluster/proc/xen
mount -t cgroup2 cgroup2 /cluster/sys/fs/cgroup
exec chroot /cluster env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=basic.target
END
# What would set up dom0's devices and kernel anew.
for unit in systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket systemd-udev-trigger.service systemd-modules-load.service \
  systemd-sysctl.service; do
  ln -s /dev/null /cluster/etc/systemd/system/$unit
done
unshare -m -p -f sh /tmp/start-systemd > /var/log/systemd.log 2>&1 &
wait_for 15 "systemd's process" pidof systemd
process_one=$(pidof systemd)
# on COMMAND…: as on a dom0 where this systemd is the only one. A whole path: busybox would take its own programs for Debian's.
on() { nsenter -t $process_one -m -p -r -w /usr/bin/env -i PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
wait_for 120 "systemd" on systemctl is-active basic.target

note "step 1: the package"
cp /lab/vesper.deb /cluster/tmp/
expect_status 0 on dpkg -i /tmp/vesper.deb
expect_status 0 on systemctl is-active vesperd
expect_status 0 on systemctl is-enabled vesperd
expect_status 0 vesper list

note "step 2: corosync and Pacemaker"
hostname dom0
cat > /cluster/etc/corosync/corosync.conf << 'END'
totem {
  version: 2
  cluster_name: vesper
  transport: knet
  crypto_cipher: none
  crypto_hash: none
}
nodelist {
  node {
    ring0_addr: 127.0.0.1
    name: dom0
    nodeid: 1
  }
}
quorum {
  provider: corosync_votequorum
}
logging {
  to_syslog: yes
}
END
mkdir -p /cluster/etc/systemd/system/resource-agents-deps.target.d
printf '[Unit]\nWants=vesperd.service\nAfter=vesperd.service\n' > /cluster/etc/systemd/system/resource-agents-deps.target.d/vesper.conf
expect_status 0 on systemctl daemon-reload
expect_status 0 on systemctl enable corosync pacemaker
expect_status 0 on systemctl restart corosync pacemaker
wait_for 120 "the node" cluster_shows "Online: .* dom0 "
expect_status 0 on crm_attribute --type crm_config --name stonith-enabled --update false

note "step 4: rules"
sed -i 's/^\[attach\]$/[attach]\nnames = ["g*"]/' /cluster/etc/vesper/vesper.toml
printf '\n[[rule]]\nguests = ["g*"]\nprobes = ["panic", "oom", "hang", "block"]\n' >> /cluster/etc/vesper/vesper.toml
expect_status 0 on vesper check-config
expect_text "is in order: 1 rule"
expect_status 0 on systemctl reload vesperd
has_probes() { [ "$(vesper status $1 | grep -c ': in$')" = 4 ]; }
for guest in g1 g2; do wait_for 60 "the probes in $guest" has_probes $guest; done

note "step 5: the guests as resources"
add_guests g1 g2

note "step 6: the push"
expect_status 0 on install -D -m 644 /usr/share/vesper/vesperd-pacemaker.conf /etc/systemd/system/vesperd.service.d/pacemaker.conf
expect_status 0 on systemctl daemon-reload
expect_status 0 on systemctl restart vesperd
expect_status 0 on mkdir -p /etc/vesper/hooks.d/failed.d
expect_status 0 on ln -s /usr/lib/vesper/hooks/push /etc/vesper/hooks.d/failed.d/50-pacemaker
for guest in g1 g2; do wait_for 60 "the probes in $guest" has_probes $guest; done

note "step 7: CPU time"
cat > /cluster/etc/systemd/system/dom0-weight.service << 'END'
[Unit]
After=xen.service xenstored.service xen-init-dom0.service
[Service]
Type=oneshot
ExecStart=/usr/sbin/xl sched-credit2 -d Domain-0 -w 512
[Install]
WantedBy=multi-user.target
END
ln -sf /usr/lib/xen-4.17/bin/xl /cluster/usr/sbin/xl
expect_status 0 on systemctl daemon-reload
expect_status 0 on systemctl enable dom0-weight
expect_status 0 on systemctl start dom0-weight
expect_status 0 xl sched-credit2
expect_text "Domain-0                             0    512"

note "an upgrade: the daemon is another one, and nothing has failed"
first=$(on systemctl show vesperd -p MainPID)
expect_status 0 on dpkg -i /tmp/vesper.deb
[ "$(on systemctl show vesperd -p MainPID)" != "$first" ] || fail "the daemon was not started anew"
for guest in g1 g2; do wait_for 60 "the probes in $guest" has_probes $guest; done
sleep 15
expect_status 0 in_cluster crm_mon -1rf
expect_no_text "Failed Resource Actions" "fail-count"

note "a hook that runs when the daemon is started anew is left to the next one"
slow=/etc/vesper/hooks.d/guest-paused.d
mkdir -p /cluster$slow
printf '#!/bin/sh\necho again=$VESPER_AGAIN >> /var/lib/vesper/slow\n[ $VESPER_AGAIN = 1 ] || sleep 1000\n' > /cluster$slow/10-slow
chmod 755 /cluster$slow/10-slow
ran() { grep -q "^again=$1\$" /cluster/var/lib/vesper/slow; }
xl pause g2
wait_for 20 "the hook" ran 0
# The next daemon is not to see that by itself.
xl unpause g2
expect_status 0 on systemctl restart vesperd
wait_for 20 "the hook's second run" ran 1
rm -r /cluster$slow
for guest in g1 g2; do wait_for 60 "the probes in $guest" has_probes $guest; done

note "step 8: a panic"
second=$(xl domid g2)
guest --send g1 'echo c > /proc/sysrq-trigger'
says() { on journalctl -u vesperd --no-pager -o cat | grep -q "$1"; }
wait_for 30 "the push" says "failed g1 on dom0: guest-panic"
wait_for 60 "the failure in crm_mon" cluster_shows "g1 asyncmon on dom0 returned 'error'"
wait_for 60 "the cause" cluster_shows "vesper-fault-g1 .*guest-panic at .*sysrq triggered crash"
wait_for 180 "another domain of that name" sh -c "id=\$(xl domid g1) && [ \$id -gt $second ]"
wait_for 180 "g1 in state Started" cluster_shows "g1.*Started"
expect_equal "domid of g2" "$(xl domid g2)" $second

note "the host's health"
expect_status 0 on systemctl enable --now vesper-health.timer
is_green() { in_cluster attrd_updater -n '#health-vesper' -Q | grep -q green; }
wait_for 60 "the attribute" is_green

note "channels as files, for which the unit gives up some of its protection"
! on ls /run/vesper/$second/panic || fail "with the unit as it ships there are files already"
says "Channels as files" || fail "and it is not said why"
page=/usr/share/doc/vesper/config.md
on dpkg-deb --fsys-tarfile /tmp/vesper.deb | tar -xO .$page | sed -n '/^### Channels as files$/,/^## /{/^```ini$/,/^```$/{/^```/!p}}' > /tmp/files.conf
cat /tmp/files.conf
mkdir -p /cluster/etc/systemd/system/vesperd.service.d
cp /tmp/files.conf /cluster/etc/systemd/system/vesperd.service.d/files.conf
expect_status 0 on systemctl daemon-reload
expect_status 0 on systemctl restart vesperd
wait_for 60 "the files" on ls /run/vesper/$second/panic

on journalctl -u vesperd --no-pager -o cat
expect_status 0 on systemctl show vesperd -p NRestarts
expect_text "NRestarts=0"
check_works g2
