# SPDX-License-Identifier: MIT OR Apache-2.0
# Wrong configurations: `vesper check-config` and vesperd itself refuse each with place and remedy. A daemon that is told to
# read one anew goes on with what it has, and nobody who reads notices.
#: alone limit=240
mkdir -p /etc/vesper
number=0
# wrong FILE PLACE WHAT REMEDY: of the text FILE, with \n for new lines.
wrong() {
  printf '%b' "$1" > /tmp/wrong.toml
  expect_status 2 vesper check-config /tmp/wrong.toml
  expect_text "/tmp/wrong.toml:$2: $3" "$4"
  expect_status 1 vesperd --config /tmp/wrong.toml --socket /tmp/wrong.sock
  expect_text "/tmp/wrong.toml:$2: $3" "$4"
  number=$((number + 1))
}
rule='[[rule]]\nguests = ["g*"]\n'
service="$rule[[rule.service]]\\n"
wrong 'group = 3\n' 1:9 'invalid type: integer' 'text in double quotes'
wrong 'group = "a"\ngroup = "b"\n' 2:1 'duplicate key' 'keep one of the two'
wrong '\ngruop = "a"\n' 2:1 'unknown field `gruop`' 'write it as one of these, or take it out'
wrong '[limits\n' 1:8 '' 'the file is TOML'
wrong '[limits]\nqueue_length = 0\n' 2:16 'limits.queue_length: 0 is not between 1 and 1024' 'write a number in that range'
wrong '[limits]\nwaiting_bytes = 9\n' 2:17 'limits.waiting_bytes: less than limits.image_bytes' 'make it 67108864 at least'
wrong '[attach]\nnames = ["a["]\n' 2:10 'attach.names: Pattern syntax error' 'stands for any text'
wrong '[attach]\nuuids = ["1234"]\n' 2:10 'attach.uuids: "1234" is not a UUID' 'as vesper list shows it'
wrong '[listener]\nsave_dir = "x"\n' 2:12 'listener.save_dir: an absolute path is wanted' 'write the whole path'
wrong '[events]\nhook_timeout_s = "1"\n' 2:18 'invalid type: string' 'numbers and true or false without'
wrong '[rule]\nguests = ["g*"]\n' 1:1 'invalid type: map' 'write it in double brackets'
wrong '[[rule]]\nprobes = ["panic"]\n' 1:1 'rule: it says no guests' 'add a line such as guests ='
wrong "$rule" 1:1 'rule: it says nothing about its guests' 'add probes ='
wrong '[[rule]]\nguests = ["1"]\nfailed = []\n' 2:11 'guests: "1" is a domid' "write the guest's name or UUID"
wrong "${rule}probes = [\"../panic\"]\\n" 3:11 'probes: "../panic" is no name' 'as for vesper probe'
wrong "${rule}probes = [\"panic\", \"panic\"]\\n" 3:20 'probes: panic is there twice' 'a module is in a guest once'
wrong "${rule}failed = [\"panic\"]\\n" 3:11 'failed: "panic" is no event' 'write some of guest-panic'
wrong "${rule}failed = [\"guest-paused\"]\\n" 3:11 'failed: "guest-paused" does not say' 'write some of guest-panic'
wrong "${service}process = \"sleep\"\\n" 3:1 'rule.service: it has no name' 'add name ='
wrong "${service}name = \"a b\"\\n" 4:8 'rule.service.name: "a b" is no name' 'letters, digits'
wrong "${service}name = \"systemd-journald\"\\n" 4:8 'rule.service.process: "systemd-journald" is longer' 'write process = "systemd-journal"'
note "$number wrong files"
[ $number -ge 15 ] || fail "$number wrong files are too few"
expect_status 2 vesper check-config /tmp/nowhere.toml
expect_text "/tmp/nowhere.toml: No such file" "name a file that is there"

note "reloading"
expect_status 0 vesper probe 1 signal -- names=sleep
start_tail /tmp/tail 1/signal
expect_line 10 /tmp/tail '"item":"started"'
pid=$(daemon)
cp /tmp/wrong.toml /etc/vesper/vesper.toml
kill -HUP $pid
stays='the configuration before stays in force: /etc/vesper/vesper.toml:4:8: rule.service.process:'
wait_for 15 "the daemon's word" grep -qF "$stays" /var/log/vesperd.log
guest 1 "sleep 100 & $named; kill -9 \$!"
expect_line 10 /tmp/tail '"event":"exit"' '"comm":"sleep"'
printf '[[rule]]\nguests = ["g1"]\nfailed = []\n' > /etc/vesper/vesper.toml
expect_status 0 vesper check-config
expect_text "1 rule"
kill -HUP $pid
wait_for 15 "the daemon's word" grep -qF 'the configuration was read anew: 1 rules' /var/log/vesperd.log
expect_equal "the daemon" "$(daemon)" "$pid"
guest 1 "sleep 101 & $named; kill -15 \$!"
expect_line 10 /tmp/tail '"event":"exit"' '"comm":"sleep"' '"sig":15'
expect_equal "readers that were cut off" "$(grep -c '"item":"lost"' /tmp/tail)" 0
kill $tail_pid
rm /etc/vesper/vesper.toml
check_works 1
