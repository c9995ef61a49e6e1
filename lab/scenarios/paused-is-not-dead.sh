# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that is paused does not beat, and is alive.
expect_status 0 vesper probe 1 panic
expect_status 0 vesper alive 1
xl pause 1
sleep 3
expect_status 0 vesper alive 1
expect_text paused
expect_event g1 guest-paused '"severity":"info"'
xl unpause 1
expect_status 0 vesper alive 1
expect_status 0 vesper unprobe 1 panic
check_works 1
