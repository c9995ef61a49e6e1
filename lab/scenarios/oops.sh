# SPDX-License-Identifier: MIT OR Apache-2.0
# A module whose init function oopses: the operator gets the oops, and the guest takes further modules.
expect_status 0 vesper probe 1 panic
expect_status 1 vesper insmod 1 $KO/oops.ko
expect_text EFAULT "vesper_oops: about to follow a null pointer" "NULL pointer dereference" "oops_init"
expect_event g1 guest-oops '"severity":"error"' oops_init
expect_status 0 vesper unprobe 1 panic
check_works 1

note "its name stays taken until the guest's next boot, which is said and not waited for"
expect_status 1 vesper insmod 1 $KO/oops.ko
expect_text EBUSY
expect_status 1 vesper rmmod 1 oops
expect_text EBUSY

note "the frontend itself is not held: its thread of before is accounted for"
expect_equal "users of vesper_front" "$(guest 1 "awk '\$1 == \"vesper_front\" { print \$3 }' /proc/modules")" 0
expect_equal "loader threads" "$(guest 1 'grep -lx vesper_loader /proc/[0-9]*/comm | wc -l')" 1
check_works 1

note "and it can be taken out and put in again"
expect_status 0 guest 1 "rmmod vesper_front && insmod /lib/modules/vesper_front.ko"
wait_for 45 "a new connection" connected 1
check_works 1
