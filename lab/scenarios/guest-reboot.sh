# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest reboots: it has another domid, is attached again by itself, and takes modules.
#: alone limit=180
stop_daemon
start_daemon --auto-attach
wait_for 30 "the device" connected g1
check_works g1
guest --send 1 reboot
wait_for 90 "the guest under another domid" sh -c 'id=$(xl domid g1) && [ $id -gt 1 ]'
wait_for 60 "the rebooted guest's device" connected g1
xl list
check_works g1
