# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest with a crash kernel panics: it goes there without the panic notifiers, which Xen calls a soft reset and not a crash.
# dom0 has the panic and its last words all the same.
#: guest=pvh memory=512 crash-kernel alone limit=180
expect_status 0 guest 1 '/lab/kexec-load /lab/vmlinuz "console=hvc0 earlyprintk=xen vesper.crash-kernel nr_cpus=1 reset_devices panic=-1"'
expect_equal "the crash kernel" "$(guest 1 'cat /sys/kernel/kexec_crash_loaded')" 1
expect_status 0 vesper probe 1 panic
start_tail /tmp/tail 1
expect_line 10 /tmp/tail '"item":"started"' '"channel":"panic"'
guest --send 1 'echo c > /proc/sysrq-trigger'
expect_line 15 /tmp/tail '"event":"panic"' '"last_words":true' 'sysrq triggered crash' 'sysrq_handle_crash'
expect_line 15 /tmp/tail '"item":"gone"' 'sysrq triggered crash'
# The way to the crash kernel was taken: an ordinary panic is a crash for Xen.
expect_equal "vesperd's word" "$(grep -o 'it has ended: .*' /var/log/vesperd.log)" "it has ended: SoftReset"
expect_status 0 vesper tail g1
expect_text "sysrq triggered crash"
note "what xl made of it:"; tail -n 5 /var/log/xen/xl-g1.log
