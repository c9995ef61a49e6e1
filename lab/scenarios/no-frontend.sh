# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest without the frontend: attach says so and names the remedy; other commands say that it is not attached.
#: frontend=no
expect_status 3 vesper insmod 1 $KO/answer.ko
expect_status 5 vesper attach 1
expect_text vesper_front
expect_status 0 vesper list
