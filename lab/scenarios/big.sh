# SPDX-License-Identifier: MIT OR Apache-2.0
# An image with 8 MiB of data: the guest's kernel finds the checksum that the host computed.
#: core
mark_log 1
expect_status 0 vesper insmod 1 $KO/big.ko
expect_log 1 "vesper_big: 8388608 bytes, crc32 $(cat $KO/big.crc32)"
expect_status 0 vesper rmmod 1 big
check_works 1
