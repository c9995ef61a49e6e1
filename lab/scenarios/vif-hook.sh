# SPDX-License-Identifier: MIT OR Apache-2.0
# The hook for xl's network cards that ships: a guest is attached when Xen's script for its first card has run, and by nobody else.
#: cluster package alone xen=4.17 limit=300
expect_status 0 /lab/cluster/setup agents
cp /lab/vesper.deb /cluster/tmp/
# Whole paths: busybox would take its own programs for Debian's.
expect_status 0 chroot /cluster /usr/bin/dpkg-deb -x /tmp/vesper.deb /tmp/package
# Debian's scripts, which /etc/xen of dom0 hides.
mkdir /tmp/disk && mount -t ext4 /dev/vda /tmp/disk && cp -a /tmp/disk/etc/xen/scripts /etc/xen/ && umount /tmp/disk || fail "Xen's scripts"
mkdir -p /etc/xen/scripts/vif-post.d
cp /cluster/tmp/package/usr/share/vesper/vesper.hook /etc/xen/scripts/vif-post.d/
chmod 755 /etc/xen/scripts/vif-post.d/vesper.hook
# Xen's own, less a network: dom0 has none.
cat > /etc/xen/scripts/vif-lab << 'END'
#!/bin/bash
dir=$(dirname "$0")
. "$dir/vif-common.sh"
[ "$command" != online ] || do_or_die ip link set "$dev" up
call_hooks vif post
[ "$command" != online ] || success
END
chmod 755 /etc/xen/scripts/vif-lab
xl destroy g1
echo "vif = [ 'script=vif-lab', 'script=vif-lab' ]" >> /etc/xen/g1.cfg
expect_status 0 in_cluster xl create -q /etc/xen/g1.cfg
expect_equal "its cards" "$(xenstore-list /local/domain/0/backend/vif/$(xl domid g1) | wc -l)" 2
wait_for 60 "its device" connected g1
check_works g1
expect_status 0 in_cluster xl destroy g1
expect_status 0 grep -c "attach of g1" /var/log/vesperd.log
cat /var/log/xen/xen-hotplug.log
