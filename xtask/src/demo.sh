# SPDX-License-Identifier: MIT OR Apache-2.0
# What the demo does in dom0. Each "seen" mark ends a step of its account.
. /lab/config
seen() { printf '\036%s seen %s\n' "$NONCE" "$*"; }
say() { echo; echo "# $*"; }
run() { echo "dom0# $*"; "$@" || { echo "status $?"; exit 1; }; }

run vesper list

say "Every process in the guest's user space is frozen, process 1 included."
guest --send 1 /lab/freeze
sleep 2
guest-log 1 | grep 'user space stopped'
if guest --limit 5 1 true 2> /dev/null; then echo "the guest still answers"; exit 1; fi
echo "A command typed on the guest's console gets no answer any more."
seen "the guest's user space stopped: it answers nothing any more"

say "dom0 puts a module into its kernel."
run vesper insmod 1 /lab/modules/answer.ko answer=42
seen "answer.ko loaded into the guest's kernel with answer=42"

say "The guest's kernel says so itself, on its console:"
guest-log 1 | grep 'vesper_answer: loaded, answer=42' || { echo "the guest's kernel did not say so"; exit 1; }
seen "the guest's kernel acknowledged it on its console"

say "And out again."
run vesper list
run vesper rmmod 1 answer
guest-log 1 | grep 'vesper_answer: unloaded' || { echo "the guest's kernel did not say so"; exit 1; }
seen "the module removed; the guest's kernel said so"
