# SPDX-License-Identifier: MIT OR Apache-2.0
# An image that the guest's memory does not hold three times is refused before any of it is sent; nobody is killed for it.
#: core
cd /tmp
cp $KO/answer.ko padded.ko
truncate -s $((60 << 20)) padded.ko
mark_log 1
expect_status 1 vesper insmod 1 padded.ko
expect_text ENOMEM
expect_no_module 1 answer
! new_log 1 | grep -q "invoked oom-killer" || fail "the guest ran out of memory"
check_works 1

note "the same with less padding"
truncate -s $((16 << 20)) padded.ko
expect_status 0 vesper insmod 1 padded.ko
rm padded.ko
expect_status 0 vesper rmmod 1 answer
