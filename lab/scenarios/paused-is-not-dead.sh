# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that is paused does not beat, and is alive.
expect_status 0 vesper alive 1
xl pause 1
sleep 3
expect_status 0 vesper alive 1
expect_text paused
xl unpause 1
expect_status 0 vesper alive 1
check_works 1
