# SPDX-License-Identifier: MIT OR Apache-2.0
# A Debian guest with systemd, made with the packages of `cargo xtask dist`: the module is loaded by its initramfs, the
# guest is attached by itself and takes a module; it reboots, and is and does all that again.
#: guests=0 frontend=no fresh alone xen=4.17 guest=pv kernel=6.1 limit=900
LOG=/var/log/xen/console/guest-fresh.log
# What must hold each time after boot number $1.
boots() {
  wait_for 360 "the guest's user space, boot $1" sh -c "[ \$(grep -c '^@agent up' $LOG) -ge $1 ]"
  note "boot $1: user space is up; systemd says: $(guest --limit 120 fresh 'systemctl is-system-running --wait')"
  expect_status 0 guest fresh 'systemctl --failed --no-legend; systemctl is-system-running'
  wait_for 60 "the device, boot $1" connected fresh
  expect_status 0 guest fresh 'grep vesper_front /proc/modules; modinfo -F filename vesper_front'
  expect_text /updates/dkms/vesper_front.ko
  # The kernel names the first module that is not its own; the initramfs says when it is about to leave.
  tr -d '\r' < $LOG | awk '/Linux version/ { early = left = 0 } /\/scripts\/init-bottom/ { left = 1 }
    /vesper_front: loading out-of-tree/ && !left { early = 1 } END { exit !(early && left) }' ||
    fail "boot $1: vesper_front was not loaded in the initramfs"
  expect_status 0 vesper attach fresh
  mark_log fresh
  expect_status 0 vesper insmod fresh $KO/answer.ko answer=42
  expect_log fresh "vesper_answer: loaded, answer=42"
  expect_status 0 vesper rmmod fresh answer
}

while read -r module; do insmod /lab/fresh/$module || fail "dom0: insmod $module"; done < /lab/fresh/modules
wait_for 10 "dom0's disk" test -b /dev/vda
stop_daemon
start_daemon --auto-attach
xl create -q /lab/fresh/fresh.cfg || fail "xl create"
first=$(xl domid fresh)
boots 1
expect_status 0 guest fresh 'echo kept > /var/tmp/note; sync'
guest --send fresh 'systemctl reboot'
wait_for 240 "the guest under another domid" sh -c "id=\$(xl domid fresh) && [ \$id -gt $first ]"
boots 2
expect_status 0 guest fresh 'cat /var/tmp/note'
expect_text kept
vesper list
