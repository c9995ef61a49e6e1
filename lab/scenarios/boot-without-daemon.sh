# SPDX-License-Identifier: MIT OR Apache-2.0
# No vesperd runs: a guest with the frontend boots without delay, its modules can export; when vesperd comes, all is there.
#: alone limit=180
stop_daemon
guest --send 1 reboot
wait_for 60 "the guest's second boot" sh -c 'id=$(xl domid g1) && [ $id -gt 1 ] && guest --wait $id'
up=$(guest g1 'cut -d. -f1 /proc/uptime')
[ $up -lt 25 ] || fail "the guest needed $up s"
start_daemon --auto-attach
wait_for 30 "the device" connected g1
expect_status 0 vesper probe g1 numbers -- count=10
sleep 1
expect_equal "records" "$(vesper tail g1/numbers --format json | grep -c '"item":"record"')" 10
