# SPDX-License-Identifier: MIT OR Apache-2.0
# The guest's only vCPU spins with interrupts off: it runs, does not beat, and is called hung.
#: alone
expect_status 0 vesper probe 1 panic
expect_status 0 vesper alive 1
expect_status 5 vesper insmod 1 $KO/frozen.ko --timeout 2
sleep 3
expect_status 1 vesper alive 1
expect_text hung
expect_event g1 guest-hung '"failed":"guest"' "vCPU 0 has the time to beat and has not beaten"
