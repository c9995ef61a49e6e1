# SPDX-License-Identifier: MIT OR Apache-2.0
# Four guests, eight parallel clients each: every client gets the result of its own command.
#: guests=4 limit=240
client() { # guest, number, wanted status, wanted text, command
  guest_=$1; number_=$2; status_=$3; text_=$4; shift 4
  "$@" > /tmp/queue.$guest_.$number_ 2>&1
  got_=$?
  { [ $got_ -eq $status_ ] && grep -qF -e "$text_" /tmp/queue.$guest_.$number_; } || {
    echo "guest $guest_, client $number_: status $got_ (wanted $status_, \"$text_\") from $*"
    cat /tmp/queue.$guest_.$number_
  } > /tmp/queue-failed.$guest_.$number_ 2>&1
}
rm -f /tmp/queue*
for g in 1 2 3 4; do
  client $g 1 0 answer vesper insmod $g $KO/answer.ko answer=$g --timeout 120 &
  client $g 2 1 ENODEV vesper insmod $g $KO/einit.ko --timeout 120 &
  client $g 3 1 vesper_function_that_is_nowhere vesper insmod $g $KO/unknown_symbol.ko --timeout 120 &
  client $g 4 0 slowinit vesper insmod $g $KO/slowinit.ko seconds=1 --timeout 120 &
  client $g 5 1 ENOENT vesper rmmod $g nosuch$g --timeout 120 &
  client $g 6 0 big vesper insmod $g $KO/big.ko --timeout 120 &
  client $g 7 1 ENODEV vesper insmod $g $KO/einit.ko --timeout 120 &
  client $g 8 0 busy vesper insmod $g $KO/busy.ko --timeout 120 &
done
wait
cat /tmp/queue-failed.* 2> /dev/null && fail "a client did not get its result"
note "32 clients got theirs"
for g in 1 2 3 4; do
  expect_equal "the parameter in guest $g" "$(guest $g 'cat /sys/module/answer/parameters/answer')" $g
  guest $g 'echo 0 > /sys/module/busy/parameters/busy'
  for module in answer slowinit big busy; do expect_status 0 vesper rmmod $g $module; done
done
