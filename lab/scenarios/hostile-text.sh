# SPDX-License-Identifier: MIT OR Apache-2.0
# Names and texts with control bytes, quotes and a megabyte: shown harmless, whole where they may be.
expect_status 1 vesper insmod 1 $KO/paper.ko 'name=a/b'
expect_status 1 vesper insmod 1 $KO/paper.ko "name=$(printf 'x%.0s' $(seq 60))"
expect_status 0 vesper insmod 1 $KO/urgent.ko subbuf_size=1048576 n_subbufs=2
guest 1 'printf "\033[31mred\007 \"quoted\" \\\\ \047" > /sys/module/urgent/parameters/text'
sleep 1
vesper tail 1/urgent > /tmp/text
cat -v /tmp/text
! grep -q "$(printf '\033')" /tmp/text || fail "an escape byte reached the terminal"
! grep -q "$(printf '\007')" /tmp/text || fail "a bell reached the terminal"
vesper tail 1/urgent --format json > /tmp/json
has_line /tmp/json '\u001b[31mred\u0007 \"quoted\"' || { cat /tmp/json; fail "the text is not in the JSON"; }
expect_status 0 vesper rmmod 1 urgent
check_works 1
