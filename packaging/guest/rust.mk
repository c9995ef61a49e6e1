# SPDX-License-Identifier: GPL-2.0
# Builds ../core.o_raw anew from the Rust source beside this file, as it was built for the package. Nobody needs
# this to install the module. It takes a Rust compiler with the library's source: `rustup component add rust-src`,
# or Debian's rustc-web and rust-web-src with RUSTC=/usr/bin/rustc.
CARGO ?= cargo
OUT := $(CURDIR)/target
FLAGS := -Crelocation-model=static -Ccode-model=kernel -Cno-redzone=y -Zplt=yes -Cjump-tables=no \
	-Zfunction-return=thunk-extern -Zretpoline-external-thunk -Zcf-protection=branch

../core.o_raw: $(shell find . -name '*.rs' -o -name 'Cargo.*')
	cd xenfront/kmod/rust && RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(FLAGS)" CARGO_TARGET_DIR=$(OUT) \
		$(CARGO) build --release --locked -Zbuild-std=core --target x86_64-unknown-none
	rm -rf $(OUT)/members && mkdir $(OUT)/members
	cd $(OUT)/members && ar x ../x86_64-unknown-none/release/libvesper_core.a
	ld -r $(OUT)/members/vesper_core-*.o -o $@
