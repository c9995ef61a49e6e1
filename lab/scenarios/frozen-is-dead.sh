# SPDX-License-Identifier: MIT OR Apache-2.0
# The guest's only vCPU spins with interrupts off: it runs, does not beat, and is called hung.
#: alone
expect_status 0 vesper alive 1
expect_status 5 vesper insmod 1 $KO/frozen.ko --timeout 2
sleep 3
expect_status 1 vesper alive 1
expect_text hung
