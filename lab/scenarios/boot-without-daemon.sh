# SPDX-License-Identifier: MIT OR Apache-2.0
# No vesperd runs: a guest with the frontend boots without delay, its modules can export; when vesperd comes, all is there.
#: alone limit=180
stop_daemon
guest --send 1 reboot
up_twice() { [ "$(grep -c '^@agent up' /var/log/xen/console/guest-g1.log)" = 2 ]; }
wait_for 60 "the guest's second boot" up_twice
up=$(guest g1 'cut -d. -f1 /proc/uptime')
[ $up -lt 25 ] || fail "the guest needed $up s"
start_daemon --auto-attach
wait_for 30 "the device" connected g1
expect_status 0 vesper probe g1 numbers -- count=10
sleep 1
expect_equal "records" "$(vesper tail g1/numbers --format json | grep -c '"item":"record"')" 10
