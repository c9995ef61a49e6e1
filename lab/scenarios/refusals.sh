# SPDX-License-Identifier: MIT OR Apache-2.0
# All that a load or an unload can be refused for: the status, the words, and that nothing is left behind.
#: core limit=300
cd /tmp
refused() { # what, status, then the command
  note "$1"; shift
  expect_status "$@"
}

echo "this is a text" > text.ko
refused "not an ELF file" 2 vesper insmod 1 text.ko
check_works 1

head -c 20000 $KO/answer.ko > short.ko
refused "a truncated file" 2 vesper insmod 1 short.ko

: > empty.ko
refused "an empty file" 2 vesper insmod 1 empty.ko

truncate -s 68157440 large.ko
refused "65 MiB, more than the limit" 2 vesper insmod 1 large.ko
rm large.ko

refused "no such file" 2 vesper insmod 1 nowhere.ko

refused "a module for another kernel" 2 vesper insmod 1 $KO/other/answer.ko
other=$(tr '\000' '\n' < $KO/other/answer.ko | sed -n 's/^vermagic=\(.*[^ ]\) *$/\1/p' | head -n 1)
expect_text "$(guest 1 'uname -r')" "$other"

# Byte 18 of an ELF header is the machine; 3 is the i386.
cp $KO/answer.ko i386.ko
printf '\003' | dd of=i386.ko bs=1 seek=18 conv=notrunc 2> /dev/null
refused "another architecture" 2 vesper insmod 1 i386.ko
check_works 1

refused "an unknown symbol" 1 vesper insmod 1 $KO/unknown_symbol.ko
expect_text ENOENT vesper_function_that_is_nowhere
check_works 1

refused "a bad parameter" 1 vesper insmod 1 $KO/answer.ko answer=xyz
expect_text EINVAL
expect_no_module 1 answer

refused "an init function that says no" 1 vesper insmod 1 $KO/einit.ko
expect_text ENODEV
check_works 1

expect_status 0 vesper insmod 1 $KO/answer.ko
refused "already loaded" 1 vesper insmod 1 $KO/answer.ko
expect_text EEXIST
expect_status 0 vesper rmmod 1 answer

refused "unload of a module that is not there" 1 vesper rmmod 1 nosuch
expect_text ENOENT
refused "a name with a slash" 2 vesper rmmod 1 a/b
refused "a name that is too long" 2 vesper rmmod 1 $(printf '%060d' 0)

expect_status 0 vesper insmod 1 $KO/busy.ko
refused "unload of a module in use" 1 vesper rmmod 1 busy
expect_module 1 busy
guest 1 'echo 0 > /sys/module/busy/parameters/busy'
expect_status 0 vesper rmmod 1 busy

refused "no such guest" 3 vesper insmod 99 $KO/answer.ko
refused "vesper_front itself, unload" 1 vesper rmmod 1 vesper_front
check_works 1
